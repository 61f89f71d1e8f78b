import numpy as np
import pytest
import torch

from zoo.neurons import IF, Integer, Neuron, make_neuron


@pytest.mark.parametrize("v_threshold", [1.0, 0.5])
@pytest.mark.parametrize("levels", [1, 4, 8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_values_are_the_rounded_currents(dtype, levels, v_threshold):
    x = (torch.randn(3, 5, 40, dtype=torch.float64) * levels * v_threshold).to(dtype)
    out = make_neuron({"name": "integer", "levels": levels, "v_threshold": v_threshold})(x)
    spikes = np.rint(np.clip(x.double().numpy() / v_threshold, 0, levels))  # halves to even, as the paper's code
    assert set(np.unique(spikes)) == set(range(levels + 1))
    assert out.dtype == dtype
    assert np.array_equal(out.double().numpy() * levels, spikes)


def test_a_value_counts_binary_spikes():
    """K / D is the share of D thresholds, half a spike apart from the integers, that the current exceeds."""
    x = torch.randn(4, 100) * 5
    expected = torch.stack([x > spike + 0.5 for spike in range(4)]).float().mean(0)
    assert torch.equal(Integer(levels=4)(x), expected)


def test_gradient_passes_between_the_ends():
    x = torch.tensor([-1.0, -1e-6, 0.0, 0.7, 1.9, 2.0, 2.1, 5.0], requires_grad=True)
    weight = torch.arange(1.0, 9.0)
    (Integer(levels=4, v_threshold=0.5)(x[None]) * weight).sum().backward()
    inside = torch.tensor([0.0, 0, 1, 1, 1, 1, 0, 0])
    torch.testing.assert_close(x.grad, weight * inside / (4 * 0.5))


def test_nothing_is_remembered():
    neuron, x = Integer(), torch.randn(5, 2, 3) * 3
    assert torch.equal(neuron(x.flip(0)), neuron(x).flip(0))
    assert neuron.steps(x)[1] == ()


def test_levels_are_declared():
    assert (Neuron.levels, IF().levels, Integer(levels=8).levels) == (1, 1, 8)
    assert repr(Integer()) == "Integer(levels=4, v_threshold=1.0)"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"levels": 0}, "integer >= 1, found 0"),
        ({"levels": 2.5}, "integer >= 1, found 2.5"),
        ({"levels": True}, "integer >= 1, found True"),
        ({"v_threshold": 0.0}, "above the reset potential 0.0, found 0.0"),
        ({"level": 4}, "Unknown integer argument 'level'. Did you mean 'levels'"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        make_neuron({"name": "integer", **arguments})
