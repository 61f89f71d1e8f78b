"""Oracles that several neurons are held against: plain loops over the equations, differentiated by autograd."""

import pytest
import torch


class Step(torch.autograd.Function):
    """1[x >= 0], with a slope of the caller's."""

    @staticmethod
    def forward(ctx, x, slope):
        ctx.save_for_backward(x)
        ctx.slope = slope
        return (x >= 0).to(x)

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.slope(*ctx.saved_tensors), None


@pytest.fixture(scope="session")
def step():
    """The step function `step(x, slope)`."""
    return Step.apply


@pytest.fixture(scope="session")
def adaptive_reference(step):
    """Spikes [T, N, F] by the equations of AdLIF and RadLIF, with the slope of their default: a box of width 1."""

    def reference(x, alpha, beta, a, b, recurrent=None, threshold=0.3):
        u = w = s = torch.zeros_like(x[0])
        spikes = []
        for current in x:
            if recurrent is not None:
                current = current + s @ recurrent.T
            w = beta * w + a * u + b * s
            u = alpha * (u - threshold * s) + (1 - alpha) * (current - w)
            s = step(u - threshold, lambda x: x.abs() < 0.5)
            spikes.append(s)
        return torch.stack(spikes)

    return reference
