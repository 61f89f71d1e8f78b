r"""EventProp: the exact gradient of a loss with respect to spike times, without a surrogate.

A leaky neuron with an exponential synaptic current (times in ms, threshold theta, reset to 0):

    tau_mem dV/dt = -V + I      tau_syn dI/dt = -I      spike of n at V = theta: V_n <- 0, I_m <- I_m + w_mn for all m

Backward in time run the adjoint variables lambda_V, lambda_I, both 0 at the end T; with ' = d/d(-t) and a loss of the
spike times (dL/dt_k) and of the voltages (l_V):

    tau_mem lambda_V' = -lambda_V - dl_V/dV        tau_syn lambda_I' = -lambda_I + lambda_V
    at a spike of n:  lambda_V,n <- lambda_V,n + [theta lambda_V,n + sum_m w_mn E_m + dL/dt_k] / (I_n - theta)

and E = lambda_V - lambda_I: `sum_m w_mn E_m(t)` is dL/dt of a spike of n that arrives at t. The gradients are

    dL/dw_mn = -tau_syn sum lambda_I,m(t_k + d_mn)        dL/dd_mn = w_mn sum E_m(t_k + d_mn)

summed over the spikes k of n, for a synapse with delay d. So **the gradient of a spike tensor is dL/dt of its spikes**,
in the slots where a spike is; nothing else crosses layers. It is no derivative with respect to the value 1 of a spike:
these layers take binary input and cannot be mixed with surrogate gradients. The gradient leaves out spikes that appear
or disappear.

Time runs on a grid of dt; between grid points the solution is exact, spikes fall on grid points. The gradient is that
of the continuous equations evaluated there: exact as dt -> 0, and at dt = 1 ms a modelling choice, not a theorem.

Source: Wunderlich and Pehle 2021 (Scientific Reports 11:12829); delays: Meszaros, Knight and Nowotny 2025 (Nature
Communications 16); spike counts and loss shaping: Nowotny, Turner and Knight 2025. Written from the equations.

Shapes: spikes [T, N, F], currents and voltages [T, N, H].
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import check_arguments
from ..neurons import Neuron
from ..neurons.base import State
from .eventprop_autograd import Arrive, Fire, Firing, FirstSpike, Integrate, SpikeCount, TimeConstants


class Synapses(nn.Linear):
    r"""Weights and delays: binary spikes [T, N, F] to the two faces of the current they cause, [T, N, H] each.

        X_j[n] = sum_i w_ji S_i[n - d_ji / dt]

    The first is X, whose gradient must be `-tau_syn lambda_I`: it reaches the weights. The second is 0 everywhere; its
    gradient must be `E = lambda_V - lambda_I`: it reaches the times of the spikes, and the delays.

    Args:
        in_features: Presynaptic neurons F.
        out_features: Postsynaptic neurons H.
        dt: Length of a step, ms.
        max_delay: Longest delay, ms; 0 for no delays. They start uniform in [0, max_delay].
        learn_delays: Whether delays are trained. They are stored as `delay`, a share of max_delay [H, F], rounded to
            the grid and clamped to [0, max_delay] in the forward pass.

    Raises:
        ValueError: If max_delay is negative.
    """

    delay: Tensor | None

    def __init__(
        self, in_features: int, out_features: int, dt: float, max_delay: float = 0.0, learn_delays: bool = True
    ) -> None:
        super().__init__(in_features, out_features, bias=False)
        if not 0 <= max_delay < math.inf:
            raise ValueError(f"max_delay is a time in ms and must be >= 0, found {max_delay!r}.")
        self.dt = dt
        self.max_delay = max_delay
        self.bounds: dict[str, tuple[float, float]] = {}
        if max_delay and learn_delays:
            self.delay = nn.Parameter(torch.rand(out_features, in_features))
            self.bounds = {"delay": (0.0, 1.0)}
        else:
            self.register_buffer("delay", torch.rand(out_features, in_features) if max_delay else None)

    def forward(self, x: Tensor) -> Any:  # not the one tensor of a Linear: two faces of one current
        """X and 0, see the class."""
        if x.ndim == 2:  # [1, F]: `zoo.energy` counts the products that a spike causes, whenever it arrives
            return nn.functional.linear(x, self.weight)
        return Arrive.apply(x.to(self.weight.dtype), self.weight, self.delay, self.dt, self.max_delay)

    def extra_repr(self) -> str:
        """The numbers that define the layer, in `print(model)`."""
        return f"{super().extra_repr()}, max_delay={self.max_delay}"


class EventPropLIF(Neuron):
    r"""A layer of spiking neurons with its synapses: spikes [T, N, F] to spikes [T, N, H]. Equations: the module.

    Step n, with X from `Synapses` and R the recurrent weights (a spike arrives in the step it is fired in):

        V <- a V + charge I        I <- b I        S[n] = 1[V >= v_threshold]        V <- V (1 - S)
        I <- I + X[n] + R S[n]

    Backward, E and the arrivals are read after the step's decay and before the neuron's own jump. A slope I - theta
    below `min_slope` (a spike that grazes the threshold, or whose current has passed its peak on the grid) is raised to
    it; `slopes` counts spikes and raised slopes in training, and the callback `EventPropMonitor` logs their ratio.

    Args:
        in_features: Presynaptic neurons F.
        out_features: Neurons H.
        times: Time constants and step.
        v_threshold: Threshold theta.
        recurrent: Whether the neurons are connected to each other, and each to itself.
        max_delay: Longest delay of the input synapses, ms; see `Synapses`. Recurrent synapses have none.
        learn_delays: Whether they are trained.
        spike_count: Regulariser of the spike counts, in JSON: arguments of `SpikeCount`.
        phantom: Whether a gradient in the last slot of a neuron that did not fire there is taken for lambda_V: the
            phantom spike of `first_spike_logits`.
        min_slope: Least slope I - theta (tau_mem dV/dt at a spike) that the backward pass divides by. The coarser the
            grid, the more spikes graze by its fault: 0.01 is for steps of a hundredth of the time constants, 0.1 for a
            tenth.

    Raises:
        ValueError: If a number is out of range, the input has other features or is not binary, or its gradient is not
            that of spike times.
    """

    needs_whole_sequence: ClassVar[bool] = True  # the gradient runs from the end of a trial back to its start
    slopes: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        times: TimeConstants,
        v_threshold: float = 1.0,
        recurrent: bool = False,
        max_delay: float = 0.0,
        learn_delays: bool = True,
        spike_count: Mapping[str, float] | None = None,
        phantom: bool = False,
        min_slope: float = 0.01,
    ) -> None:
        super().__init__(v_threshold=v_threshold)  # its surrogate is not used
        if not min_slope > 0:
            raise ValueError(f"min_slope of an EventProp layer: expected a number > 0, found {min_slope!r}.")
        check_arguments("spike_count", SpikeCount, spike_count or {})
        self.times = times
        self.synapses = Synapses(in_features, out_features, times.dt, max_delay, learn_delays)
        self.recurrent = nn.Linear(out_features, out_features, bias=False) if recurrent else None
        self.spike_count = None if spike_count is None else SpikeCount(**spike_count)
        self.phantom = phantom
        self.min_slope = min_slope
        self.register_buffer("slopes", torch.zeros(2), persistent=False)
        self.init_weights()

    def init_weights(self, mean: float | None = None, std: float | None = None) -> None:
        """Normal input weights; by default some of the F inputs together reach the threshold."""
        unit = self.v_threshold / self.times.peak / math.sqrt(self.synapses.in_features)
        nn.init.normal_(self.synapses.weight, 0.5 * unit if mean is None else mean, 0.25 * unit if std is None else std)
        if self.recurrent is not None:
            nn.init.normal_(self.recurrent.weight, 0.0, 0.3 * self.v_threshold / math.sqrt(self.recurrent.in_features))

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """Spikes [T, N, H] of the spikes x [T, N, F] of a whole trial; there is no state to go on from."""
        check_spikes(x, self.synapses.in_features)
        with torch.autocast(x.device.type, enabled=False):
            current, moment = self.synapses(x)
            weight = None if self.recurrent is None else self.recurrent.weight
            firing = Firing(self.times, self.v_threshold, self.min_slope, self.spike_count, self.phantom)
            spikes, counts = Fire.apply(current, moment, weight, self.recurrent, firing)
        if self.training:
            self.slopes += counts
        return spikes, ()

    def extra_repr(self) -> str:
        """The numbers that define the neuron, in `print(model)`."""
        return f"{self.times}, v_threshold={self.v_threshold}, spike_count={self.spike_count}, phantom={self.phantom}"


class EventPropLI(nn.Module):
    r"""The readout: a layer that integrates and never fires, spikes [T, N, F] to voltages [T, N, H].

        V[n] <- a V + charge I        I <- b I + X[n]

    Backward, `lambda_V -= gV[n] / tau_mem` after the arrivals of step n are read, with gV the gradient of V. E is read
    midway in that jump, since a spike in step n meets V[n] if it comes earlier and misses it if it comes later. Either
    side alone is off by half the jump, in every step with the same sign; where the loss is an integral over a long
    trial, E itself is nearly 0, and the neurons below would learn from that alone.

    Args:
        in_features: Presynaptic neurons F.
        out_features: Readouts H.
        times: Time constants and step.
        max_delay: See `Synapses`.
        learn_delays: See `Synapses`.

    Raises:
        ValueError: As `EventPropLIF`.
    """

    needs_whole_sequence: ClassVar[bool] = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        times: TimeConstants,
        max_delay: float = 0.0,
        learn_delays: bool = True,
    ) -> None:
        super().__init__()
        self.times = times
        self.synapses = Synapses(in_features, out_features, times.dt, max_delay, learn_delays)
        self.init_weights()

    def init_weights(self, mean: float | None = None, std: float | None = None) -> None:
        """Normal weights, by default N(0, 1 / F)."""
        default = 1 / math.sqrt(self.synapses.in_features)
        nn.init.normal_(self.synapses.weight, mean or 0.0, default if std is None else std)

    def forward(self, x: Tensor) -> Tensor:
        """Voltages [T, N, H] of spikes x [T, N, F]."""
        check_spikes(x, self.synapses.in_features)
        with torch.autocast(x.device.type, enabled=False):
            return Integrate.apply(*self.synapses(x), self.times)

    def extra_repr(self) -> str:
        """The numbers that define the layer, in `print(model)`."""
        return f"{self.times}"


def first_spike_logits(spikes: Tensor, dt: float) -> Tensor:
    r"""Logits [T, N, K] whose mean over time is minus the time of the first spike, in ms, of spikes [T, N, K].

        z[n] = -T dt 1[no spike in steps 0..n]        mean_n z[n] = -t_first        t_first = T dt without a spike

    So the class that fires first wins, at any step. Backward, -sum_n of the gradient of z[n] is taken for dL/dt: exact
    for losses of the time mean. It goes to the slot of the first spike; for a neuron without one to the last slot,
    where a layer with `phantom` takes it for lambda_V at the end of the trial, and any other layer ignores it.

    Raises:
        ValueError: If spikes are not binary, or their gradient is not that of spike times.

    Example:
        >>> spikes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])[:, None]
        >>> first_spike_logits(spikes, dt=0.5).mean(0)
        tensor([[-0.5000, -2.0000]])
    """
    check_spikes(spikes)
    return FirstSpike.apply(spikes, dt)


def check_spikes(x: Tensor, in_features: int | None = None) -> None:
    """Refuse what EventProp has no gradient for, and a layer no weights.

    Raises:
        ValueError: If x is not [T, N, F] with the F of a layer, holds anything but 0 and 1, or carries a gradient that
            is not one of spike times.
    """
    if x.ndim != 3 or in_features not in (None, x.shape[2]):
        expected = "" if in_features is None else f" with F = {in_features}"
        raise ValueError(f"x of an EventProp layer: expected spikes [T, N, F]{expected}, found shape {tuple(x.shape)}.")
    exact = x.grad_fn is None or isinstance(x.grad_fn, Fire._backward_cls)
    if x.requires_grad and not exact:
        raise ValueError(
            f"x of an EventProp layer comes from {type(x.grad_fn).__name__}, whose gradient is that of values, not of "
            "spike times. EventProp layers cannot be mixed with surrogate gradients, nor scaled or dropped in between."
        )
    if not ((x == 0) | (x == 1)).all():
        raise ValueError(
            f"x of an EventProp layer: expected binary spikes, 0 or 1, found values from {x.min().item():.3g} to "
            f"{x.max().item():.3g}. Encode the data as spike trains."
        )


def eventprop_layers(model: nn.Module) -> list[str]:
    """The name of every EventProp layer."""
    return [name for name, module in model.named_modules() if isinstance(module, EventPropLIF | EventPropLI)]


def check_not_mixed(model: nn.Module) -> None:
    """Refuse a network that has EventProp layers and neurons with a surrogate gradient.

    Raises:
        ValueError: If it has both, naming one of each.
    """
    exact = eventprop_layers(model)
    neurons = {name: module for name, module in model.named_modules() if isinstance(module, Neuron)}
    surrogate = [name for name in neurons if name not in exact]
    if exact and surrogate:
        raise ValueError(
            f"{exact[0]} is an EventProp layer and {surrogate[0]} ({type(neurons[surrogate[0]]).__name__}) has a "
            "surrogate gradient. The two cannot be mixed: one gives gradients of spike times, the other of values."
        )
