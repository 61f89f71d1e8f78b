"""Against AdLIF without adaptation, which has an oracle of its own, and against LIF where all units are alike."""

import pytest
import torch

from zoo.neurons import LIF, UnitLIF, make_neuron


@pytest.mark.parametrize("shape", [(30, 6, 7), (9, 4, 7, 3, 2)], ids=str)
def test_is_adlif_without_adaptation(adaptive_reference, shape):
    """Spikes, and gradients of the input and of alpha, in float64; the neuron in fp32, too."""
    neuron, x = UnitLIF(num_features=7, v_threshold=0.3), 2 * torch.randn(shape) + 0.5
    units = (1, 7, *[1] * (len(shape) - 3))
    weight, zero = torch.randn(shape), torch.zeros((), dtype=torch.float64)
    leaves = [x.double().requires_grad_(), neuron.alpha.detach().double().requires_grad_()]
    exact = adaptive_reference(leaves[0], leaves[1].view(units), zero, zero, zero)
    expected = torch.autograd.grad((exact * weight.double()).sum(), leaves)
    assert 0.02 < exact.mean() < 0.9
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 1e-5)):
        copy, leaf = UnitLIF(num_features=7, v_threshold=0.3).to(dtype), x.to(dtype, copy=True).requires_grad_()
        copy.load_state_dict(neuron.state_dict())
        spikes = copy(leaf)
        found = torch.autograd.grad((spikes * weight.to(dtype)).sum(), [leaf, copy.alpha])
        assert torch.equal(spikes.double(), exact)
        for one, other in zip(found, expected, strict=True):
            assert (one.double() - other).abs().max() <= tolerance * other.abs().max()


def test_units_that_are_alike_are_a_lif():
    """alpha = 7/8 is tau = 8, with a soft reset that comes before the leak: alpha (U - threshold)."""
    neuron, x = UnitLIF(num_features=5), 4 * torch.randn(20, 3, 5)
    torch.nn.init.constant_(neuron.alpha, 0.875)
    assert neuron(x).any()
    assert torch.equal(neuron(x), LIF(tau=8.0, v_reset=None)(x))


def test_a_decay_out_of_bounds_acts_as_its_bound():
    neuron, x = UnitLIF(num_features=1, v_threshold=0.2), torch.randn(30, 20, 1) + 0.5
    low, high = neuron.bounds["alpha"]
    for bound, beyond in ((low, 0.1), (high, 2.0)):
        at, out = ([torch.nn.init.constant_(neuron.alpha, value), neuron(x)][1] for value in (bound, beyond))
        assert torch.equal(at, out)


def test_print_shows_the_numbers():
    neuron = make_neuron({"name": "unit_lif", "v_threshold": 0.5}, 4)
    assert "num_features=4, v_threshold=0.5, detach_reset=False, surrogate=Rectangle(width=1.0)" in repr(neuron)
