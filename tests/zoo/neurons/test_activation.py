import numpy as np
import pytest
import torch

import zoo
from zoo.neurons import ACTIVATIONS, IF, QCFS, Neuron, ReLU, has_activations, make_neuron


def staircase(x, levels, step):
    """QCFS of one number, from its definition."""
    return step * np.clip(np.floor(x * levels / step + 0.5) / levels, 0, 1)


@pytest.mark.parametrize(("levels", "step"), [(1, 1.0), (4, 2.0), (8, 0.3)])
def test_qcfs_by_its_definition(levels, step):
    x = torch.linspace(-1, 3, 1001, dtype=torch.float64)
    found = QCFS(levels, step).double()(x[None]).squeeze()
    expected = [staircase(number, levels, step) for number in x.tolist()]
    # A number within rounding of an edge of the staircase may fall to either side of it.
    edge = np.abs((x.numpy() * levels / step + 0.5) % 1 - 0.5) > 0.499
    np.testing.assert_allclose(found.detach().numpy()[~edge], np.array(expected)[~edge], atol=1e-6)


def test_the_gradient_of_qcfs_is_that_of_the_clip():
    """d a / d x = 1 inside the clip and 0 outside; d a / d step = (a - x) / step inside, 1 above, 0 below."""
    x = torch.tensor([[-0.5, 0.3, 0.9, 1.7, 5.0]], dtype=torch.float64, requires_grad=True)
    unit = QCFS(levels=4, step=2.0).double()
    unit(x).sum().backward()
    assert x.grad.tolist() == [[0, 1, 1, 1, 0]]
    inside = [(staircase(number, 4, 2.0) - number) / 2 for number in (0.3, 0.9, 1.7)]
    assert unit.step.grad.item() == pytest.approx(sum(inside) + 1.0)


@pytest.mark.parametrize("levels", [1, 4, 8])
def test_qcfs_is_the_rate_of_a_half_charged_neuron(levels):
    """Over T = L steps of a constant current, counted by a loop over one neuron."""
    step = 1.5
    for current in np.linspace(-1, 2.5, 61):
        v, spikes = step / 2, 0
        for _ in range(levels):
            v += current
            if v >= step - 1e-12:
                v, spikes = v - step, spikes + 1
        expected = QCFS(levels, step).double()(torch.tensor([[current]], dtype=torch.float64)).item()
        if abs((current * levels / step + 0.5) % 1) > 1e-6:
            assert step * spikes / levels == pytest.approx(expected, abs=1e-6)


def test_a_step_that_an_optimiser_led_below_its_bound_comes_back():
    unit = QCFS(step=1.0)
    with torch.no_grad():
        unit.step.fill_(-0.5)
    out = unit(torch.full((1, 3), 0.7))
    assert out.isfinite().all()
    (-out.sum()).backward()
    assert unit.step.grad < 0  # a descent raises it


def test_relu():
    x = torch.randn(2, 3, 4)
    assert torch.equal(ReLU()(x), x.clamp(min=0))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_remembers_nothing_and_is_no_neuron(name):
    unit, x = make_neuron(name, num_features=4), torch.randn(5, 2, 4)
    assert not isinstance(unit, Neuron)
    torch.testing.assert_close(unit(x), torch.cat([unit(step[None]) for step in x]))


def test_twins_are_told_from_students():
    assert has_activations(zoo.create_model("spiking_vgg_tiny", neuron="relu"))
    assert not has_activations(zoo.create_model("spiking_vgg_tiny"))
    assert not has_activations(IF())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "qcfs", "levels": 0}, "levels of qcfs: expected an integer >= 1, found 0"),
        ({"name": "qcfs", "levels": 2.0}, "levels of qcfs: expected an integer >= 1, found 2.0"),
        ({"name": "qcfs", "step": 0.0}, "step of qcfs: expected a number >= 0.001, found 0.0"),
        ({"name": "relu", "tau": 2.0}, "Unknown relu argument 'tau'"),
        ("qcf", "Unknown neuron 'qcf'. Did you mean 'qcfs'"),
    ],
)
def test_bad_input(spec, words):
    with pytest.raises(ValueError, match=words):
        make_neuron(spec)
