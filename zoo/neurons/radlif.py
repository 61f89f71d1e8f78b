"""The recurrent adaptive leaky integrate-and-fire neuron (RadLIF)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .adlif import AdLIF
from .base import State
from .functional import adaptive_step, start
from .recurrent_lif import Recurrent
from .units import check_units


class RadLIF(AdLIF):
    r"""AdLIF with lateral recurrent connections: `AdLIF` of X'_t = X_t + V S_{t-1}, S_0 = 0, as `RecurrentLIF`.

    Args:
        num_features: Units: F of x [T, N, F], or channels C of x [T, N, C, H, W]; needed, `make_neuron` gives it.
        self_connections: Whether a unit connects to itself.
        v_threshold: See `AdLIF`.
        detach_reset: See `AdLIF`.
        surrogate: See `Neuron`.

    Raises:
        ValueError: If an argument is out of range, or x has other units.

    Source:
        Bittar and Garner 2022, Frontiers in Neuroscience 16:865897.
    """

    spec_name = "radlif"

    def __init__(
        self,
        num_features: int | None = None,
        self_connections: bool = False,
        v_threshold: float = 1.0,
        detach_reset: bool = False,
        surrogate: str | Mapping[str, Any] = "rectangle",
    ) -> None:
        super().__init__(num_features, v_threshold, detach_reset, surrogate)
        self.recurrent = Recurrent(self.num_features, self_connections)

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """See `Stateful`; the state is U, W and S."""
        check_units(x, self.num_features)
        state = state or (start(x, None, 0.0),) * 3
        matrix, numbers, out = self.recurrent.matrix(), self.numbers(x), []
        for current in x.unbind(0):
            current = current.to(state[0].dtype) + self.recurrent.current(state[2], matrix)
            settings = (self.v_threshold, self.detach_reset, self.surrogate)
            spike, state = adaptive_step(current, state, *numbers, *settings)
            out.append(spike)
        return torch.stack(out).to(x.dtype), state
