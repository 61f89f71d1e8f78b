"""Against a float64 loop over its equations, and against IF where all units are alike."""

import numpy as np
import pytest
import torch

from zoo.neurons import IF, UnitIF, make_neuron

NUMBERS = {"threshold": [0.3, 0.7, 1.9, 4.0], "shift": [0.0, -0.05, 0.1, 0.2], "v_init": [0.5, 0.0, 0.25, 0.9]}


def drawn(dtype):
    neuron = UnitIF(num_features=4)
    for name, values in NUMBERS.items():
        getattr(neuron, name).copy_(torch.tensor(values))
    return neuron.to(dtype)


def reference(x, slope=None, weight=None):
    """Spikes, and the gradient of sum(weight S) with the given slope and a detached reset, by hand, in float64."""
    theta, shift, v = (np.array(NUMBERS[name]).reshape(1, 4, *[1] * (x.ndim - 3)) for name in NUMBERS)
    v, trace = np.broadcast_to(v, x.shape[1:]), []
    for current in x:
        h = v + current / theta + shift
        s = (h >= 1).astype(float)
        trace.append((h, s))
        v = h - s
    spikes = np.stack([s for _, s in trace])
    if slope is None:
        return spikes
    grad, behind = np.zeros_like(x), 0.0
    for t in reversed(range(len(x))):
        behind = weight[t] * slope(trace[t][0] - 1) + behind
        grad[t] = behind / theta
    return spikes, grad


@pytest.mark.parametrize("shape", [(9, 5, 4), (6, 3, 4, 5, 2)], ids=str)
def test_spikes_and_gradient_equal_the_equations(shape):
    x = np.random.default_rng(0).normal(0.5, 1.0, shape)
    weight = np.random.default_rng(1).normal(size=shape)
    spikes, grad = reference(x, lambda d: 1 / (1 + (np.pi * d) ** 2), weight)  # atan, alpha = 2
    assert 0.05 < spikes.mean() < 0.9
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 1e-4)):  # the buffers are rounded to fp32
        leaf = torch.from_numpy(x).to(dtype).requires_grad_()
        found = drawn(dtype)(leaf)
        assert found.dtype == dtype
        assert np.array_equal(found.detach().double().numpy(), spikes)
        (found * torch.from_numpy(weight).to(dtype)).sum().backward()
        np.testing.assert_allclose(leaf.grad.numpy(), grad, rtol=tolerance, atol=tolerance)


def test_units_that_are_alike_are_an_if():
    """To the bit where the threshold is a power of two; the surrogate of UnitIF is of the scaled potential."""
    x = torch.randn(10, 6, 3)
    for threshold, v_init in ((1.0, 0.0), (0.5, 0.5), (4.0, 0.25)):
        unit = make_neuron({"name": "unit_if", "v_threshold": threshold, "v_init": v_init}, 3)
        plain = IF(v_threshold=threshold, v_reset=None, v_init=v_init)
        assert plain(x).any()
        assert torch.equal(unit(x), plain(x))


def test_its_numbers_are_saved_and_not_trained():
    neuron, other = drawn(torch.float32), UnitIF(num_features=4)
    other.load_state_dict(neuron.state_dict())
    x = torch.randn(5, 2, 4) + 0.5
    assert torch.equal(other(x), neuron(x))
    assert not torch.equal(UnitIF(num_features=4)(x), neuron(x))
    assert not list(neuron.parameters())


def test_other_units_are_refused():
    with pytest.raises(ValueError, match=r"num_features=4 .* found shape \(5, 2, 3\)"):
        UnitIF(num_features=4)(torch.zeros(5, 2, 3))


def test_print_shows_the_numbers():
    assert "num_features=4, detach_reset=True, surrogate=ATan(alpha=2.0)" in repr(make_neuron("unit_if", 4))
