"""Against the equations in float64, and against the parameter counts of the paper's networks."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from zoo.neurons import LI, AdLIF, RadLIF


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_spikes_and_gradients_equal_the_equations(adaptive_reference, dtype):
    neuron = RadLIF(num_features=6, self_connections=True, v_threshold=0.3).to(dtype)
    nn.init.uniform_(neuron.a, 0, 1)  # within the bounds of every beta
    x, weight = 2 * torch.randn(30, 8, 6) + 0.5, torch.randn(30, 8, 6, dtype=torch.float64)
    leaf = x.to(dtype, copy=True).requires_grad_()
    spikes = neuron(leaf)
    parameters = [neuron.alpha, neuron.beta, neuron.a, neuron.b, neuron.recurrent.weight]
    found = torch.autograd.grad((spikes * weight.to(dtype)).sum(), [leaf, *parameters])
    leaves = [t.detach().double().requires_grad_() for t in (x, *parameters)]
    exact = adaptive_reference(*leaves)
    assert torch.equal(spikes.double(), exact)
    assert 0.02 < exact.mean() < 0.9
    expected = torch.autograd.grad((exact * weight).sum(), leaves)
    for one, other in zip(found, expected, strict=True):
        assert (one.double() - other).abs().max() <= (1e-12 if dtype == torch.float64 else 1e-6) * other.abs().max()


def test_without_weights_it_is_adlif():
    neuron, other, x = RadLIF(4, v_threshold=0.3), AdLIF(4, v_threshold=0.3), 2 * torch.randn(20, 5, 4)
    other.load_state_dict({key: value for key, value in neuron.state_dict().items() if "recurrent" not in key})
    assert not torch.equal(neuron(x), other(x))
    nn.init.zeros_(neuron.recurrent.weight)
    assert torch.equal(neuron(x), other(x))


@pytest.mark.parametrize(
    ("neuron", "inputs", "hidden", "classes", "count"),
    [
        (AdLIF, 700, 128, 20, 110_140),
        (AdLIF, 40, 512, 35, 306_793),
        (RadLIF, 700, 128, 20, 142_908),
        (RadLIF, 700, 1024, 35, 3_910_761),
    ],
)
def test_parameters_of_the_published_networks(neuron, inputs, hidden, classes, count):
    """Two hidden layers and a readout: linear without bias, norm, neuron."""
    sizes = [inputs, hidden, hidden, classes]
    with torch.device("meta"):
        layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(sizes)]
        norms = [nn.BatchNorm1d(size) for size in sizes[1:]]
        network = nn.ModuleList([*layers, *norms, neuron(hidden), neuron(hidden), LI(classes)])
    assert sum(parameter.numel() for parameter in network.parameters()) == count
