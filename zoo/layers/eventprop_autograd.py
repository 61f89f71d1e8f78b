"""The autograd functions of EventProp: over the grid, the equations forward and their adjoints back.

Equations, sources and shapes: `zoo.layers.eventprop`, whose layers call these functions.
"""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from .eventprop import EventPropLIF, TimeConstants


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
    def forward(ctx: Any, current: Tensor, moment: Tensor, recurrent: Tensor | None, layer: "EventPropLIF") -> Tensor:
        """Spikes [T, N, H] of the current X [T, N, H]; in training they are counted, and their low slopes."""
        fired, currents = torch.empty_like(current, dtype=torch.bool), torch.empty_like(current)
        v, i = torch.zeros_like(current[0]), torch.zeros_like(current[0])
        a, b, charge = layer.times.a, layer.times.b, layer.times.charge
        for x_n, fired_n, i_n in zip(current.unbind(0), fired.unbind(0), currents.unbind(0), strict=True):
            v.mul_(a).add_(i, alpha=charge)
            torch.mul(i, b, out=i_n)
            torch.ge(v, layer.v_threshold, out=fired_n)
            v.masked_fill_(fired_n, 0)
            torch.add(i_n, x_n, out=i)
            if layer.recurrent is not None:
                i += layer.recurrent(fired_n.to(i.dtype))  # through the module, so that its operations are counted
        slopes = currents[fired] - layer.v_threshold  # kept for the spikes only
        if layer.training:
            layer.slopes += torch.stack([fired.sum(), (slopes < layer.min_slope).sum()])
        ctx.save_for_backward(fired, slopes, recurrent)
        ctx.layer = layer
        return fired.to(current.dtype)

    @staticmethod
    @plain_backward
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """-tau_syn lambda_I and E, [T, N, H] each, and the gradient of the recurrent weights."""
        fired, slopes, recurrent = ctx.saved_tensors
        layer, times = ctx.layer, ctx.layer.times
        slopes = slopes.clamp_min(layer.min_slope)
        inverse = torch.zeros_like(grad)
        inverse[fired] = 1 / slopes
        if layer.spike_count is not None:  # a jump of its own; times the slope, since the loop divides by it
            push = torch.zeros_like(grad)
            push[fired] = layer.spike_count.push(fired).to(grad.dtype).expand_as(fired)[fired] * slopes
            grad = grad - push
        if layer.phantom:
            inverse[-1][~fired[-1]] = 1  # lambda_V is still 0 there, so the jump is the gradient itself
        of_current, e = torch.empty_like(grad), torch.empty_like(grad)
        v, i = torch.zeros_like(grad[0]), torch.zeros_like(grad[0])  # lambda_V, lambda_I
        for n in range(len(grad) - 1, -1, -1):
            i = torch.mul(i, times.b, out=of_current[n]).add_(v, alpha=times.adjoint)
            v.mul_(times.a)
            torch.sub(v, i, out=e[n])
            error = grad[n] if recurrent is None else torch.addmm(grad[n], e[n], recurrent)
            v.addcmul_(inverse[n], torch.add(error, v, alpha=layer.v_threshold))
        of_current.mul_(-times.tau_syn)
        of_recurrent = None
        if recurrent is not None:
            of_recurrent = of_current.flatten(0, 1).T @ fired.flatten(0, 1).to(grad.dtype)
        return of_current, e, of_recurrent, None


class Integrate(torch.autograd.Function):
    """See `EventPropLI`."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, moment: Tensor, times: "TimeConstants") -> Tensor:
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
