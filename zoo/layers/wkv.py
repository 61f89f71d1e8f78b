"""The attention of RWKV-4 without a matrix: a weighted mean of the past whose weights decay, in linear time."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..neurons.base import State

STEEPEST = -1e4  # of the decays that `running_max` needs to know exactly: beyond it, only the newest key counts


def wkv(k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    r"""The weighted mean of all values up to now, channel by channel.

                 sum_{i<t} exp(k_i + (t-1-i) decay) v_i + exp(k_t + bonus) v_t
        out_t = ---------------------------------------------------------------
                 sum_{i<t} exp(k_i + (t-1-i) decay)     + exp(k_t + bonus)

    Both sums are carried from step to step in units of exp(m_t), m_t the largest exponent of them so far, so that no
    exponential is above 1 and the denominator not below 1: no key overflows. m is a unit, not a variable, and needs no
    gradient. Computed in float32 at least.

    Args:
        k: Keys [T, N, d].
        v: Values [T, N, d].
        decay: What a step takes off an exponent, [d], < 0.
        bonus: What the present has on top, [d].
        state: The two sums and m before the first step, [N, d] each; None for no past.

    Returns:
        The means [T, N, d] in the dtype of v, and the state after step T.

    Source:
        Peng et al. 2023, RWKV, arXiv:2305.13048, equation 16 and appendix D.

    Example:
        >>> k, v = torch.zeros(3, 1, 1), torch.tensor([[[3.0]], [[1.0]], [[2.0]]])
        >>> wkv(k, v, torch.tensor([-1e-9]), torch.zeros(1))[0].flatten().tolist()  # the plain mean so far
        [3.0, 2.0, 2.0]
    """
    dtype = torch.promote_types(v.dtype, torch.float32)
    keys, values, w, u = (z.to(dtype) for z in (k, v, decay, bonus))
    if state is None:
        nothing = torch.zeros_like(keys[0])
        state = (nothing, nothing, torch.full_like(nothing, -torch.inf))
    top = running_max(keys, w, state[2])  # [T+1, N, d]
    gain = (keys - top[1:]).exp()
    keep = (top[:-1] + w - top[1:]).exp()
    start = torch.stack(state[:2])  # [2, N, d]
    sums = linear_scan(keep[:, None], torch.stack([gain * values, gain], 1), start)  # [T, 2, N, d]
    past = torch.cat([start[None], sums[:-1]])
    now = u + keys
    unit = torch.maximum(top[:-1], now.detach())
    old, new = (top[:-1] - unit).exp(), (now - unit).exp()
    out = (old * past[:, 0] + new * values) / (old * past[:, 1] + new)
    return out.to(v.dtype), (*sums[-1].unbind(0), top[-1])


@torch.no_grad()
def running_max(k: Tensor, decay: Tensor, start: Tensor) -> Tensor:
    """m_t = max(m_{t-1} + decay, k_t): [T+1, N, d] of k [T, N, d], beginning with m_0 = start [N, d].

    By the running maximum of k_i - i decay, at once; what that rounds, `wkv` does not see: it is used as a unit only.
    """
    fall = torch.arange(len(k) + 1, device=k.device)[:, None, None] * decay.clamp_min(STEEPEST)  # [T+1, 1, d]
    return (torch.cat([start[None], k]) - fall).cummax(0).values + fall


def linear_scan(a: Tensor, x: Tensor, start: Tensor) -> Tensor:
    """y_t = a_t y_{t-1} + x_t, with y_0 = start: [T, ...] of x [T, ...] and an a that broadcasts to it.

    In 2 sqrt(T) operations, forward and backward (which is the same scan, in reverse): all pieces of sqrt(T) steps side
    by side, then one piece after another. First derivatives only.

    Example:
        >>> ones = torch.ones(3, 1)
        >>> linear_scan(0.5 * ones, ones, torch.zeros(1)).flatten().tolist()
        [1.0, 1.5, 1.75]
    """
    return _LinearScan.apply(a, x, start)


def scan(a: Tensor, x: Tensor, before: Tensor) -> Tensor:
    """`linear_scan` without a gradient."""
    size = math.ceil(math.sqrt(len(x)))
    missing = -len(x) % size
    y, product = (torch.cat([z, z.new_zeros(missing, *z.shape[1:])]).unflatten(0, (-1, size)) for z in (x, a))
    for step in range(1, size):  # of every piece, as if nothing came before it
        y[:, step].addcmul_(product[:, step], y[:, step - 1])
        product[:, step].mul_(product[:, step - 1])
    for piece, factor in zip(y, product, strict=True):  # what came before fades by the product of its steps
        piece.addcmul_(factor, before)
        before = piece[-1]
    return y.flatten(0, 1)[: len(x)]


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, x: Tensor, start: Tensor) -> Tensor:
        y = scan(a, x, start)
        ctx.save_for_backward(a, y, start)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, y, start = ctx.saved_tensors
        later = torch.cat([torch.zeros_like(a[:1]), a[1:].flip(0)])  # dL/dx_t = dL/dy_t + a_{t+1} dL/dx_{t+1}
        total = scan(later, grads[0].flip(0), torch.zeros_like(start)).flip(0)
        before = torch.cat([start[None], y[:-1]])
        return (total * before).sum_to_size(a.shape), total, (a[0] * total[0]).sum_to_size(start.shape)
