"""Against the equations in float64, step by step, and against the convolution that a synapse is."""

import numpy as np
import pytest
import torch

import zoo
from zoo.neurons import LIF, CuBa, carry_state


@pytest.mark.parametrize("v_reset", [0.0, -0.25, None])
def test_spikes_equal_the_step_by_step_loop(v_reset):
    """In a loop over steps that updates I, then H from the new I: two passes over the sequence give the same."""
    x = np.random.default_rng(0).normal(0.3, 0.8, (20, 50, 3))
    rest, current, v, expected = v_reset or 0.0, np.zeros((50, 3)), np.full((50, 3), v_reset or 0.0), []
    for step in x:
        current = (1 - 1 / 3) * current + step
        h = v + (current - (v - rest)) / 2.5
        spike = (h >= 1).astype(float)
        v = h - spike if v_reset is None else h * (1 - spike) + v_reset * spike
        expected.append(spike)
    neuron = CuBa(tau_s=3.0, tau_m=2.5, v_reset=v_reset)
    np.testing.assert_array_equal(neuron(torch.from_numpy(x)), np.stack(expected))
    single = neuron(torch.from_numpy(x).float())
    assert (single.numpy() != np.stack(expected)).mean() < 1e-3
    assert 0.05 < np.mean(expected) < 0.95


def test_an_input_acts_without_delay_and_fades():
    """X = 4 once: I = 4, 2, 1, 1/2, and H = 2 (fires), 1 (fires, at equality), 1/2, 1/2."""
    spikes, (current, v) = CuBa(tau_s=2.0, tau_m=2.0).steps(torch.tensor([[4.0], [0.0], [0.0], [0.0]]))
    assert spikes.flatten().tolist() == [1, 1, 0, 0]
    assert (current.item(), v.item()) == (0.5, 0.5)


def test_without_a_synaptic_memory_it_is_lif():
    x = torch.randn(12, 40) + 0.5
    assert torch.equal(CuBa(tau_s=1.0, tau_m=3.0)(x), LIF(tau=3.0)(x))


@pytest.mark.parametrize("detach", [True, False])
def test_gradient_equals_lif_behind_a_convolution(detach):
    """I = K X with K_tk = (1 - 1/tau_s)^(t-k), a matrix; dL/dX = K^T dL/dI, with the gradient of LIF, in float64."""
    x, weight = torch.randn(9, 30, dtype=torch.float64), torch.randn(9, 30, dtype=torch.float64)
    kernel = torch.from_numpy(0.75 ** np.subtract.outer(np.arange(9), np.arange(9)).clip(0) * np.tri(9))
    filtered = (kernel @ x).requires_grad_()
    (LIF(tau=2.0, detach_reset=detach)(filtered) * weight).sum().backward()
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        leaf = x.to(dtype, copy=True).requires_grad_()
        (CuBa(tau_s=4.0, detach_reset=detach)(leaf) * weight.to(dtype)).sum().backward()
        expected = kernel.T @ filtered.grad
        assert (leaf.grad.double() - expected).abs().max() <= tolerance * expected.abs().max()


def test_carries_current_and_potential():
    neuron = CuBa()
    with carry_state(neuron):
        neuron(torch.ones(3, 5))
        assert [part.shape for part in neuron.state] == [(5,), (5,)]


@pytest.mark.parametrize("student", ["sew_resnet_tiny", "spiking_vgg_tiny"])
def test_works_in_students_and_trains(student):
    model = zoo.create_model(student, neuron={"name": "cuba", "tau_s": 1.5}, in_chans=1)
    model(torch.randn(8, 1, 8, 8)).square().sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize(
    ("taus", "words"),
    [
        ((0.5, 2.0), "tau_s: .* >= 1, found 0.5"),
        ((0.0, 2.0), "tau_s: .* found 0.0"),
        ((2.0, -1.0), "tau_m: .* >= 1, found -1.0"),
        ((float("nan"), 2.0), "tau_s: .* found nan"),
    ],
)
def test_bad_input(taus, words):
    with pytest.raises(ValueError, match=words):
        CuBa(*taus)


def test_print_shows_the_numbers():
    assert "tau_s=3.0, tau_m=2.0, v_threshold=1.0" in repr(CuBa(tau_s=3.0))
