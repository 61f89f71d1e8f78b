"""The autograd functions of EventProp: over the grid, the equations forward and their adjoints back.

Equations, sources and shapes: `zoo.layers.eventprop`, whose layers call these functions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class TimeConstants:
    """The exact solution over one step, forward and adjoint.

        V <- a V + charge I                        I <- b I
        lambda_I <- b lambda_I + adjoint lambda_V  lambda_V <- a lambda_V

    with a = exp(-dt/tau_mem), b = exp(-dt/tau_syn), charge = tau_syn (a - b) / (tau_mem - tau_syn) and
    adjoint = tau_mem (a - b) / (tau_mem - tau_syn). Any two positive time constants are accepted, equal ones too.

    Args:
        tau_mem: Time constant of the membrane, ms.
        tau_syn: Time constant of the synaptic current, ms.
        dt: Length of a step, ms.

    Raises:
        ValueError: If one of them is not a positive, finite number.

    Example:
        >>> round(TimeConstants(tau_mem=20.0, tau_syn=5.0, dt=1.0).charge, 4)
        0.0442
    """

    tau_mem: float = 20.0
    tau_syn: float = 5.0
    dt: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"{name} of an EventProp layer: expected a positive time in ms, found {value!r}.")

    @property
    def a(self) -> float:
        """Decay of the voltage in one step."""
        return math.exp(-self.dt / self.tau_mem)

    @property
    def b(self) -> float:
        """Decay of the current in one step."""
        return math.exp(-self.dt / self.tau_syn)

    @property
    def charge(self) -> float:
        """What a current of 1 adds to the voltage in one step."""
        return self.dt / self.tau_mem * self._ramp

    @property
    def adjoint(self) -> float:
        """What lambda_V = 1 adds to lambda_I in one step."""
        return self.dt / self.tau_syn * self._ramp

    @property
    def _ramp(self) -> float:
        """(a - b) / (dt/tau_syn - dt/tau_mem), without cancellation when the time constants are close or equal."""
        gap = abs(self.dt / self.tau_syn - self.dt / self.tau_mem)
        return math.exp(-self.dt / max(self.tau_mem, self.tau_syn)) * (-math.expm1(-gap) / gap if gap else 1.0)

    @property
    def peak(self) -> float:
        """The highest voltage after one input spike of weight 1: r^(r / (1 - r)) with r = tau_mem / tau_syn."""
        r = self.tau_mem / self.tau_syn
        return math.exp(-1) if abs(r - 1) < 1e-6 else r ** (r / (1 - r))


@dataclass(frozen=True)
class SpikeCount:
    """Regulariser of the spike count of every neuron and trial, in the backward pass.

    At every spike of j, `lambda_V,j -= c (N_j - target) / N`, with N_j the spikes of j in the trial, N the batch size
    and c = `above` where N_j > target, else `below`. It is a heuristic: counts are piecewise constant, so they have no
    gradient. A neuron without a spike gets nothing: see the callback `ReviveSilent`.

    Args:
        target: Spikes per neuron and trial.
        above: Strength where there are more.
        below: Strength where there are fewer.

    Raises:
        ValueError: If a number is negative, or both strengths are 0, which would do nothing.
    """

    target: float = 14.0
    above: float = 0.0
    below: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 0:
                raise ValueError(f"{name} of spike_count: expected a number >= 0, found {value!r}.")
        if not (self.above or self.below):
            raise ValueError(
                f"spike_count with target {self.target:g} needs a strength: above, below or both > 0; without one it "
                "does nothing. Give one, or leave spike_count out."
            )

    def push(self, fired: Tensor) -> Tensor:
        """What a spike takes off lambda_V, [N, H], given all of them [T, N, H]."""
        excess = fired.sum(0) - self.target
        return torch.where(excess > 0, self.above, self.below) * excess / fired.shape[1]


@dataclass(frozen=True)
class Firing:
    """Settings of `Fire`, with the names of the arguments of `EventPropLIF`."""

    times: TimeConstants
    v_threshold: float
    min_slope: float
    spike_count: SpikeCount | None
    phantom: bool


def plain_backward(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Run a backward pass without autocast, also where it is called inside: bf16 would round lambda. Once, no graph."""

    @wraps(backward)
    def plain(ctx: Any, *grads: Tensor) -> Any:
        with torch.autocast(grads[0].device.type, enabled=False):
            return backward(ctx, *grads)

    return once_differentiable(plain)


