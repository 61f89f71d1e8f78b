import pytest
import torch

from lightning_modules import ClassificationModule
from lightning_modules.callbacks import ClampMonitor
from lightning_modules.callbacks.clamp_monitor import bounded
from zoo.layers.delayed_linear import DelayedLinear
from zoo.layers.eventprop import Synapses
from zoo.neurons import LI, make_neuron


def test_logs_the_share_beyond_the_bounds(blobs, data_args, adam, trainer):
    module = ClassificationModule(
        model="spiking_vgg_tiny",
        optimizer=adam,
        model_args={"neuron": {"name": "adlif", "v_threshold": 0.3}},
        **data_args,
    )
    numbers = [x for x, _, _ in bounded(module.model)]
    with torch.no_grad():
        for x in numbers:
            x[: len(x) // 4] = 5.0  # a step of the optimiser leads nowhere near back
    run = trainer(callbacks=[ClampMonitor()], max_epochs=1)
    run.fit(module, blobs)
    assert 0.25 <= run.callback_metrics["train/clamped"] < 0.4  # a few more by training


def test_silent_about_other_networks(blobs, data_args, adam, trainer):
    run = trainer(callbacks=[ClampMonitor()], max_epochs=1)
    run.fit(ClassificationModule(model="spiking_vgg_tiny", optimizer=adam, **data_args), blobs)
    assert "train/clamped" not in run.callback_metrics


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (make_neuron("radlif", 3), {"alpha", "beta", "a", "b"}),
        (make_neuron("leaky"), {"leak", "v_threshold"}),
        (LI(3), {"alpha"}),
        (DelayedLinear(2, 3, kernel_size=5), {"delay"}),
        (Synapses(2, 3, dt=1.0, max_delay=4.0), {"delay"}),
        (Synapses(2, 3, dt=1.0, max_delay=4.0, learn_delays=False), set()),
        (make_neuron("lif"), set()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_layer_that_clamps_names_its_bounds(layer, names):
    assert {name for name in names if any(x is getattr(layer, name) for x, _, _ in bounded(layer))} == names
    assert len(bounded(layer)) == len(names)
