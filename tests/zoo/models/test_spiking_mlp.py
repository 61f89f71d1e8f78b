import math

import pytest
import timm
import torch
from torch import nn

import zoo
from zoo.early_exit import EarlyExit
from zoo.model import silent_layers

SETS = {"SHD": (700, 20), "SSC": (700, 35), "GSC": (40, 35)}
PUBLISHED = {
    "lif_mlp_128": (109_372, 111_337, 26_857),
    "lif_mlp_512": (633_916, 641_641, 303_721),
    "lif_mlp_1024": (1_792_060, 1_807_465, 1_131_625),
    "adlif_mlp_128": (110_140, 112_105, 27_625),
    "adlif_mlp_512": (636_988, 644_713, 306_793),
    "adlif_mlp_1024": (1_798_204, 1_813_609, 1_137_769),
    "radlif_mlp_128": (142_908, 144_873, 60_393),
    "radlif_mlp_512": (1_161_276, 1_169_001, 831_081),
    "radlif_mlp_1024": (3_895_356, 3_910_761, 3_234_921),
}
TINY = ("lif_mlp_tiny", "adlif_mlp_tiny", "radlif_mlp_tiny")
every_tiny = pytest.mark.parametrize("name", TINY)


def spikes(*shape, rate=0.3):
    return (torch.rand(*shape) < rate).float()


def make(name, steps=20, **changes):
    """A small network of which every layer fires, norms calibrated."""
    model = zoo.create_model(name, **{"in_chans": 12, "num_classes": 5, "num_steps": steps, **changes})
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm1d)):
        norm.momentum = None
        nn.init.constant_(norm.weight, 2.0)
    x = spikes(steps, 8, 12)
    with torch.no_grad():
        for _ in range(2):
            model.train()(x)
    assert silent_layers(model.eval(), x) == []
    return model


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters(name):
    counts = []
    for chans, classes in SETS.values():
        with torch.device("meta"):
            model = timm.create_model(name, in_chans=chans, num_classes=classes)
        counts.append(sum(parameter.numel() for parameter in model.parameters()))
    assert tuple(counts) == PUBLISHED[name]


def simulate(model, x, kind, threshold):
    """Potentials of the readout, neuron by neuron and step by step, in Python floats (float64)."""
    weights = {key: value.double().tolist() for key, value in model.state_dict().items()}
    trains, steps, sample = x[:, 0].tolist(), len(x), range
    for layer in ("blocks.0", "blocks.1", "fc"):
        part = {key.removeprefix(f"{layer}."): value for key, value in weights.items() if key.startswith(f"{layer}.")}
        matrix, units = part["synapses.weight"], sample(len(part["synapses.weight"]))
        u, w, s = ([0.0] * len(matrix) for _ in range(3))
        out = []
        for t in sample(steps):
            before, now = list(s), []
            for j in units:
                current = math.fsum(a * b for a, b in zip(matrix[j], trains[t], strict=True))
                current = (current - part["bn.running_mean"][j]) / math.sqrt(part["bn.running_var"][j] + 1e-5)
                current = current * part["bn.weight"][j] + part["bn.bias"][j]
                alpha = part["act.alpha"][j]
                if layer == "fc":
                    u[j] = alpha * u[j] + (1 - alpha) * current
                    now.append(u[j])
                    continue
                if kind == "radlif":
                    current += math.fsum(part["act.recurrent.weight"][j][i] * before[i] for i in units if i != j)
                if kind != "lif":
                    beta = part["act.beta"][j]
                    w[j] = beta * w[j] + max(part["act.a"][j], beta - 1) * u[j] + part["act.b"][j] * before[j]
                u[j] = alpha * (u[j] - threshold * before[j]) + (1 - alpha) * (current - w[j])
                s[j] = float(u[j] >= threshold)
                now.append(s[j])
            out.append(now)
        trains = out
    return torch.tensor(trains, dtype=torch.float64)[:, None]


@every_tiny
def test_equals_its_equations_neuron_by_neuron(name):
    model = make(name, readout="potential").double()
    x = spikes(20, 1, 12).double()
    with torch.no_grad():
        found = model.forward_sequence(x)
    kind = name.split("_")[0]
    expected = simulate(model, x, kind, threshold={"lif": 0.3, "adlif": 0.5, "radlif": 0.5}[kind])
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


@every_tiny
def test_the_answer_is_the_sum_of_the_softmax(name):
    model, x = make(name), spikes(20, 4, 12)
    with torch.no_grad():
        answer = model(x)
        model.readout = "potential"
        torch.testing.assert_close(answer, model.forward_sequence(x).softmax(-1).sum(0))
    torch.testing.assert_close(answer.sum(-1), torch.full((4,), 20.0))


@every_tiny
def test_contract(name):
    model, x = make(name), spikes(20, 4, 12)
    with torch.no_grad():
        logits = model(x)
        assert torch.equal(model(x), logits)  # the first state is not random
        torch.testing.assert_close(model(x[:, 2:3]), logits[2:3], atol=1e-4, rtol=1e-4)
        final, features = model.forward_intermediates(x)
        torch.testing.assert_close(model.forward_head(final), model.forward_sequence(x))
    assert [tuple(feature.shape) for feature in features] == [(20, 4, 24), (20, 4, 16)]
    assert set(torch.cat([feature.flatten() for feature in features]).unique().tolist()) == {0.0, 1.0}


@every_tiny
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_reaches_every_parameter(name, checkpointing):
    model = make(name, drop_rate=0.2)
    model.set_grad_checkpointing(checkpointing)
    nn.functional.cross_entropy(model.train()(spikes(20, 8, 12)), torch.arange(8) % 5).backward()
    assert not [key for key, parameter in model.named_parameters() if not parameter.grad.any()]
    spared = {key.rpartition(".")[2] for key in model.no_weight_decay()}
    assert "alpha" in spared
    assert "weight" not in spared


def test_dropout_is_drawn_anew_at_every_step():
    model = make("adlif_mlp_tiny", drop_rate=0.5).train()
    dropped = model.blocks[0].drop(torch.ones(10, 4, 24))
    assert (dropped[1:] != dropped[:-1]).any()
    assert torch.equal(model.fc.drop(dropped), dropped)  # none behind the readout


def test_step_by_step_only_without_the_softmax():
    """z_t = T softmax(V_t) knows the length of the whole; potentials do not."""
    x = spikes(20, 4, 12)
    with pytest.raises(ValueError, match=r"The model \(SpikingMLP\) needs whole sequences"):
        EarlyExit(make("adlif_mlp_tiny"))(x)
    model = make("adlif_mlp_tiny", readout="potential")
    with torch.no_grad():
        answer, _ = EarlyExit(model, threshold=1.0)(x)
        torch.testing.assert_close(answer, model(x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": ()}, "hidden .* each >= 1"),
        ({"readout": "softmx"}, "Unknown readout 'softmx'. Did you mean 'softmax'"),
        ({"neuron": "adlf"}, "Unknown neuron 'adlf'. Did you mean 'adlif'"),
    ],
)
def test_what_it_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model("adlif_mlp_tiny", **changes)
    with pytest.raises(ValueError, match=r"spike trains \[T, N, F\], T >= 1, found shape \(2, 12\)"):
        timm.create_model("adlif_mlp_tiny", in_chans=12)(torch.zeros(2, 12))
