"""The integrate-and-fire neuron whose threshold, start and constant current differ from unit to unit."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .base import Neuron, State
from .functional import leaky
from .integrate_and_fire import check_v_init
from .units import check_num_features, check_units, per_unit


class UnitIF(Neuron):
    r"""Integrate and fire with a soft reset, whose units each have a threshold of their own.

        H_t = V_{t-1} + X_t / threshold + shift
        S_t = 1[H_t >= 1]
        V_t = H_t - S_t

    with V_0 = v_init. Potentials are in units of the threshold. `threshold`, `shift` and `v_init` are buffers [C]: they
    are saved with the weights and not trained. A conversion (`zoo.convert`) sets them where it cannot absorb
    thresholds into weights.

    Args:
        num_features: Units C: F of x [T, N, F], or channels C of x [T, N, C, H, W].
        v_threshold: Threshold that every unit begins with; > 0.
        detach_reset: Whether the gradient ignores the S of the reset.
        surrogate: See `Neuron`; of the distance H_t - 1.
        v_init: V_0 that every unit begins with, in units of the threshold, in [0, 1).

    Raises:
        ValueError: If an argument is out of range, or x has other units.

    Example:
        >>> import torch
        >>> neuron = UnitIF(num_features=2)
        >>> neuron.threshold.copy_(torch.tensor([1.0, 4.0])).tolist()
        [1.0, 4.0]
        >>> neuron(torch.full((4, 1, 2), 2.0)).tolist()
        [[[1.0, 0.0]], [[1.0, 1.0]], [[1.0, 0.0]], [[1.0, 1.0]]]
    """

    spec_name = "unit_if"

    threshold: Tensor
    shift: Tensor
    v_init: Tensor

    def __init__(
        self,
        num_features: int,
        v_threshold: float = 1.0,
        detach_reset: bool = True,
        surrogate: str | Mapping[str, Any] = "atan",
        v_init: float = 0.0,
    ) -> None:
        super().__init__(v_threshold, v_reset=None, detach_reset=detach_reset, surrogate=surrogate)
        check_num_features(num_features)
        check_v_init(v_init)
        self.num_features = num_features
        self.register_buffer("threshold", torch.full((num_features,), float(v_threshold)))
        self.register_buffer("shift", torch.zeros(num_features))
        self.register_buffer("v_init", torch.full((num_features,), float(v_init)))

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """See `Stateful`; the state is the potential after the reset, in units of the threshold."""
        check_units(x, self.num_features)
        threshold, shift, v_init = (per_unit(number, x) for number in (self.threshold, self.shift, self.v_init))
        current = x / threshold + shift  # in fp32 at least
        v = state[0] if state else v_init.expand(current.shape[1:])
        spikes, v = leaky(
            current, v, v_reset=None, detach_reset=self.detach_reset, surrogate=self.surrogate, final=final
        )
        return spikes.to(x.dtype), (v,)

    def extra_repr(self) -> str:
        """The numbers that define the neuron, in `print(model)`."""
        return f"num_features={self.num_features}, detach_reset={self.detach_reset}, surrogate={self.surrogate}"
