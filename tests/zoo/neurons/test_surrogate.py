"""The step going forward, the derivative of the documented primitive going back."""

import copy
import math
import pickle
from statistics import NormalDist

import numpy as np
import pytest
import torch

from zoo.neurons import SURROGATES, ATan, Gaussian, Rectangle, Sigmoid, Triangle, make_surrogate

CASES = [ATan(), ATan(5.0), Sigmoid(), Sigmoid(1.5), Triangle(), Triangle(0.4), Rectangle(), Rectangle(3.0)]
CASES += [Gaussian(), Gaussian(0.2)]
PEAKS = [
    1.0,
    2.5,
    1.0,
    0.375,
    1.0,
    2.5,
    1.0,
    1 / 3,
    0.797885,
    1.994711,
]  # alpha/2, alpha/4, 1/gamma, 1/width: the docstrings' formulas


def slope(spike, x: float) -> float:
    """The slopes of specs/models.md section 0.2, in plain Python."""
    match spike:
        case ATan(alpha):
            return alpha / (2 * (1 + (math.pi / 2 * alpha * x) ** 2))
        case Sigmoid(alpha):
            sigma = 1 / (1 + math.exp(-alpha * x))
            return alpha * sigma * (1 - sigma)
        case Triangle(gamma):
            return max(0.0, gamma - abs(x)) / gamma**2
        case Rectangle(width):
            return 1 / width if abs(x) < width / 2 else 0.0
        case Gaussian(sigma):
            return NormalDist(0, sigma).pdf(x)
    raise AssertionError(spike)


@pytest.fixture(params=CASES, ids=repr)
def spike(request):
    return request.param


@pytest.fixture
def points():
    """Many distances to the threshold, 0 and the corners of the triangle among them."""
    return torch.cat([torch.linspace(-4, 4, 4001).double(), torch.tensor([0, 0.4, -0.4, 1, -1, 40, -40]).double()])


def test_all_are_registered_and_tested():
    assert {type(case) for case in CASES} == set(SURROGATES.values())


def test_derivative_is_the_documented_slope(spike, points):
    expected = [slope(spike, x) for x in points.tolist()]
    torch.testing.assert_close(
        spike.derivative(points), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-15
    )


def test_derivative_is_that_of_the_primitive(spike, points):
    if isinstance(spike, Rectangle):  # its primitive has no derivative at the corners
        points = points[(points.abs() - spike.width / 2).abs() > 1e-9]
    x = points.clone().requires_grad_()
    (by_autograd,) = torch.autograd.grad(spike.primitive(x).sum(), x)
    torch.testing.assert_close(spike.derivative(points), by_autograd, rtol=1e-12, atol=1e-14)


def test_primitive_rises_from_0_to_1_through_a_half(spike):
    ends = spike.primitive(torch.tensor([-math.inf, -1e9, 0.0, 1e9, math.inf]).double())
    torch.testing.assert_close(ends, torch.tensor([0, 0, 0.5, 1, 1], dtype=torch.float64), rtol=0, atol=1e-8)
    assert (spike.primitive(torch.linspace(-5, 5, 999).double()).diff() >= 0).all()


def test_derivative_integrates_to_1_and_peaks_at_0(spike):
    x = np.linspace(-2000, 2000, 8_000_001)
    y = spike.derivative(torch.from_numpy(x)).numpy()
    assert np.trapezoid(y, x) == pytest.approx(1, abs=1e-3)
    assert y.max() == pytest.approx(PEAKS[CASES.index(spike)]) == y[len(y) // 2]


def test_forward_is_the_step_and_fires_at_equality(spike):
    x = torch.tensor([-math.inf, -1.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, math.inf])
    assert spike(x).tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept(spike, dtype):
    x = torch.randn(64, dtype=dtype, requires_grad=True)
    spikes = spike(x)
    spikes.sum().backward()
    assert (spikes.dtype, x.grad.dtype) == (dtype, dtype)


def test_backward_multiplies_by_the_derivative(spike, points):
    x, weight = points.clone().requires_grad_(), torch.randn_like(points)
    (spike(x) * weight).sum().backward()
    torch.testing.assert_close(x.grad, spike.derivative(points) * weight, rtol=0, atol=0)


def test_steep_slopes_stay_finite():
    x = torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4])
    for sharp in (ATan(1e3), Sigmoid(1e3), Triangle(1e-3), Rectangle(1e-3)):
        assert sharp.derivative(x).isfinite().all()
        assert sharp.primitive(x).isfinite().all()


def test_copies_are_equal(spike):
    assert copy.deepcopy(spike) == spike == pickle.loads(pickle.dumps(spike))


def test_json():
    assert make_surrogate("sigmoid") == Sigmoid(4.0)
    assert make_surrogate({"name": "triangle", "gamma": 0.5}) == Triangle(0.5)
    specification = {"name": "rectangle", "width": 2}
    assert make_surrogate(specification) == Rectangle(2)
    assert specification == {"name": "rectangle", "width": 2}  # left as it was


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        (
            "atn",
            r"Unknown surrogate 'atn'\. Did you mean 'atan'\? Accepted: atan, gaussian, rectangle, sigmoid, triangle\.",
        ),
        ("ATan", r"Did you mean 'atan'"),
        ({"alpha": 2.0}, r"'name' is missing in surrogate"),
        (None, r"'name' is missing in surrogate"),
        ({"name": "atan", "alfa": 2.0}, r"Unknown atan argument 'alfa'\. Did you mean 'alpha'\?"),
        ({"name": "triangle", "alpha": 2.0}, r"'alpha'.* Accepted: gamma\."),
        ({"name": "atan", "alpha": 0}, r"alpha .*positive.* found 0"),
        ({"name": "sigmoid", "alpha": -4.0}, r"alpha .*positive.* found -4\.0"),
        ({"name": "triangle", "gamma": 0.0}, r"gamma .*positive.* found 0\.0"),
        ({"name": "rectangle", "width": math.nan}, r"width .*positive.* found nan"),
        ({"name": "rectangle", "width": "1"}, r"width .*positive.* found '1'"),
    ],
)
def test_what_is_not_accepted(specification, message):
    with pytest.raises(ValueError, match=message):
        make_surrogate(specification)
