"""Delays against the equations in plain loops, as explicit gathers, and on a task that only delays solve."""

import copy
import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from zoo.layers.delayed_linear import DelayedLinear, rounded_delays
from zoo.neurons import LIF


def make(kernel_size=7, kernel_count=2, sigma=1.3):
    return DelayedLinear(3, 2, kernel_size, kernel_count, sigma).double()


def by_loops(layer, x):
    """The released code's form: positions P = L//2 - d, a correlation of the input padded by L-1 and (L-1)//2."""
    size, half = layer.kernel_size, layer.kernel_size // 2
    steps = len(x) + (size - 1) // 2
    y = torch.zeros(steps, x.shape[1], layer.out_features, dtype=x.dtype)
    for j in range(layer.out_features):
        for i in range(layer.in_features):
            kernel = [0.0] * size
            for weight, delay in zip(layer.weight[j, i].tolist(), layer.delay[j, i].tolist(), strict=True):
                centre, width = (half - delay) + half, abs(layer.sigma.item()) + 0.27
                g = [math.exp(-0.5 * ((k - centre) / width) ** 2) for k in range(size)]
                kernel = [a + weight * b / (sum(g) + 1e-7) for a, b in zip(kernel, g, strict=True)]
            for t in range(steps):
                for k in range(size):
                    if 0 <= t + k - (size - 1) < len(x):
                        y[t, :, j] += kernel[k] * x[t + k - (size - 1), :, i]
    return y


