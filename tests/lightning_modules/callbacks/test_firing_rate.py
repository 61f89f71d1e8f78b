import warnings

import pytest

from lightning_modules import ClassificationModule
from lightning_modules.callbacks import FiringRate
from zoo.energy import measure
from zoo.model import spiking_neurons


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


@pytest.mark.parametrize("silent", [True, False])
def test_a_silent_network_is_told_of_once(blobs, data_args, adam, trainer, silent):
    """Both epochs are silent, and only the first says so."""
    module = ClassificationModule(model="spiking_vgg_tiny", model_args={"num_steps": 2}, optimizer=adam, **data_args)
    neurons = spiking_neurons(module.model)
    if silent:
        for neuron in neurons.values():
            neuron.v_threshold = 1e6
    run = trainer(callbacks=[FiringRate()], limit_train_batches=1, num_sanity_val_steps=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.fit(module, blobs)
    told = [str(warning.message) for warning in caught if "did not fire once" in str(warning.message)]
    assert len(told) == silent
    if silent:
        assert told[0].startswith(f"{', '.join(neurons)} did not fire once on the validation split")


def test_a_sanity_check_says_nothing(blobs, data_args, adam, trainer):
    callback = FiringRate()
    module = ClassificationModule(model="spiking_vgg_tiny", model_args={"num_steps": 2}, optimizer=adam, **data_args)
    for neuron in spiking_neurons(module.model).values():
        neuron.v_threshold = 1e6
    trainer(callbacks=[callback], max_epochs=0, num_sanity_val_steps=1).fit(module, blobs)
    assert not callback.told
