import pytest

from lightning_modules import ClassificationModule
from lightning_modules.callbacks import FiringRate
from zoo.energy import measure


def test_equals_all_spikes_over_all_neuron_steps(blobs, data_args, adam, trainer):
    module = ClassificationModule(model="spiking_vgg_tiny", optimizer=adam, **data_args)
    run = trainer(callbacks=[FiringRate()])
    run.fit(module, blobs)
    logged = run.callback_metrics["val/firing_rate"].item()
    assert logged == pytest.approx(measure(module.model, [x for x, _ in blobs.val_dataloader()]).firing_rate, rel=1e-5)
    assert not any(layer._forward_hooks for layer in module.modules())


def test_silent_about_a_network_without_neurons(blobs, data_args, adam, trainer):
    module = ClassificationModule(model="test_resnet", optimizer=adam, **data_args)
    run = trainer(callbacks=[FiringRate()], max_epochs=1)
    run.fit(module, blobs)
    assert "val/firing_rate" not in run.callback_metrics