def by_gather(layer, x):
    """Whole delays: y_j[t] is the sum of w_ji x_i[t - d_ji]."""
    y = torch.zeros(len(x) + (layer.kernel_size - 1) // 2, x.shape[1], layer.out_features, dtype=x.dtype)
    for j, i, tap in product(*map(range, layer.weight.shape)):
        weight, delay = layer.weight[j, i, tap].item(), round(layer.delay[j, i, tap].item())
        for t in range(len(y)):
            if 0 <= t - delay < len(x):
                y[t, :, j] += weight * x[t - delay, :, i]
    return y


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("sigma", [0.0, 0.23, 3.0])
def test_equals_the_equations(kernel_size, sigma):
    layer, x = make(kernel_size, sigma=sigma), torch.randn(9, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(x), by_loops(layer, x), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("sigma", [0.23, 1.0, 12.0])
def test_a_kernel_sums_to_its_weights(sigma):
    """Wherever the delays are: also at a bound, where half of a bell curve would be missing."""
    layer = make(kernel_size=25, sigma=sigma)
    with torch.no_grad():
        layer.delay[0, 0] = torch.tensor([0.0, 24.0])
    torch.testing.assert_close(layer.kernel().sum(-1), layer.weight.sum(-1), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("sigma", [0.23, 2.0])
def test_gradients(sigma):
    layer, x = make(kernel_size=5, sigma=sigma), torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    parameters = {name: value.detach().clone().requires_grad_() for name, value in layer.named_parameters()}
    assert set(parameters) == {"weight", "delay"}, "sigma is not trained"

    def call(x, *values):
        return functional_call(layer, dict(zip(parameters, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *parameters.values()))


@pytest.mark.parametrize("kernel_size", [1, 5, 9])
def test_rounded_delays_are_a_gather(kernel_size):
    layer, x = make(kernel_size).eval(), torch.randn(12, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(x), by_gather(layer, x), atol=1e-12, rtol=1e-12)


def test_a_narrow_kernel_at_whole_delays_is_the_rounded_one():
    """sigma + 0.27 = 0.27: a neighbour has exp(-0.5 / 0.27^2) = 0.1 % of the weight."""
    layer, x = make(sigma=0.0), torch.randn(12, 3, 3, dtype=torch.float64)
    layer.delay.data.round_()
    torch.testing.assert_close(layer.train()(x), copy.deepcopy(layer).eval()(x), atol=0.1, rtol=0)


@pytest.mark.parametrize(("steps", "kernel_size", "expected"), [(100, 25, 112), (100, 31, 115), (5, 1, 5), (1, 9, 5)])
def test_length_of_the_output(steps, kernel_size, expected):
    """T + (L-1)//2: an input of the last step still arrives if its delay is no longer than that."""
    layer = DelayedLinear(1, 1, kernel_size)
    nn.init.constant_(layer.weight, 1.0)
    x = torch.zeros(steps, 2, 1)
    x[-1] = 1.0
    for delay in range(kernel_size):
        nn.init.constant_(layer.delay, delay)
        y = layer.eval()(x)
        assert y.shape == (expected, 2, 1)
        assert y.sum() == (2 if delay <= (kernel_size - 1) // 2 else 0)


def test_delays_return_to_their_bounds():
    layer = make()
    optimizer = torch.optim.SGD([layer.delay], lr=1e3)
    layer(torch.randn(5, 1, 3, dtype=torch.float64)).square().sum().backward()
    optimizer.step()
    assert layer.delay.min() < 0
    assert layer.delay.max() > 6
    layer.eval()(torch.zeros(1, 1, 3, dtype=torch.float64))
    assert layer.delay.min() == 0
    assert layer.delay.max() == 6


def test_a_second_call_does_not_spoil_the_graph_of_the_first():
    layer, x = make(), torch.randn(5, 1, 3, dtype=torch.float64)
    first = layer(x)
    layer(x)
    first.sum().backward()
    assert layer.delay.grad.abs().sum() > 0


def test_the_mode_chooses_and_a_block_overrules():
    layer, x = make(), torch.randn(8, 2, 3, dtype=torch.float64)
    spread, rounded = layer.train()(x), layer.eval()(x)
    assert not torch.equal(spread, rounded)
    before = copy.deepcopy(layer.state_dict())
    for mode in (True, False):
        model = nn.ModuleDict({"a": layer}).train(mode)
        with pytest.raises(ZeroDivisionError), rounded_delays(model):
            assert torch.equal(layer(x), rounded)
            with rounded_delays(model, False):
                assert torch.equal(layer(x), spread)
            assert torch.equal(layer(x), rounded)
            raise ZeroDivisionError
        assert torch.equal(layer(x), spread if mode else rounded)
        assert layer.training is mode
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel_size": 24}, "kernel_size .* expected an odd number, found 24. Choose 25"),
        ({"kernel_size": 0}, "kernel_size .* >= 1, found 0"),
        ({"kernel_size": 5.0}, "kernel_size .* expected an integer >= 1, found 5.0"),
        ({"kernel_size": True}, "kernel_size .* found True"),
        ({"kernel_count": 2.0}, "kernel_count .* expected an integer >= 1, found 2.0"),
        ({"kernel_size": -3}, "kernel_size .* >= 1, found -3"),
        ({"kernel_count": 0}, "kernel_count .* >= 1, found 0"),
        ({"out_features": 0}, "out_features .* >= 1, found 0"),
        ({"sigma": -1.0}, "sigma: .* >= 0, found -1"),
        ({"sigma": float("nan")}, "sigma: .* found nan"),
    ],
)
def test_what_it_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        DelayedLinear(**{"in_features": 3, "out_features": 2, "kernel_size": 5, **changes})


@pytest.mark.parametrize("delays", [[0.0, 10.0], [0.0, 20.0]], ids=["tuned to the other class", "farthest from any"])
def test_coincidences_are_learned_from_the_worst_delays(delays):
    """Input 0, ten steps later input 1; or the other way round. Weights are fixed: only delays can tell."""
    x = torch.zeros(30, 2, 2)
    for sample, (first, second) in enumerate([(0, 1), (1, 0)]):
        x[5, sample, first] = x[15, sample, second] = 1.0
    target = torch.tensor([0, 1])
    layer, neuron = DelayedLinear(2, 2, kernel_size=21), LIF(tau=1.005, decay_input=False, surrogate="atan")
    nn.init.constant_(layer.weight, 0.6)  # one spike is not enough, two at once are
    with torch.no_grad():
        layer.delay[..., 0] = torch.tensor([delays, delays[::-1]])

    def count():
        return neuron(layer(x)).sum(0)  # [N, K]

    layer.eval()
    assert (count().argmax(1) == target).float().mean() <= 0.5
    optimizer = torch.optim.Adam([layer.delay], lr=1.0)
    for step in range(60):
        layer.sigma.fill_(10 * (0.23 / 10) ** (min(step, 30) / 30))
        layer.train()
        loss = F.cross_entropy(count(), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    layer.eval()
    assert count().tolist() == [[1.0, 0.0], [0.0, 1.0]], "each neuron fires once for its class and never for the other"


@pytest.mark.parametrize("shape", [(4, 3), (4, 1, 3, 8, 8)])
def test_input_that_is_no_spike_trains(shape):
    with pytest.raises(ValueError, match=r"expected \[T, N, F\] with F = 3, found shape \(4,"):
        DelayedLinear(3, 2, kernel_size=5)(torch.zeros(shape))


def test_input_of_other_neurons():
    with pytest.raises(ValueError, match=r"with F = 3, found shape \(4, 1, 5\)"):
        DelayedLinear(3, 2, kernel_size=5)(torch.zeros(4, 1, 5))
