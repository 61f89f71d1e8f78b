import numpy as np
import pytest
import torch

from zoo.energy import measure
from zoo.model import spiking_neurons
from zoo.neurons import IF, LI, Stateful, carry_state, override_surrogate


def test_is_an_exponential_filter():
    """V_t = sum_k alpha^(t-k) (1 - alpha) X_k, unit by unit; gradient of alpha by autograd of this sum."""
    layer, x = LI(num_features=3).double(), torch.randn(9, 4, 3, dtype=torch.float64)
    powers = torch.from_numpy(np.subtract.outer(np.arange(9), np.arange(9)).clip(0))
    alpha = layer.alpha.detach().clone().requires_grad_()
    kernel = alpha ** powers[..., None] * torch.from_numpy(np.tri(9))[..., None] * (1 - alpha)  # [T, T, F]
    expected, found = torch.einsum("tkf,knf->tnf", kernel, x), layer(x)
    torch.testing.assert_close(found, expected)
    weight = torch.randn(9, 4, 3, dtype=torch.float64)
    (other,) = torch.autograd.grad((expected * weight).sum(), alpha)
    torch.testing.assert_close(torch.autograd.grad((found * weight).sum(), layer.alpha)[0], other)


@pytest.mark.parametrize("num_features", [1, 4])
def test_potentials_in_the_dtype_of_the_input(num_features):
    layer, x = LI(num_features), torch.randn(7, 2, num_features)
    for dtype in (torch.float16, torch.bfloat16):
        out = layer(x.to(dtype))
        assert out.dtype == dtype
        torch.testing.assert_close(out.float(), layer(x), atol=2e-2, rtol=2e-2)
    maps = torch.randn(7, 2, num_features, 3, 3)
    torch.testing.assert_close(layer(maps)[..., 1, 2], layer(maps[..., 1, 2]))


def test_carries_its_state():
    layer, x = LI(num_features=3), torch.randn(7, 2, 3)
    with carry_state(layer):
        chunks = [layer(part) for part in x.split([1, 4, 2])]
    torch.testing.assert_close(torch.cat(chunks), layer(x))
    assert layer.state is None
    assert set(layer.state_dict()) == {"alpha"}


def test_is_no_spiking_neuron():
    """It has no firing rate, and a layer that reads it multiplies."""

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.hidden, self.readout = IF(), torch.nn.Linear(2, 3, bias=False), LI(3)
            self.last = torch.nn.Linear(3, 5, bias=False)

        def forward(self, x):
            return self.last(self.readout(self.hidden(self.act(x)))).mean(0)

    model = Network()
    assert list(spiking_neurons(model)) == ["act"]
    assert isinstance(model.readout, Stateful)
    cost = measure(model, [torch.full((4, 2, 2), 0.5)])  # fires every second step
    assert cost.firing_rates == {"act": 0.5}
    assert (cost.spikes, cost.neuron_steps) == (4, 8)
    by_name = {layer.name: layer for layer in cost.layers}
    assert (by_name["hidden"].macs, by_name["hidden"].acs) == (0, 2 * 2 * 3)
    assert (by_name["last"].macs, by_name["last"].acs) == (3 * 3 * 5, 0)  # its potential is zero in the first step
    with override_surrogate(model, "sigmoid"):
        pass


def test_compiled_and_exported():
    layer, x = LI(num_features=3), torch.randn(4, 2, 3)
    assert torch.equal(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))
    assert torch.equal(torch.export.export(layer, (x,)).module()(x), layer(x))
