"""Annealing by its endpoints, and a fit on spike trains that only delays can tell apart."""

import warnings

import pytest
import torch
from lightning import LightningDataModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from datamodules.loading import collate
from lightning_modules import ClassificationModule
from lightning_modules.callbacks import DelayAnnealing, EnergyMonitor
from zoo.layers.delayed_linear import delayed_layers, rounded_delays

INPUT_CFG = {
    "input_size": (2, 1, 1),
    "mean": (0.0,) * 2,
    "std": (1.0,) * 2,
    "label_names": ["01", "10"],
    "sequence_ndim": 3,
}


class Order(LightningDataModule):
    """Two spikes eight steps apart, at a random time; the class says which input fires first."""

    def loader(self, seed, **changes):
        draw = torch.Generator().manual_seed(seed)
        labels, samples = torch.arange(64) % 2, torch.arange(64)
        start = torch.randint(0, 6, (64,), generator=draw)
        trains = torch.zeros(64, 16, 2)
        trains[samples, start, labels] = trains[samples, start + 8, 1 - labels] = 1.0
        return DataLoader(TensorDataset(trains, labels), 16, collate_fn=collate, generator=draw, **changes)

    def setup(self, stage):
        warnings.filterwarnings("ignore", message=".*does not have many workers")

    def train_dataloader(self):
        return self.loader(0, shuffle=True)

    def val_dataloader(self):
        return self.loader(1)

    def test_dataloader(self):
        return self.loader(2)


def make(**changes):
    arguments = {
        "model": "delay_mlp_tiny",
        "model_args": {"hidden": (8,), "kernel_size": 11},
        "optimizer": lambda groups: torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1),
        "num_classes": 2,
        "in_chans": 2,
        "input_cfg": INPUT_CFG,
    }
    return ClassificationModule(**arguments | changes)


class Widths(DelayAnnealing):
    """Notes sigma of every epoch, and may stop a fit before a step."""

    def __init__(self, stop_at=None, **numbers):
        super().__init__(**numbers)
        self.seen, self.stop_at = {}, stop_at

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.stop_at:
            raise ZeroDivisionError
        (sigma,) = {layer.sigma.item() for layer in delayed_layers(pl_module.model).values()}
        self.seen.setdefault(trainer.current_epoch, sigma)


def test_endpoints_of_the_schedule():
    """Released code: L//2 times (0.23 / (L//2))^(1/E) every epoch for E = epochs // 4, then constant."""
    for size, epochs in ((25, 150), (31, 60), (31, 100)):
        start, length, sigma = size // 2, epochs // 4, float(size // 2)
        for epoch in range(epochs):
            assert DelayAnnealing().sigma(start, epoch, epochs) == pytest.approx(sigma)
            sigma *= (0.23 / start) ** (1 / length) if epoch < length else 1
        assert sigma == pytest.approx(0.23)
    assert DelayAnnealing().sigma(5, 0, 1) == 5, "a fit of less than four epochs has one wide one"
    assert DelayAnnealing().sigma(5, 1, 2) == pytest.approx(0.23)


def test_solves_a_task_of_delays(trainer):
    """Rounded in validation and test; the sum of the spikes is the same for both classes."""
    module, callback = make(), Widths()
    run = trainer(max_epochs=16, callbacks=[callback, EnergyMonitor(num_samples=16)])
    run.fit(module, Order())
    assert callback.seen == pytest.approx({n: 5 * (0.23 / 5) ** (min(n, 4) / 4) for n in range(16)})
    assert run.callback_metrics["train/delay_sigma"] == pytest.approx(0.23)
    assert run.callback_metrics["val/acc"] == 1
    scores = run.test(module, Order(), verbose=False)[0]
    assert scores["test/acc"] == 1
    assert scores["test/acs"] > 0
    module.eval()
    x, _ = next(iter(Order().test_dataloader()))
    with torch.no_grad():
        answer = module(x)
        for layer in delayed_layers(module.model).values():
            layer.delay.round_()
        with rounded_delays(module.model):
            assert torch.equal(module(x), answer)