class Arrive(torch.autograd.Function):
    """See `Synapses`; the gradients of the two outputs are -tau_syn lambda_I and E."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, delay: Tensor | None, dt: float, max_delay: float
    ) -> tuple[Tensor, Tensor]:
        """X [T, N, H], and 0 of that shape."""
        ctx.size = round(max_delay / dt) + 1
        ctx.max_delay = max_delay
        lag = None if delay is None else (delay * max_delay / dt).round().clamp(0, ctx.size - 1).long()[..., None]
        ctx.save_for_backward(x.bool(), weight, lag)
        current = x @ weight.T if lag is None else delayed(x, spread(weight, lag, ctx.size))
        return current, x.new_zeros(()).expand_as(current)

    @staticmethod
    @plain_backward
    def backward(ctx: Any, by_value: Tensor, by_time: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and delay, of -tau_syn lambda_I (`by_value`) and E (`by_time`)."""
        fired, weight, lag = ctx.saved_tensors
        x = fired.to(weight.dtype)
        of_x = of_delay = None
        if lag is None:
            of_weight = by_value.flatten(0, 1).T @ x.flatten(0, 1)
        else:
            of_weight = correlate(x, by_value, ctx.size).gather(2, lag)[..., 0]
        if ctx.needs_input_grad[0]:
            of_x = by_time @ weight if lag is None else undelayed(by_time, spread(weight, lag, ctx.size))
        if ctx.needs_input_grad[2]:
            of_delay = weight * correlate(x, by_time, ctx.size).gather(2, lag)[..., 0] * ctx.max_delay
        return of_x, of_weight, of_delay, None, None


def spread(weight: Tensor, lag: Tensor, size: int) -> Tensor:
    """Weights [H, F] as a convolution kernel [H, F, size] with one entry a synapse, at its delay in steps [H, F, 1]."""
    return weight.new_zeros(*weight.shape, size).scatter_(2, size - 1 - lag, weight[..., None])


