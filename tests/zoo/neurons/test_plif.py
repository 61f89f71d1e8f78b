import pytest
import torch

from zoo.neurons import LIF, PLIF


@pytest.mark.parametrize("tau", [1.25, 2.0, 7.0])
def test_starts_as_the_lif_of_its_tau(tau):
    x = torch.randn(9, 40, dtype=torch.float64) + 0.5
    assert torch.equal(PLIF(tau=tau).double()(x), LIF(tau=tau)(x))
    assert 1 / PLIF(tau=tau).w.sigmoid().item() == pytest.approx(tau)


def test_gradient_of_w_by_hand():
    """One step: H = X sigmoid(w), so dL/dw = slope(H - 1) X sigma (1 - sigma)."""
    neuron = PLIF(tau=2.0, surrogate="triangle")
    neuron(torch.tensor([[1.5]])).sum().backward()
    assert neuron.w.grad.item() == pytest.approx((1 - abs(0.75 - 1)) * 1.5 * 0.25)


def test_one_number_a_layer():
    assert [parameter.shape for parameter in PLIF().parameters()] == [torch.Size([])]