def test_delays_have_their_own_group(trainer):
    module = make()
    run = trainer(max_epochs=1)
    run.fit(module, Order())
    weights, vectors, delays = run.optimizers[0].param_groups
    assert [group["initial_lr"] for group in (weights, vectors, delays)] == [0.01, 0.01, 1.0]
    assert [group["weight_decay"] for group in (weights, vectors, delays)] == [0.1, 0.0, 0.0]
    names = {id(parameter): name.rsplit(".", 1)[1] for name, parameter in module.named_parameters()}
    assert [names[id(parameter)] for parameter in delays["params"]] == ["delay", "delay"]
    assert [names[id(parameter)] for parameter in weights["params"]] == ["weight", "weight"]
    assert sum(len(group["params"]) for group in (weights, vectors, delays)) == len(list(module.parameters()))


@pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore:You.re resuming from a checkpoint")
@pytest.mark.parametrize("every", [{"every_n_epochs": 1}, {"every_n_train_steps": 3}], ids=["epoch", "within an epoch"])
def test_a_resumed_fit_goes_on(trainer, tmp_path, every):
    def run(widths):
        checkpoint = ModelCheckpoint(tmp_path, save_last=True, enable_version_counter=False, **every)
        return trainer(max_epochs=12, callbacks=[widths, checkpoint], enable_checkpointing=True)

    first, second = Widths(stop_at=10), Widths()
    with pytest.raises(ZeroDivisionError):
        run(first).fit(make(), Order())
    run(second).fit(make(), Order(), ckpt_path=tmp_path / "last.ckpt")
    assert list(first.seen) == [0, 1, 2]
    assert min(second.seen) == 2, "from the checkpoint after step 8 or 9"
    assert first.seen | second.seen == pytest.approx({n: 5 * (0.23 / 5) ** (min(n, 3) / 3) for n in range(12)})


def test_a_start_of_its_own_and_a_layer_without_delays(trainer):
    callback = Widths(start=2.0, final=0.5, share=1.0)
    trainer(callbacks=[callback]).fit(make(model_args={"hidden": (8,), "kernel_size": 1}), Order())
    assert callback.seen == pytest.approx({0: 2.0, 1: 1.0})
    callback = Widths()
    trainer(callbacks=[callback]).fit(make(model_args={"hidden": (8,), "kernel_size": 1}), Order())
    assert callback.seen == pytest.approx({0: 0.23, 1: 0.23})


def test_silent_about_a_network_without_delays(blobs, data_args, adam, trainer):
    run = trainer(callbacks=[DelayAnnealing()], max_epochs=1)
    run.fit(ClassificationModule(model="spiking_vgg_tiny", optimizer=adam, **data_args), blobs)
    assert not any("delay" in name for name in run.callback_metrics)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"start": 0.0}, "start .* must be > 0, found 0"),
        ({"final": -1.0}, "final .* must be > 0, found -1"),
        ({"share": 1.5}, r"share .* must lie in \[0, 1\], found 1.5"),
    ],
)
def test_what_it_refuses(numbers, message):
    with pytest.raises(ValueError, match=message):
        DelayAnnealing(**numbers)


def test_a_fit_that_ends_by_steps_anneals_in_its_own_epochs(trainer):
    """Not in those of max_epochs, which it does not reach."""
    length = {"max_epochs": 1000, "max_steps": 3 * len(Order().train_dataloader())}
    callback = DelayAnnealing(share=1.0)
    trainer(callbacks=[callback], limit_val_batches=0, **length).fit(make(), Order())
    assert callback.epochs == 3


def test_a_fit_of_unknown_length_is_refused(trainer):
    run = trainer(max_epochs=-1, max_time="00:00:01:00", callbacks=[DelayAnnealing()])
    with pytest.raises(ValueError, match="expected max_epochs or max_steps"):
        run.fit(make(), Order())
