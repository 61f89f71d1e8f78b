"""The leaky integrate-and-fire neuron with a learned time constant."""

import math
from typing import Any

import torch
from torch import nn

from .base import Dynamics, LeakyNeuron


class PLIF(LeakyNeuron):
    r"""LIF whose leak is learned, one number per layer: 1/tau = sigmoid(w), w_0 = -ln(tau - 1).

        H_t = V_{t-1} + (X_t - (V_{t-1} - v_rest)) sigmoid(w)      decay_input=True
        H_t = V_{t-1} - (V_{t-1} - v_rest) sigmoid(w) + X_t        decay_input=False

    Firing, reset and the other arguments: `LeakyNeuron`. Source: Fang et al. 2021, arXiv:2007.05785.

    Args:
        tau: Initial membrane time constant, in steps, > 1.
        decay_input: Whether the input too is divided by tau.
        **neuron: Arguments of `Neuron`.

    Raises:
        ValueError: If tau <= 1, which no w can represent.
    """

    spec_name = "plif"

    def __init__(self, tau: float = 2.0, decay_input: bool = True, **neuron: Any) -> None:
        super().__init__(**neuron)
        if tau <= 1:
            raise ValueError(f"tau: expected a learned time constant in steps that starts above 1, found {tau}.")
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1)))
        self.decay_input = decay_input

    def dynamics(self) -> Dynamics:
        """See the class."""
        rate = self.w.sigmoid()
        rest = self.v_reset or 0.0
        return Dynamics(1 - rate, rate if self.decay_input else 1.0, rest * rate if rest else 0.0, self.v_threshold)

    def extra_repr(self) -> str:
        """The numbers that define the neuron, in `print(model)`."""
        return f"tau={1 / self.w.sigmoid().item():.3g}, decay_input={self.decay_input}, {super().extra_repr()}"
