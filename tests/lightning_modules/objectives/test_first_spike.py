import math

import pytest
import torch

from datamodules.spikes.yin_yang import YinYangDataModule
from lightning_modules import ClassificationModule
from lightning_modules.objectives import FirstSpike
from zoo.model import Outputs

STEPS, DT = 20, 0.5
TIMES = [[2.0, 5.0, None], [None, 3.0, 9.5], [None, None, None]]  # ms of 10; None: silent
TARGET = torch.tensor([0, 0, 2])


def logits_of(times):
    """-T dt before the first spike, 0 from it on, as `first_spike_logits` writes them."""
    z = torch.full((STEPS, len(times), len(times[0])), -STEPS * DT, dtype=torch.float64)
    for n, row in enumerate(times):
        for k, t in enumerate(row):
            if t is not None:
                z[round(t / DT) :, n, k] = 0
    return z


def test_value_by_the_definition(oracle):
    tau0, tau1, alpha, expected = 0.7, 4.0, 0.01, 0.0
    for row, y in zip(TIMES, TARGET.tolist(), strict=True):
        t = [STEPS * DT if time is None else time for time in row]
        entropy = oracle.cross_entropy([-time / tau0 for time in t], [float(k == y) for k in range(3)])
        expected += (entropy + alpha * (math.exp(t[y] / tau1) - 1)) / 3
    for phantom in (True, False):
        objective = FirstSpike(tau0=tau0, tau1=tau1, alpha=alpha, phantom=phantom)
        assert objective(Outputs(logits_of(TIMES)), None, TARGET).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("phantom", [True, False])
def test_who_gets_a_gradient(phantom):
    """dL/dt_k = (1[k = y] - p_k) / tau0 + 1[k = y] alpha / tau1 exp(t / tau1), for a neuron that fired or a phantom."""
    tau0, tau1, alpha = 2.0, 4.0, 0.01
    logits = logits_of(TIMES).requires_grad_()
    FirstSpike(tau0=tau0, tau1=tau1, alpha=alpha, phantom=phantom)(Outputs(logits), None, TARGET).backward()
    by_time = -logits.grad.sum(0)
    for n, (row, y) in enumerate(zip(TIMES, TARGET.tolist(), strict=True)):
        t = torch.tensor([STEPS * DT if time is None else time for time in row])
        p = (-t / tau0).softmax(0)
        for k in range(3):
            label = float(k == y)
            moves = row[k] is not None or (phantom and k == y)
            expected = (label - p[k].item()) / tau0 + label * alpha / tau1 * math.exp(t[k] / tau1)
            assert by_time[n, k].item() == pytest.approx(expected / 3 if moves else 0.0, rel=1e-5), (n, k)


def test_only_first_spike_times(make_outputs, target):
    with pytest.raises(ValueError, match="readout: spike"):
        FirstSpike()(make_outputs(3), None, target)


@pytest.mark.parametrize(
    "change",
    [lambda z: z - 1, lambda z: z * torch.linspace(0.5, 1, STEPS)[:, None, None], lambda z: z * math.nan],
    ids=["never 0", "not constant", "nan"],
)
def test_voltages_below_zero_are_no_times(change):
    with pytest.raises(ValueError, match="readout: spike"):
        FirstSpike()(Outputs(change(logits_of(TIMES))), None, TARGET)


def test_all_at_once():
    """Every class fires in the first step: t = 0."""
    loss = FirstSpike()(Outputs(torch.zeros(4, 2, 3)), None, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(math.log(3), rel=1e-6)


def test_lateness_of_a_long_trial():
    """In fp32 exp(89) is infinite: a trial of 100 tau1 is refused, one of 79 tau1 is finite, without alpha any is."""
    long = torch.full((100, 1, 3), -100.0)  # 100 ms
    with pytest.raises(ValueError, match=r"tau1 of FirstSpike is 1 ms, .* trial of 100 ms"):
        FirstSpike(tau1=1.0)(Outputs(long), None, torch.tensor([0]))
    for objective in (FirstSpike(tau1=100 / 79), FirstSpike(tau1=1.0, alpha=0.0)):
        logits = long.clone().requires_grad_()
        loss = objective(Outputs(logits), None, torch.tensor([0]))
        loss.backward()
        assert loss.isfinite()
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize(("name", "value"), [("tau0", 0.0), ("tau1", -1.0), ("alpha", -0.1), ("tau0", math.nan)])
def test_numbers_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"{name} of FirstSpike"):
        FirstSpike(**{name: value})


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_yin_yang_is_learned(trainer):
    """Ten epochs of configs/yin_yang/eventprop_mlp_first_spike.yaml."""
    points = YinYangDataModule(batch_size=32, dt=0.2)
    torch.manual_seed(0)
    module = ClassificationModule(
        model="eventprop_mlp_200",
        model_args={"readout": "spike", "dt": 0.2, "init": [[1.5, 0.78], [0.93, 0.1]]},
        objectives=[FirstSpike()],
        optimizer=lambda groups: torch.optim.Adam(groups, lr=5e-3),
        num_classes=3,
        in_chans=5,
        input_cfg=points.input_cfg,
    )
    run = trainer(max_epochs=10, limit_val_batches=0)
    run.fit(module, points)
    assert run.test(module, points, verbose=False)[0]["test/acc"] >= 0.93
