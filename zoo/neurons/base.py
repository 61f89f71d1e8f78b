"""The contract of a spiking neuron, and its one loop over time."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .surrogate import make_surrogate


class Neuron(nn.Module, ABC):
    r"""Maps an input current X [T, N, ...] to spikes S [T, N, ...] in {0, 1}.

    Each step t charges, fires and resets, in this order:

        H_t = charge(V_{t-1}, X_t)
        S_t = 1[H_t >= v_threshold]
        V_t = H_t (1 - S_t) + v_reset S_t      hard reset (v_reset is a number)
        V_t = H_t - v_threshold S_t            soft reset (v_reset is None)

    with V_0 = v_reset (0 for a soft reset). The potential lives inside `forward`: it starts at V_0 in every call, is
    never in the `state_dict`, and there is nothing to reset between batches.

    Args:
        v_threshold: Potential at which the neuron fires; it fires at equality.
        v_reset: Potential after a spike, or None to subtract the threshold.
        detach_reset: Whether the gradient ignores the S in the reset (Zenke and Vogels 2021).
        surrogate: Name of the surrogate gradient, or {"name": ..., numbers}; see `surrogate.py`.

    Raises:
        ValueError: If the surrogate is unknown, or a hard reset does not lie below the threshold.
    """

    def __init__(
        self,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = True,
        surrogate: str | Mapping[str, Any] = "atan",
    ) -> None:
        super().__init__()
        if v_threshold <= (v_reset or 0.0):
            raise ValueError(f"v_threshold must lie above the reset potential {v_reset or 0.0}, found {v_threshold}.")
        self.v_threshold = v_threshold
        self.v_reset = v_reset
        self.detach_reset = detach_reset
        self.surrogate = make_surrogate(surrogate)

    @abstractmethod
    def charge(self, v: Tensor, x: Tensor) -> Tensor:
        """The potential H before firing, from the potential v and the current x of one step, both [N, ...]."""

    def forward(self, x: Tensor) -> Tensor:
        """Spikes [T, N, ...] of the current x [T, N, ...]."""
        v = torch.full_like(x[0], self.v_reset or 0.0)
        spikes = []
        for current in x.unbind(0):
            h = self.charge(v, current)
            spike = self.surrogate(h - self.v_threshold)
            spikes.append(spike)
            v = self.reset(h, spike.detach() if self.detach_reset else spike)
        return torch.stack(spikes)

    def reset(self, h: Tensor, spike: Tensor) -> Tensor:
        """The potential V after firing, from the potential H before it, both [N, ...]."""
        if self.v_reset is None:
            return h - self.v_threshold * spike
        if self.detach_reset:  # the same values and gradient as below, in one pass over memory
            return h.masked_fill(spike.bool(), self.v_reset)
        return h * (1 - spike) + self.v_reset * spike

    def extra_repr(self) -> str:
        """The numbers that define the neuron, in `print(model)`."""
        return (
            f"v_threshold={self.v_threshold}, v_reset={self.v_reset}, detach_reset={self.detach_reset}, "
            f"surrogate={self.surrogate}"
        )
