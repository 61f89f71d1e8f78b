import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from datamodules.spikes.yin_yang import YinYangDataModule
from lightning_modules import ClassificationModule
from lightning_modules.callbacks import LastCheckpoint, ReviveSilent
from lightning_modules.objectives import CrossEntropy


def make(points):
    """A student that stands still, five of whose neurons never fire."""
    module = ClassificationModule(
        model="eventprop_mlp_tiny",
        model_args={"dt": 2.0},
        objectives=[CrossEntropy()],
        optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0),
        num_classes=3,
        in_chans=5,
        input_cfg=points.input_cfg,
    )
    with torch.no_grad():
        module.model.layers[0].synapses.weight[:] = 3.0  # fire at every sample
        module.model.layers[0].synapses.weight[:5] = -1.0
    return module


def test_what_is_saved_was_validated(trainer, tmp_path):
    class Seen(Callback):
        """The weights of every validation."""

        def on_fit_start(self, trainer, pl_module):
            self.weights = []

        def on_validation_start(self, trainer, pl_module):
            self.weights.append(pl_module.model.layers[0].synapses.weight.detach().clone())

    saver = ModelCheckpoint(tmp_path, monitor="val/loss", save_top_k=-1, filename="{epoch}")
    module = make(points := YinYangDataModule(batch_size=16, dt=2.0, train_size=64))
    seen, options = Seen(), {"num_sanity_val_steps": 0, "limit_val_batches": 1, "max_epochs": 2}
    trainer(callbacks=[ReviveSilent(lift=0.25), seen, saver], enable_checkpointing=True, **options).fit(module, points)
    assert not torch.equal(seen.weights[0], seen.weights[1]), "nothing was lifted: the test would see nothing"
    for epoch, weight in enumerate(seen.weights):
        saved = torch.load(tmp_path / f"epoch={epoch}.ckpt", weights_only=True)["state_dict"]
        assert torch.equal(saved["model.layers.0.synapses.weight"], weight)


def test_lifts_the_silent_neurons_and_no_other(trainer):
    module = make(points := YinYangDataModule(batch_size=16, dt=2.0, train_size=64))
    weight = module.model.layers[0].synapses.weight
    before = weight.detach().clone()
    run = trainer(callbacks=[ReviveSilent(lift=0.25)], limit_val_batches=1, max_epochs=2)
    fired = {}
    for index, layer in enumerate(module.model.layers):
        layer.register_forward_hook(
            lambda _, __, spikes, index=index: fired.setdefault(index, []).append(spikes.detach().flatten(0, 1).any(0))
        )
    run.fit(module, points)
    torch.testing.assert_close(weight[:5].detach(), before[:5] + 2 * 0.25)
    assert torch.equal(weight[5:].detach(), before[5:])
    assert not torch.stack(fired[0]).any(0)[:5].any()
    silent = sum(int((~torch.stack(found).any(0)).sum()) for found in fired.values())
    assert run.callback_metrics["train/revived"] == silent
    assert silent >= 5


@pytest.mark.parametrize("lift", [0.0, -1.0, float("nan")])
def test_a_lift_goes_up(lift):
    with pytest.raises(ValueError, match="lift of ReviveSilent is added to weights and must be > 0"):
        ReviveSilent(lift)


def test_a_resumed_epoch_remembers_which_neurons_fired(trainer, tmp_path):
    """Neurons that fire in the first batch of an epoch only are not silent, though the rest of it never shows that."""

    class FireOnce(Callback):
        """Lets five neurons fire in the first batch only, and fails before the third, if asked."""

        def __init__(self, fails):
            self.fails = fails

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            with torch.no_grad():
                pl_module.model.layers[0].synapses.weight[5:10] = 3.0 if batch_idx == 0 else -1.0
            if self.fails and batch_idx == 2:
                raise KeyError("power cut")

    def fit(*callbacks, **how):
        points = YinYangDataModule(batch_size=16, dt=2.0, train_size=64)
        options = {"limit_val_batches": 0, "max_epochs": 1, "enable_checkpointing": True}
        module = make(points)
        trainer(callbacks=[ReviveSilent(lift=0.25), *callbacks], **options).fit(module, points, **how)
        return module.model.layers[0].synapses.weight.detach()

    whole = fit(FireOnce(fails=False), LastCheckpoint(tmp_path / "whole"))
    with pytest.raises(KeyError, match="power cut"):
        fit(FireOnce(fails=True), LastCheckpoint(tmp_path, minutes=0.0))
    again = fit(FireOnce(fails=False), LastCheckpoint(tmp_path), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert (whole[:5] == -0.75).all()
    assert (whole[5:10] == -1.0).all()
    assert torch.equal(again, whole)
