import pytest
import torch
from torch import nn

from datamodules.spikes.yin_yang import YinYangDataModule
from lightning_modules import ClassificationModule
from lightning_modules.callbacks import EventPropMonitor
from lightning_modules.objectives import CrossEntropy


@pytest.fixture
def points():
    return YinYangDataModule(batch_size=16, dt=2.0, train_size=64)


def student(points, adam, **changes):
    return ClassificationModule(
        model="eventprop_mlp_tiny",
        model_args={"dt": 2.0, **changes},
        objectives=[CrossEntropy()],
        optimizer=adam,
        num_classes=3,
        in_chans=5,
        input_cfg=points.input_cfg,
    )


def test_counts_every_spike_of_an_epoch(points, adam, trainer):
    module, fired = student(points, adam, max_delay=4.0), []
    for layer in module.model.layers:
        layer.register_forward_hook(lambda layer, _, spikes: fired.append(layer.training * int(spikes.sum())))
    run = trainer(callbacks=[EventPropMonitor()], limit_val_batches=1, max_epochs=1)
    run.fit(module, points)
    spikes, raised = torch.stack([layer.slopes for layer in module.model.layers]).sum(0).tolist()
    assert spikes == sum(fired) > 0
    assert run.callback_metrics["train/raised_slopes"].item() == pytest.approx(raised / spikes)


def test_silent_about_other_networks(blobs, data_args, adam, trainer):
    module = ClassificationModule(model="spiking_vgg_tiny", optimizer=adam, **data_args)
    run = trainer(callbacks=[EventPropMonitor()], max_epochs=1)
    run.fit(module, blobs)
    assert "train/raised_slopes" not in run.callback_metrics
    assert isinstance(module.model, nn.Module)
