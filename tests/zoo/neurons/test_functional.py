"""The stateless forms against loops in numpy; the neurons' own tests hold them against hand-written gradients."""

import numpy as np
import pytest
import torch

from zoo.neurons import ATan
from zoo.neurons.functional import adaptive, leaky


def test_leaky_without_a_threshold_is_a_recursive_filter():
    """V_t = sum_k decay^(t-k) gain X_k + decay^(t+1) V_0."""
    x, v = torch.randn(6, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    out, end = leaky(x, v, decay=0.8, gain=0.5)
    powers = 0.8 ** np.subtract.outer(np.arange(6), np.arange(6)).clip(0) * np.tri(6)
    expected = powers @ (0.5 * x.numpy()) + 0.8 ** np.arange(1, 7)[:, None] * v.numpy()
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    assert torch.equal(end, out[-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adaptive_equals_the_equations(dtype):
    x = 2 * torch.randn(40, 3, 5, dtype=torch.float64)
    alpha, beta, a, b = (torch.rand(5, dtype=torch.float64) for _ in range(4))
    u = w = s = np.zeros((3, 5))
    expected = []
    for current in x.numpy():
        w = beta.numpy() * w + a.numpy() * u + b.numpy() * s
        u = alpha.numpy() * (u - 0.7 * s) + (1 - alpha.numpy()) * (current - w)
        s = (u >= 0.7).astype(float)
        expected.append(s)
    numbers = [n.to(dtype) for n in (alpha, beta, a, b)]
    spikes, state = adaptive(x.to(dtype), None, *numbers, 0.7, True, ATan())
    assert 0.05 < np.mean(expected) < 0.95
    np.testing.assert_array_equal(spikes, np.stack(expected))
    for found, wanted in zip(state, (u, w, s), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4 if dtype == torch.float32 else 1e-12, atol=1e-6)


def test_half_precision_never_holds_a_potential():
    """1 + 2^-10 is no bf16 number; 1,100 currents of 2^-10 reach a threshold of 1 only in fp32."""
    x = torch.full((1100, 1), 2.0**-10, dtype=torch.bfloat16)
    for on_the_device in (x, x.to(torch.float16)):
        spikes, v = leaky(on_the_device, None, surrogate=ATan())
        assert (spikes.dtype, v.dtype) == (on_the_device.dtype, torch.float32)
        assert spikes.nonzero()[:, 0].tolist() == [1023]
