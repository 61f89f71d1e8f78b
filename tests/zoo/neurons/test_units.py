import pytest
import torch

from zoo.neurons import LI, AdLIF, RadLIF, RecurrentLIF
from zoo.neurons.units import clamped, per_unit, uniform_parameter


@pytest.mark.parametrize(("start", "target"), [(2.0, 0.5), (-1.0, 0.5), (0.5, 3.0), (0.5, -3.0)])
def test_a_number_finds_back_from_outside_and_stops_at_a_bound(start, target):
    x = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        (clamped(x, (0.0, 1.0)) - target).square().backward()
        optimizer.step()
    assert clamped(x, (0.0, 1.0)).item() == pytest.approx(min(max(target, 0.0), 1.0), abs=1e-4)
    assert -0.5 < x < 1.5, "it stops soon after a bound"


def test_gradient_within_the_bounds_is_that_of_the_identity():
    x = torch.rand(8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: clamped(x, (-0.1, 1.1)), x)


def test_drawn_between_the_bounds():
    x = uniform_parameter(2000, (0.8, 0.9))
    assert 0.8 <= x.min() < 0.801
    assert 0.899 < x.max() <= 0.9


def test_units_are_axis_two():
    number = torch.rand(3).half()
    for shape, expected in (((5, 2, 3), (3,)), ((5, 2, 3, 4, 6), (3, 1, 1))):
        spread = per_unit(number, torch.zeros(shape, dtype=torch.bfloat16))
        assert (spread.shape, spread.dtype) == (expected, torch.float32)


@pytest.mark.parametrize("layer", [AdLIF, RadLIF, RecurrentLIF, LI])
def test_bad_input(layer):
    for wrong in (0, -1, 2.0, True, None, "4"):
        with pytest.raises(ValueError, match="num_features .*units.* integer >= 1, found"):
            layer(wrong)
    if layer is not LI:
        with pytest.raises(ValueError, match=r"is needed: .* found None\. make_neuron\(spec, num_features\) gives"):
            layer()
    for shape in ((5, 2, 4), (5, 3), (5, 3, 2, 4, 4)):
        with pytest.raises(ValueError, match=r"num_features=3 and takes \[T, N, 3\] .* found shape \(5, "):
            layer(3)(torch.zeros(shape))
