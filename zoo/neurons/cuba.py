"""The current-based leaky integrate-and-fire neuron (CuBa LIF)."""

from typing import Any

from torch import Tensor

from .base import Dynamics, LeakyNeuron, State
from .functional import leaky


class CuBa(LeakyNeuron):
    r"""LIF behind an exponential synapse: a current rises with the input and fades, and the potential follows it.

        I_t = (1 - 1/tau_s) I_{t-1} + X_t
        H_t = V_{t-1} + (I_t - (V_{t-1} - v_rest)) / tau_m

    with I_0 = 0 and v_rest = v_reset, or 0 for a soft reset. Firing, reset and the other arguments: `LeakyNeuron`; a
    spike does not reset the current. tau_s = 1 is `LIF(tau=tau_m)`.

    The current comes first and changes the potential in the same step, so an input acts without delay. No I depends on
    a V, hence to filter the whole sequence and then to run LIF on the result is the same computation, number by number.
    (In half precision the filtered current is rounded in between, like any current; I itself is kept in fp32.)

    Args:
        tau_s: Time constant of the synaptic current, in steps, >= 1 (1 forgets the past).
        tau_m: Time constant of the membrane, in steps, >= 1.
        **neuron: Arguments of `Neuron`.

    Raises:
        ValueError: If tau_s or tau_m < 1.

    Example:
        >>> import torch
        >>> CuBa(tau_s=2.0, tau_m=2.0)(torch.tensor([[1.0], [1.0], [0.0]])).flatten().tolist()  # H = 0.5, 1, 0.375
        [0.0, 1.0, 0.0]

    Source:
        The order of updates of snnTorch's `Synaptic` and lava-dl's `cuba`.
    """

    spec_name = "cuba"

    def __init__(self, tau_s: float = 2.0, tau_m: float = 2.0, **neuron: Any) -> None:
        super().__init__(**neuron)
        for name, tau in (("tau_s", tau_s), ("tau_m", tau_m)):
            if not tau >= 1:
                raise ValueError(f"{name}: expected a time constant in steps >= 1, found {tau}.")
        self.tau_s, self.tau_m = tau_s, tau_m

    def dynamics(self) -> Dynamics:
        """Of the membrane."""
        rate = 1 / self.tau_m
        return Dynamics(1 - rate, rate, (self.v_reset or 0.0) * rate, self.v_threshold)

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """See `Stateful`; the state is I and V."""
        current, v = state or (None, None)
        filtered, current = leaky(x, current, decay=1 - 1 / self.tau_s, final=final)
        spikes, (v,) = super().steps(filtered, None if v is None else (v,), final)
        return spikes, (current, v)

    def extra_repr(self) -> str:
        """The numbers that define the neuron, in `print(model)`."""
        return f"tau_s={self.tau_s}, tau_m={self.tau_m}, {super().extra_repr()}"
