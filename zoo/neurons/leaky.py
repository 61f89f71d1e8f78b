"""The leaky integrate-and-fire neuron with a learned threshold and a learned leak (DIET-SNN)."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .base import Dynamics, LeakyNeuron, State

MIN_THRESHOLD = 0.01
logger = logging.getLogger(__name__)


class Leaky(LeakyNeuron):
    r"""Leaky integration of the whole input; threshold and leak are learned, one number each per layer.

        H_t = leak V_{t-1} + X_t,   V_0 = 0
        Z_t = H_t / v_threshold - 1
        S_t = 1[Z_t >= 0],   dS/dZ = surrogate_scale * surrogate'(Z_t) = 0.3 max(0, 1 - |Z_t|)
        V_t = H_t - v_threshold S_t

    The reset is soft; its v_threshold is differentiated, its S_t is not. It is computed in units of the threshold, from
    V / v_threshold and X / v_threshold, which changes no value but by rounding, and no gradient. With T = 1 the leak
    has no effect, and a network of these neurons is one with binary activations.

    A call first brings the parameters back into their bounds, leak <= 1 and v_threshold >= 0.01, where an optimiser
    left them. That is the clamp after the optimiser's step of the source, in a place that no training loop can forget.
    It is logged, the first time in every layer. It costs one look at two numbers per call (a synchronisation on a GPU),
    and none for frozen parameters.

    Args:
        leak: Initial factor on the potential of the step before, in (0, 1].
        v_threshold: Initial threshold, >= 0.01; see also `zoo.thresholds.calibrate_thresholds`.
        surrogate: See `Neuron`; a function of Z, so that its width grows with the threshold.
        surrogate_scale: Factor on its slope, > 0.

    Raises:
        ValueError: If a number is out of range, or the surrogate is unknown.

    Example:
        >>> import torch
        >>> Leaky(leak=0.5)(torch.tensor([[0.75], [0.75], [0.75]])).flatten().tolist()  # H = 0.75, 1.125, 0.8125
        [0.0, 1.0, 0.0]

    Source:
        Rathi and Roy, DIET-SNN, arXiv:2008.03658; Chowdhury, Rathi and Roy, ECCV 2022, arXiv:2110.05929. The released
        code fires above the threshold; here, as in every neuron, equality fires. It has no lower bound of the
        threshold, below 0 of which a neuron would fire at negative potentials.
    """

    spec_name = "leaky"

    def __init__(
        self,
        leak: float = 1.0,
        v_threshold: float = 1.0,
        surrogate: str | Mapping[str, Any] = "triangle",
        surrogate_scale: float = 0.3,
    ) -> None:
        super().__init__(v_threshold, v_reset=None, detach_reset=True, surrogate=surrogate)
        if not 0 < leak <= 1:
            raise ValueError(f"leak: expected a factor per step in (0, 1], found {leak}.")
        if v_threshold < MIN_THRESHOLD:
            raise ValueError(f"v_threshold: expected a learned start >= {MIN_THRESHOLD}, found {v_threshold}.")
        if not surrogate_scale > 0:
            raise ValueError(f"surrogate_scale: expected a number > 0, found {surrogate_scale}.")
        self.leak = nn.Parameter(torch.tensor(float(leak)))
        self.v_threshold = nn.Parameter(torch.tensor(float(v_threshold)))  # type: ignore[assignment]
        self.surrogate_scale = surrogate_scale
        self.bounds = {"leak": (-math.inf, 1.0), "v_threshold": (MIN_THRESHOLD, math.inf)}
        self.logged = False  # whether a clamp was logged

    def dynamics(self) -> Dynamics:
        """In units of the threshold; see the class."""
        return Dynamics(self.leak, 1 / self.v_threshold, 0.0, 1.0)

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """See `Stateful`; the state is V / v_threshold."""
        self.clamp_parameters()
        spikes, state = super().steps(x, state, final)
        if spikes.requires_grad:  # the reset is detached, so all of a slope's gradient arrives here
            spikes.register_hook(lambda grad: grad * self.surrogate_scale)
        return spikes, state

    @torch.no_grad()
    def clamp_parameters(self) -> None:
        """Bring leak and v_threshold back into their bounds, and say so once."""
        for name, (low, high) in self.bounds.items():
            value = getattr(self, name)
            if torch.compiler.is_compiling():  # which cannot look at a value: always written, never logged
                value.clamp_(low, high)
                continue
            # Only a value out of bounds is written: writing spoils a graph that still waits for its backward pass, and
            # out of bounds it can only be after a step of the optimiser, when no graph waits.
            if value.requires_grad and not low <= value <= high:
                if not self.logged:
                    logger.info("A learned %s of %.6g was clamped to [%g, %g].", name, value, low, high)
                    self.logged = True
                value.clamp_(low, high)

    def extra_repr(self) -> str:
        """The numbers that define the neuron, in `print(model)`."""
        v_threshold: Any = self.v_threshold
        return (
            f"leak={self.leak.item():.3g}, v_threshold={v_threshold.item():.3g}, surrogate={self.surrogate}, "
            f"surrogate_scale={self.surrogate_scale}"
        )
