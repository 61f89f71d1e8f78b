"""The leaky integrate-and-fire neuron."""

from typing import Any

from .base import Dynamics, LeakyNeuron


class LIF(LeakyNeuron):
    r"""Leaky integrate and fire. Firing, reset and the other arguments: `LeakyNeuron`.

        H_t = V_{t-1} + (X_t - (V_{t-1} - v_rest)) / tau      decay_input=True
        H_t = V_{t-1} - (V_{t-1} - v_rest) / tau + X_t        decay_input=False

    with v_rest = v_reset, or 0 for a soft reset.

    Args:
        tau: Membrane time constant, in steps, >= 1 (1 forgets the past).
        decay_input: Whether the input too is divided by tau.
        **neuron: Arguments of `Neuron`.

    Raises:
        ValueError: If tau < 1.

    Example:
        >>> import torch
        >>> LIF(tau=2.0)(torch.tensor([[1.5], [1.5], [1.5]])).flatten().tolist()
        [0.0, 1.0, 0.0]
    """

    spec_name = "lif"

    def __init__(self, tau: float = 2.0, decay_input: bool = True, **neuron: Any) -> None:
        super().__init__(**neuron)
        if not tau >= 1:
            raise ValueError(f"tau: expected a time constant in steps >= 1, found {tau}.")
        self.tau = tau
        self.decay_input = decay_input

    def dynamics(self) -> Dynamics:
        """See the class."""
        rate = 1 / self.tau
        return Dynamics(1 - rate, rate if self.decay_input else 1.0, (self.v_reset or 0.0) * rate, self.v_threshold)

    def extra_repr(self) -> str:
        """The numbers that define the neuron, in `print(model)`."""
        return f"tau={self.tau}, decay_input={self.decay_input}, {super().extra_repr()}"
