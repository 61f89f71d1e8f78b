"""Against numpy's percentile, layer by layer."""

import numpy as np
import pytest
import torch

import zoo
from zoo.model import spiking_neurons
from zoo.thresholds import calibrate_thresholds


def make(**changes):
    """A student of leaky neurons, its norms calibrated on noise."""
    choices = {"num_classes": 4, "in_chans": 1, "num_steps": 3, "neuron": {"name": "leaky", "leak": 0.8}}
    model = zoo.create_model("spiking_vgg_tiny", **choices | changes)
    x = torch.randn(16, 1, 8, 8)
    with torch.no_grad():
        for _ in range(40):
            model(x)
    return model.eval(), x


def currents(model, x):
    """The current of every layer, by name, as the network is now."""
    found = {}
    hooks = [
        neuron.register_forward_pre_hook(lambda _, args, name=name: found.__setitem__(name, args[0]))
        for name, neuron in spiking_neurons(model).items()
    ]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(("percentile", "scale"), [(0.9, 1.0), (0.5, 2.0), (1.0, 1.0)])
def test_every_threshold_is_the_percentile_of_the_final_network(percentile, scale):
    """Set in one pass, each threshold fits the currents of the network with all of them set."""
    model, x = make()
    found = calibrate_thresholds(model, x, percentile, scale=scale)
    after = currents(model, x)
    assert list(found) == list(spiking_neurons(model))
    for name, neuron in spiking_neurons(model).items():
        steps = after[name].flatten(1).numpy()
        expected = scale * max(np.quantile(step, percentile, method="inverted_cdf") for step in steps)
        assert neuron.v_threshold.item() == pytest.approx(found[name]) == pytest.approx(max(0.1, expected), rel=1e-6)


def test_a_layer_without_current_gets_the_floor():
    model, x = make()
    torch.nn.init.zeros_(model.stages[1][0].bn.weight)
    torch.nn.init.zeros_(model.stages[1][0].bn.bias)
    assert calibrate_thresholds(model, x)["stages.1.0.act"] == pytest.approx(0.1)


def test_nothing_else_changes():
    model, x = make()
    model.train()
    model.encoder.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    calibrate_thresholds(model, x)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {f"{name}.v_threshold" for name in spiking_neurons(model)}
    assert model.training
    assert not model.encoder.training
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_bad_input():
    model, x = make(neuron="lif")
    with pytest.raises(ValueError, match=r"SpikingVGG: expected learned thresholds, found none.*leaky"):
        calibrate_thresholds(model, x)
    model, x = make()
    for wrong in ({"percentile": 90}, {"floor": 0.0}, {"scale": -1.0}):
        with pytest.raises(ValueError, match=r"expected a share in \(0, 1\] and two numbers above 0, found"):
            calibrate_thresholds(model, x, **wrong)
