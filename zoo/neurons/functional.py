r"""Multi-step neurons as stateless functions: (x [T, ...], state, numbers) -> (spikes [T, ...], state after step T).

`leaky` and `adaptive` choose by themselves between two implementations of equal value: the plain loops below, which are
the definition and the oracle of the tests, and the compiled kernels of `fused.py`. Both compute in fp32 at least,
whatever the dtype of x, so that half precision rounds currents and spikes, never a potential.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import fused
from .surrogate import Surrogate

Number = float | Tensor
"""A number of a neuron: constant, or learned (a tensor of one element, or of the shape of one step)."""


def leaky(
    x: Tensor,
    v: Tensor | None,
    decay: Number = 1.0,
    gain: Number = 1.0,
    shift: Number = 0.0,
    threshold: Number = 1.0,
    v_reset: float | None = 0.0,
    detach_reset: bool = True,
    surrogate: Surrogate | None = None,
    final: bool = True,
    v_start: float | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Neurons with one potential that share their numbers.

        H_t = decay V_{t-1} + gain X_t + shift
        S_t = 1[H_t >= threshold]
        V_t = H_t (1 - S_t) + v_reset S_t     hard reset
        V_t = H_t - threshold S_t             soft reset (v_reset is None)

    Without a surrogate nothing fires: V_t = H_t, and the potentials themselves are returned.

    Args:
        x: Currents [T, ...].
        v: Potential before the first step [...]; None for v_start everywhere.
        decay: Factor of the potential.
        gain: Factor of the current.
        shift: Constant current.
        threshold: Potential at which the neuron fires; it fires at equality.
        v_reset: Potential after a spike, or None to subtract the threshold.
        detach_reset: Whether the gradient ignores the S in the reset.
        surrogate: What replaces the derivative of the step; None for neurons that do not fire.
        final: Whether the potential after step T is wanted; it may be an empty tensor if not.
        v_start: One potential before the first step for all neurons; None for v_reset (0 for a soft reset).

    Returns:
        Spikes (or potentials) [T, ...] in the dtype of x, and the potential after step T [...], in fp32 at least.
    """
    numbers, v_start = (decay, gain, shift, threshold), (v_reset or 0.0) if v_start is None else v_start
    if fused.can_run(x, surrogate) and all(not isinstance(n, Tensor) or n.numel() == 1 for n in numbers):
        return fused.leaky(x, v, numbers, v_reset, detach_reset, surrogate, final, v_start)
    v = start(x, v, v_start)
    out = []
    for current in x.unbind(0):
        spike, v = leaky_step(current, v, *numbers, v_reset, detach_reset, surrogate)
        out.append(spike)
    return torch.stack(out), v


def leaky_step(
    x: Tensor,
    v: Tensor,
    decay: Number,
    gain: Number,
    shift: Number,
    threshold: Number,
    v_reset: float | None,
    detach_reset: bool,
    surrogate: Surrogate | None,
) -> tuple[Tensor, Tensor]:
    """One step of `leaky`: x and v [...] -> spikes in the dtype of x, and the potential after them."""
    h = decay * v + gain * x.to(v.dtype)
    if isinstance(shift, Tensor) or shift:
        h = h + shift
    if surrogate is None:
        return h.to(x.dtype), h
    spike = surrogate(h - threshold)
    return spike.to(x.dtype), reset(h, spike.detach() if detach_reset else spike, threshold, v_reset)


def reset(h: Tensor, spike: Tensor, threshold: Number, v_reset: float | None) -> Tensor:
    """The potential after firing."""
    if v_reset is None:
        return h - threshold * spike
    if not spike.requires_grad:  # the same values and gradient as below, in one pass over memory
        return h.masked_fill(spike.bool(), v_reset)
    return h * (1 - spike) + v_reset * spike


def adaptive(
    x: Tensor,
    state: Sequence[Tensor] | None,
    alpha: Tensor,
    beta: Tensor,
    a: Tensor,
    b: Tensor,
    threshold: float,
    detach_reset: bool,
    surrogate: Surrogate,
    final: bool = True,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    r"""Neurons with a potential U and an adaptation current W.

        W_t = beta W_{t-1} + a U_{t-1} + b S_{t-1}
        U_t = alpha (U_{t-1} - threshold S_{t-1}) + (1 - alpha) (X_t - W_t)
        S_t = 1[U_t >= threshold]

    Args:
        x: Currents [T, ...].
        state: U, W and S before the first step, [...] each; None for zeros.
        alpha: Decay of the potential; this and the next three broadcast over one step.
        beta: Decay of the adaptation.
        a: Adaptation by the potential.
        b: Adaptation by a spike.
        threshold: Potential at which the neuron fires, and that a spike subtracts.
        detach_reset: Whether the gradient ignores the S of the reset; that of the adaptation always counts.
        surrogate: What replaces the derivative of the step.
        final: Whether the state after step T is wanted.

    Returns:
        Spikes [T, ...] in the dtype of x, and (U, W, S) after step T, in fp32 at least.

    Source:
        Bittar and Garner 2022, Frontiers in Neuroscience 16:865897 (adLIF).
    """
    if fused.can_run(x, surrogate):
        return fused.adaptive(x, state, (alpha, beta, a, b), threshold, detach_reset, surrogate, final)
    state = tuple(state) if state is not None else (start(x, None, 0.0),) * 3
    out = []
    for current in x.unbind(0):
        spike, state = adaptive_step(current, state, alpha, beta, a, b, threshold, detach_reset, surrogate)
        out.append(spike)
    return torch.stack(out), state


def adaptive_step(
    x: Tensor,
    state: Sequence[Tensor],
    alpha: Tensor,
    beta: Tensor,
    a: Tensor,
    b: Tensor,
    threshold: float,
    detach_reset: bool,
    surrogate: Surrogate,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """One step of `adaptive`: x [...] and (U, W, S) -> spikes in the dtype of x, and the next (U, W, S)."""
    u, w, spike = state
    w = beta * w + a * u + b * spike
    u = alpha * (u - threshold * (spike.detach() if detach_reset else spike)) + (1 - alpha) * (x.to(u.dtype) - w)
    spike = surrogate(u - threshold)
    return spike.to(x.dtype), (u, w, spike)


def start(x: Tensor, state: Tensor | None, value: float) -> Tensor:
    """The state before the first step, in fp32 at least: as given, or one value everywhere."""
    dtype: Any = torch.promote_types(x.dtype, torch.float32)
    return torch.full_like(x[0], value, dtype=dtype) if state is None else state.to(dtype)
