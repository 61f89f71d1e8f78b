"""Against the equations in float64, with autograd of the documented slope."""

import pytest
import torch

import zoo
from zoo.neurons import LIF, RecurrentLIF, Triangle
from zoo.neurons.recurrent_lif import Recurrent


def reference(step, x, matrix, tau):
    """Spikes [T, N, F]; the S of the reset is a constant, that of the recurrence is not."""
    v, s, spikes = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
    for current in x:
        h = v + (current + s @ matrix.T - v) / tau
        s = step(h - 1, lambda x: (1 - x.abs()).clamp(min=0))  # the slope of the triangle
        v = h * (1 - s.detach())
        spikes.append(s)
    return torch.stack(spikes)


@pytest.mark.parametrize("self_connections", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_spikes_and_gradients_equal_the_equations(step, self_connections, dtype):
    neuron = RecurrentLIF(6, self_connections, tau=2.5, surrogate={"name": "triangle", "gamma": 1.0}).to(dtype)
    assert neuron.surrogate == Triangle()
    x, weight = 2 * torch.randn(15, 8, 6) + 0.5, torch.randn(15, 8, 6, dtype=torch.float64)
    leaf = x.to(dtype, copy=True).requires_grad_()
    spikes = neuron(leaf)
    found = torch.autograd.grad((spikes * weight.to(dtype)).sum(), [leaf, neuron.recurrent.weight])
    leaves = [t.detach().double().requires_grad_() for t in (x, neuron.recurrent.weight)]
    exact = reference(step, *leaves, 2.5)
    assert torch.equal(spikes.double(), exact)
    assert 0.1 < exact.mean() < 0.9
    expected = list(torch.autograd.grad((exact * weight).sum(), leaves))
    if not self_connections:
        expected[1] = expected[1].fill_diagonal_(0)
    for one, other in zip(found, expected, strict=True):
        assert (one.double() - other).abs().max() <= (1e-12 if dtype == torch.float64 else 1e-6) * other.abs().max()


def test_starts_orthogonal():
    weight = Recurrent(20, self_connections=True).weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(20), atol=1e-5, rtol=0)


def test_without_self_connections_the_diagonal_is_zero_and_stays_so():
    """Whatever the optimiser does with its zero gradient, and whatever a checkpoint holds."""
    neuron = RecurrentLIF(num_features=5)
    optimizer = torch.optim.AdamW(neuron.parameters(), lr=0.1)
    for _ in range(3):
        (neuron(2 * torch.randn(6, 4, 5)) * torch.randn(6, 4, 5)).sum().backward()
        optimizer.step()
    assert not neuron.recurrent.weight.diagonal().any()
    assert (neuron.recurrent.weight != 0).sum() == 20
    x = 2 * torch.randn(6, 4, 5)
    spikes = neuron(x)
    with torch.no_grad():
        neuron.recurrent.weight.fill_diagonal_(3.0)
    assert torch.equal(neuron(x), spikes)


def test_without_weights_it_is_lif():
    neuron, x = RecurrentLIF(num_features=7, tau=3.0, v_reset=None), torch.randn(8, 5, 7) + 0.5
    torch.nn.init.zeros_(neuron.recurrent.weight)
    assert torch.equal(neuron(x), LIF(tau=3.0, v_reset=None)(x))


def test_in_a_map_the_channels_of_a_position_hear_each_other():
    neuron, x = RecurrentLIF(num_features=3), 2 * torch.randn(6, 2, 3, 4, 5)
    rows = x.permute(0, 1, 3, 4, 2).reshape(6, -1, 3)
    assert torch.equal(neuron(x).permute(0, 1, 3, 4, 2).reshape(6, -1, 3), neuron(rows))


@pytest.mark.parametrize("student", ["sew_resnet_tiny", "spiking_vgg_tiny"])
def test_works_in_students_and_trains(student):
    """The recurrent weights are weights: they may decay."""
    model = zoo.create_model(student, neuron="recurrent_lif", in_chans=1)
    model(torch.randn(8, 1, 8, 8)).square().sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not model.no_weight_decay()


def test_print_shows_the_numbers():
    assert "(recurrent): Recurrent(4, self_connections=False)" in repr(RecurrentLIF(4))
    assert "tau=3.0" in repr(RecurrentLIF(4, tau=3.0))


def test_weights_are_cast_once_a_sequence():
    """Under autocast too; every step's own copy would be kept for the backward pass."""
    neuron, squares = RecurrentLIF(num_features=24), []
    keep = torch.autograd.graph.saved_tensors_hooks(
        lambda x: squares.append(x.data_ptr()) if x.shape == (24, 24) else None, lambda _: None
    )
    with keep, torch.autocast("cpu", torch.bfloat16):
        neuron(torch.rand(50, 2, 24) * 3)
    assert 0 < len(set(squares)) <= 3


def test_self_connections_are_a_choice():
    with pytest.raises(ValueError, match="self_connections: expected true or false, found 'no'"):
        RecurrentLIF(num_features=2, self_connections="no")
