"""NaN and infinity in losses, gradients and weights stop a training; what was saved before stays."""

import pytest
import timm
import torch
from lightning import Trainer

from commands.run import callbacks
from lightning_modules import ClassificationModule, DistillationModule
from lightning_modules.finite import check_gradients
from lightning_modules.objectives import CrossEntropy, LogitKD

TINY = {"model": "spiking_vgg_tiny", "model_args": {"num_steps": 2}}


def fit(module, blobs, folder, epochs=2, **options):
    saving = [one for one in callbacks(folder, "fit", 10.0) if "Checkpoint" in type(one).__name__]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        max_epochs=epochs, default_root_dir=folder, callbacks=saving, accelerator="cpu", **quiet, **options
    )
    trainer.fit(module, blobs)
    return trainer


def sgd(lr):
    return lambda groups: torch.optim.SGD(groups, lr=lr)


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"].values()


def test_a_huge_learning_rate_stops_and_saves_nothing_of_it(blobs, data_args, tmp_path):
    module = ClassificationModule(**TINY, optimizer=sgd(1e30), **data_args)
    with pytest.raises(ValueError, match=r"Epoch 1.*: expected (a )?finite .* Use a lower learning rate"):
        fit(module, blobs, tmp_path)
    for path in tmp_path.glob("checkpoints/*.ckpt"):
        assert all(weight.isfinite().all() for weight in weights(path))


class Later(CrossEntropy):
    """A loss that is NaN from its n-th training batch on."""

    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def loss(self, student, teacher, target):
        self.left -= torch.is_grad_enabled()
        return super().loss(student, teacher, target) * (1.0 if self.left >= 0 else float("nan"))


def test_a_loss_is_named_with_its_batch_and_the_last_good_state(blobs, data_args, tmp_path):
    """96 samples in batches of 16: the eighth batch is the second of epoch 2."""
    module = ClassificationModule(**TINY, objectives=[Later(7)], optimizer=sgd(0.1), **data_args)
    with pytest.raises(ValueError, match=r"Epoch 2, training batch 2: expected a finite loss, found \w+ = nan") as stop:
        fit(module, blobs, tmp_path)
    assert f"The last good state is {tmp_path}/checkpoints/last.ckpt" in str(stop.value)
    assert torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)["epoch"] == 0


def test_only_the_objective_that_is_not_finite_is_named(blobs, data_args, tmp_path):
    teacher = timm.create_model("test_resnet", num_classes=3, in_chans=1)
    arguments = {"student": "spiking_vgg_tiny", "student_args": {"num_steps": 2}, "teacher": teacher}
    module = DistillationModule(**arguments, objectives=[Later(0), LogitKD()], optimizer=sgd(0.1), **data_args)
    with pytest.raises(ValueError, match="found") as stop:
        fit(module, blobs, tmp_path)
    assert "LogitKD" not in str(stop.value)


def test_a_gradient_is_named(blobs, data_args, tmp_path):
    """A NaN that only the backward pass makes: sqrt at 0 times 0."""
    module = ClassificationModule(**TINY, optimizer=sgd(0.1), **data_args)
    bias = module.model.fc.bias
    torch.nn.init.zeros_(bias)
    module.model.fc.register_forward_hook(lambda layer, args, out: out + 0 * layer.bias.square().sqrt())
    with pytest.raises(ValueError, match=r"training batch 1: expected finite gradients, .* of model\.fc\.bias"):
        fit(module, blobs, tmp_path)


def test_finite_gradients_whose_norm_overflows_pass(data_args):
    module = ClassificationModule(**TINY, optimizer=sgd(0.1), **data_args)
    Trainer(logger=False, accelerator="cpu").strategy.connect(module)
    module.trainer = Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    for weight in module.parameters():
        weight.grad = torch.full_like(weight, 1e30)
    check_gradients(module)


def test_nan_in_training_data_is_refused(blobs, data_args, tmp_path, monkeypatch):
    splits = blobs.load()
    splits["train"].tensors[0][40] = float("nan")
    monkeypatch.setattr(blobs, "load", lambda: splits)
    with pytest.raises(ValueError, match="expected finite numbers, found nan"):
        fit(ClassificationModule(**TINY, optimizer=sgd(0.1), **data_args), blobs, tmp_path)
