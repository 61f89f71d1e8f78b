"""Traces by hand, a float64 loop, and the gradient against autograd of the documented primitive."""

import logging

import numpy as np
import pytest
import torch

from zoo.neurons import Leaky, carry_state, make_neuron


def reference(current, leak, threshold):
    """Spikes [T, ...] in float64; fires when H reaches the threshold."""
    v, spikes = np.zeros(current.shape[1:]), []
    for x in current:
        h = leak * v + x
        spikes.append((h >= threshold).astype(float))
        v = h - threshold * spikes[-1]
    return np.stack(spikes)


def test_trace_by_hand():
    """leak 0.5, threshold 2: H = 1.5, 2.25 (fires; 0.25 left), 1.625, 2 (at equality; 0), 4 (2 left), 2 (fires)."""
    neuron = Leaky(leak=0.5, v_threshold=2.0)
    current = torch.tensor([1.5, 1.5, 1.5, 1.1875, 4.0, 1.0]).view(-1, 1)
    assert neuron(current).flatten().tolist() == [0, 1, 0, 1, 1, 1]
    current[3] -= 1e-6
    assert neuron(current).flatten().tolist()[3] == 0


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.5, 1.0, 2.0, 3.14159])
def test_where_it_fires(threshold):
    """At equality where 1 / v_threshold is a number of the machine, else within its rounding."""
    neuron = Leaky(v_threshold=threshold)
    at = neuron.v_threshold.detach().view(1, 1)
    if threshold in (0.5, 1.0, 2.0):
        assert neuron(at).item() == 1
        assert neuron(torch.nextafter(at, torch.zeros(1, 1))).item() == 0
    assert neuron(at * (1 + 2e-7)).item() == 1
    assert neuron(at * (1 - 2e-7)).item() == 0


@pytest.mark.parametrize(("leak", "threshold"), [(1.0, 1.0), (0.9, 0.4), (0.5, 1.3)])
def test_spikes_equal_the_float64_loop(leak, threshold):
    current = np.random.default_rng(0).normal(0.3, 1.0, (12, 50, 3))
    spikes = Leaky(leak, threshold).double()(torch.from_numpy(current)).detach().numpy()
    # The parameters were float32 first, so the oracle reads what they became.
    assert np.array_equal(spikes, reference(current, float(np.float32(leak)), float(np.float32(threshold))))
    assert 0.05 < spikes.mean() < 0.95, "the test would see nothing"