def delayed(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve x [T, N, F] causally with a kernel [H, F, size] over time: [T, N, H]."""
    past = nn.functional.pad(x.permute(1, 2, 0), (kernel.shape[2] - 1, 0))  # [N, F, size - 1 + T]
    return nn.functional.conv1d(past, kernel).permute(2, 0, 1)


def undelayed(y: Tensor, kernel: Tensor) -> Tensor:
    """The transpose of `delayed`: y [T, N, H] to [T, N, F]."""
    return nn.functional.conv_transpose1d(y.permute(1, 2, 0), kernel)[..., kernel.shape[2] - 1 :].permute(2, 0, 1)


def correlate(x: Tensor, y: Tensor, size: int) -> Tensor:
    """`sum_n y_j[n + d] x_i[n]` for the delays d = 0..size-1, summed over the batch: [H, F, size]."""
    each = [y[d:].flatten(0, 1).T @ x[: max(len(x) - d, 0)].flatten(0, 1) for d in range(size)]
    return torch.stack(each, -1)


class Fire(torch.autograd.Function):
    """See `EventPropLIF`; the gradient of the spikes is dL/dt in the slots where a spike is."""

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        moment: Tensor,
        weight: Tensor | None,
        recurrent: Callable[[Tensor], Tensor] | None,
        firing: Firing,
    ) -> tuple[Tensor, Tensor]:
        """Spikes [T, N, H] of the current X [T, N, H], and how many spikes and slopes below `min_slope` there are [2].

        `recurrent` is the module of the recurrent weights, called so that its operations are counted; the gradient goes
        to its `weight`.
        """
        fired, currents = torch.empty_like(current, dtype=torch.bool), torch.empty_like(current)
        v, i = torch.zeros_like(current[0]), torch.zeros_like(current[0])
        a, b, charge = firing.times.a, firing.times.b, firing.times.charge
        for x_n, fired_n, i_n in zip(current.unbind(0), fired.unbind(0), currents.unbind(0), strict=True):
            v.mul_(a).add_(i, alpha=charge)
            torch.mul(i, b, out=i_n)
            torch.ge(v, firing.v_threshold, out=fired_n)
            v.masked_fill_(fired_n, 0)
            torch.add(i_n, x_n, out=i)
            if recurrent is not None:
                i += recurrent(fired_n.to(i.dtype))
        slopes = currents[fired] - firing.v_threshold  # kept for the spikes only
        counts = torch.stack([fired.sum(), (slopes < firing.min_slope).sum()])
        ctx.save_for_backward(fired, slopes, weight)
        ctx.mark_non_differentiable(counts)
        ctx.firing = firing
        return fired.to(current.dtype), counts

    @staticmethod
    @plain_backward
    def backward(ctx: Any, grad: Tensor, of_counts: Tensor) -> tuple[Tensor | None, ...]:
        """-tau_syn lambda_I and E, [T, N, H] each, and the gradient of the recurrent weights."""
        fired, slopes, weight = ctx.saved_tensors
        firing, times = ctx.firing, ctx.firing.times
        slopes = slopes.clamp_min(firing.min_slope)
        inverse = torch.zeros_like(grad)
        inverse[fired] = 1 / slopes
        if firing.spike_count is not None:  # a jump of its own; times the slope, since the loop divides by it
            push = torch.zeros_like(grad)
            push[fired] = firing.spike_count.push(fired).to(grad.dtype).expand_as(fired)[fired] * slopes
            grad = grad - push
        if firing.phantom:
            inverse[-1][~fired[-1]] = 1  # lambda_V is still 0 there, so the jump is the gradient itself
        of_current, e = torch.empty_like(grad), torch.empty_like(grad)
        v, i = torch.zeros_like(grad[0]), torch.zeros_like(grad[0])  # lambda_V, lambda_I
        for n in range(len(grad) - 1, -1, -1):
            i = torch.mul(i, times.b, out=of_current[n]).add_(v, alpha=times.adjoint)
            v.mul_(times.a)
            torch.sub(v, i, out=e[n])
            error = grad[n] if weight is None else torch.addmm(grad[n], e[n], weight)
            v.addcmul_(inverse[n], torch.add(error, v, alpha=firing.v_threshold))
        of_current.mul_(-times.tau_syn)
        of_recurrent = None
        if weight is not None:
            of_recurrent = of_current.flatten(0, 1).T @ fired.flatten(0, 1).to(grad.dtype)
        return of_current, e, of_recurrent, None, None


class Integrate(torch.autograd.Function):
    """See `EventPropLI`."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, moment: Tensor, times: TimeConstants) -> Tensor:
        """Voltages [T, N, H] of the current X [T, N, H]."""
        ctx.times = times
        voltages = torch.empty_like(current)
        v, i = torch.zeros_like(current[0]), torch.zeros_like(current[0])
        for x_n, v_n in zip(current.unbind(0), voltages.unbind(0), strict=True):
            v = torch.mul(v, times.a, out=v_n).add_(i, alpha=times.charge)
            i = torch.add(x_n, i, alpha=times.b)
        return voltages

    @staticmethod
    @plain_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """-tau_syn lambda_I and E, [T, N, H] each."""
        times = ctx.times
        of_current, e = torch.empty_like(grad), torch.empty_like(grad)
        v, i = torch.zeros_like(grad[0]), torch.zeros_like(grad[0])  # lambda_V, lambda_I
        for n in range(len(grad) - 1, -1, -1):
            i = torch.mul(i, times.b, out=of_current[n]).add_(v, alpha=times.adjoint)
            v.mul_(times.a)
            torch.sub(v, i, out=e[n])
            v.sub_(grad[n], alpha=1 / times.tau_mem)
        e.sub_(grad, alpha=0.5 / times.tau_mem)
        return of_current.mul_(-times.tau_syn), e, None


class FirstSpike(torch.autograd.Function):
    """See `first_spike_logits`."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, dt: float) -> Tensor:
        """Logits [T, N, K] of spikes [T, N, K]."""
        waiting = spikes.cumsum(0) == 0  # [T, N, K]
        ctx.save_for_backward(waiting)
        return waiting.to(spikes.dtype).mul_(-len(spikes) * dt)

    @staticmethod
    @plain_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """dL/dt [T, N, K], in the slot of the first spike or, without one, in the last."""
        (waiting,) = ctx.saved_tensors
        first = waiting.sum(0, keepdim=True).clamp_max(len(waiting) - 1)  # [1, N, K]: the last slot without a spike
        return torch.zeros_like(grad).scatter_(0, first, -grad.sum(0, keepdim=True)), None
