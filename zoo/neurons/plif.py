"""The leaky integrate-and-fire neuron with a learned time constant."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .base import Neuron


class PLIF(Neuron):
    r"""LIF whose leak is learned, one number per layer: 1/tau = sigmoid(w), w_0 = -ln(tau - 1).

        H_t = V_{t-1} + (X_t - (V_{t-1} - v_rest)) sigmoid(w)      decay_input=True
        H_t = V_{t-1} - (V_{t-1} - v_rest) sigmoid(w) + X_t        decay_input=False

    Firing, reset and the other arguments: `Neuron`. Source: Fang et al. 2021, arXiv:2007.05785.

    Args:
        tau: Initial membrane time constant, in steps, > 1.
        decay_input: Whether the input too is divided by tau.
        **neuron: Arguments of `Neuron`.

    Raises:
        ValueError: If tau <= 1, which no w can represent.
    """

    def __init__(self, tau: float = 2.0, decay_input: bool = True, **neuron: Any) -> None:
        super().__init__(**neuron)
        if tau <= 1:
            raise ValueError(f"tau is a time constant in steps; a learned one must start above 1, found {tau}.")
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1)))
        self.decay_input = decay_input

    def charge(self, v: Tensor, x: Tensor) -> Tensor:
        """See the class."""
        rate = self.w.sigmoid().to(x.dtype)
        leak = (v - (self.v_reset or 0.0)) * rate
        return v - leak + (x * rate if self.decay_input else x)

    def extra_repr(self) -> str:
        """The numbers that define the neuron, in `print(model)`."""
        return f"tau={1 / self.w.sigmoid().item():.3g}, decay_input={self.decay_input}, {super().extra_repr()}"