class Step(torch.autograd.Function):
    """The step of z, with the slope of the docstring."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return (z >= 0).to(z)

    @staticmethod
    def backward(ctx, grad):
        (z,) = ctx.saved_tensors
        return grad * 0.3 * (1 - z.abs()).clamp(min=0)


def test_gradients_equal_autograd_of_the_equations():
    current = torch.randn(6, 40, dtype=torch.float64) * 0.8 + 0.4
    weight = torch.randn_like(current)
    neuron = Leaky(leak=0.75, v_threshold=0.625).double()
    x = current.clone().requires_grad_()
    (neuron(x) * weight).sum().backward()

    leak, threshold = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.75, 0.625))
    y = current.clone().requires_grad_()
    u, loss = torch.zeros(40, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for t in range(6):
        u = leak * u + y[t]
        s = Step.apply(u / threshold - 1)
        loss = loss + (s * weight[t]).sum()
        u = u - threshold * (u.detach() >= threshold.detach())  # the indicator is a constant, the threshold is not
    loss.backward()
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(neuron.leak.grad, leak.grad)
    torch.testing.assert_close(neuron.v_threshold.grad, threshold.grad)
    assert neuron.leak.grad.abs() > 0.01
    assert neuron.v_threshold.grad.abs() > 0.01


def test_kernels_and_loops_agree():
    """float32 runs in the compiled kernels where there are some, float64 in plain loops."""
    current = torch.randn(6, 400) * 0.8 + 0.4
    found = []
    for dtype in (torch.float32, torch.float64):
        neuron, x = Leaky(leak=0.75, v_threshold=0.625).to(dtype), current.clone().to(dtype).requires_grad_()
        spikes = neuron(x)
        (spikes * torch.arange(400)).sum().backward()
        found.append([t.double() for t in (spikes, x.grad, neuron.leak.grad, neuron.v_threshold.grad)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_a_carried_state_equals_one_sequence():
    neuron, x = Leaky(leak=0.8, v_threshold=0.7), torch.randn(6, 30)
    whole = neuron(x)
    with carry_state(neuron):
        assert torch.equal(torch.cat([neuron(part) for part in x.split([1, 3, 2])]), whole)


def test_gradient_of_the_threshold_by_hand():
    """One step, H = 1.5, threshold 1: dL/dthreshold = 0.3 (1 - 0.5) * (-H / threshold^2)."""
    neuron = Leaky()
    neuron(torch.tensor([[1.5]])).sum().backward()
    assert neuron.v_threshold.grad.item() == pytest.approx(0.3 * 0.5 * -1.5)
    assert neuron.leak.grad.item() == 0  # with one step there is no past


def test_the_leak_changes_nothing_with_one_step():
    x = torch.randn(1, 100)
    assert torch.equal(Leaky(leak=1.0)(x), Leaky(leak=0.1)(x))


@pytest.mark.parametrize(("name", "value", "bound"), [("leak", 1.25, 1.0), ("v_threshold", -0.5, 0.01)])
def test_bounds_hold_after_a_step_of_any_optimiser(name, value, bound, caplog):
    caplog.set_level(logging.INFO)  # not shown by default: `train/clamped` says how many
    neuron = Leaky(leak=0.5)
    parameter = getattr(neuron, name)
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    for _ in range(3):
        parameter.grad = parameter.detach() - value  # one step leads to `value`
        optimizer.step()
        with torch.inference_mode():  # a validation, too, sees the bounded value
            neuron(torch.rand(3, 4))
        assert parameter.item() == pytest.approx(bound)
    assert [record.levelno for record in caplog.records] == [logging.INFO], "once for every layer"
    assert name in caplog.text
    assert f"{value:.6g} was clamped" in caplog.text


def test_a_value_in_bounds_is_left_alone(caplog):
    """Two calls before one backward pass: what the first keeps for it must not be written."""
    neuron, x = Leaky(leak=1.0), torch.rand(4, 5, requires_grad=True)
    (neuron(x).sum() + neuron(2 * x).sum()).backward()
    assert not caplog.records


def test_a_frozen_neuron_is_not_changed(caplog):
    neuron = Leaky().requires_grad_(False)
    neuron.leak.fill_(1.5)
    neuron(torch.rand(3, 4))
    assert neuron.leak.item() == 1.5
    assert not caplog.records


def test_two_numbers_a_layer_without_weight_decay():
    import zoo

    model = zoo.create_model("spiking_vgg_tiny", neuron={"name": "leaky", "leak": 0.9})
    names = {name for name, parameter in model.named_parameters() if parameter.ndim == 0}
    assert len(names) == 2 * 4
    assert names == model.no_weight_decay()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half(dtype):
    x = (torch.randn(6, 50) * 2 + 1).to(dtype).requires_grad_()
    spikes = Leaky()(x)
    spikes.sum().backward()
    assert (spikes.dtype, x.grad.dtype) == (dtype, dtype)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"leak": 1.5}, r"leak: .* in \(0, 1\], found 1.5"),
        ({"leak": 0.0}, r"leak: .* in \(0, 1\], found 0.0"),
        ({"v_threshold": 0.001}, ">= 0.01, found 0.001"),
        ({"v_threshold": -1.0}, "above the reset potential"),
        ({"surrogate_scale": 0.0}, "surrogate_scale: expected a number > 0, found 0.0"),
        ({"v_reset": 0.0}, r"Unknown leaky argument 'v_reset'.* leak, surrogate, surrogate_scale, v_threshold\."),
        ({"lek": 1.0}, "Unknown leaky argument 'lek'. Did you mean 'leak'"),
    ],
)
def test_bad_input(changes, words):
    with pytest.raises(ValueError, match=words):
        make_neuron({"name": "leaky", **changes})


def test_print_shows_the_numbers():
    assert "leak=0.5, v_threshold=2, surrogate=Triangle(gamma=1.0), surrogate_scale=0.3" in repr(Leaky(0.5, 2.0))
