"""The leaky integrate-and-fire neuron with a learned decay for every unit."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from .adlif import ALPHA
from .base import Neuron, State
from .functional import leaky
from .units import check_num_features, check_units, clamped, per_unit, uniform_parameter


class UnitLIF(Neuron):
    r"""LIF whose units forget at their own pace: `AdLIF` without adaptation.

        U_t = alpha (U_{t-1} - v_threshold S_{t-1}) + (1 - alpha) X_t
        S_t = 1[U_t >= v_threshold]

    with U_0 = S_0 = 0. The reset is soft. alpha, one a unit, starts uniformly in [exp(-1/5), exp(-1/25)] and is held
    there, as in `AdLIF`.

    Args:
        num_features: Units: F of x [T, N, F], or channels C of x [T, N, C, H, W].
        v_threshold: Potential at which the neuron fires, and that a spike subtracts; > 0.
        detach_reset: Whether the gradient ignores the S of the reset.
        surrogate: See `Neuron`.

    Raises:
        ValueError: If an argument is out of range, or x has other units.

    Example:
        >>> import torch
        >>> neuron = UnitLIF(num_features=1)
        >>> _ = torch.nn.init.constant_(neuron.alpha, 0.875)
        >>> neuron(torch.tensor([[[8.0]], [[0.0]], [[8.0]]])).flatten().tolist()  # U = 1, 0, 1
        [1.0, 0.0, 1.0]

    Source:
        The LIF of Bittar and Garner 2022, Frontiers in Neuroscience 16:865897.
    """

    spec_name = "unit_lif"

    bounds: ClassVar = {"alpha": ALPHA}

    def __init__(
        self,
        num_features: int,
        v_threshold: float = 1.0,
        detach_reset: bool = False,
        surrogate: str | Mapping[str, Any] = "rectangle",
    ) -> None:
        super().__init__(v_threshold, v_reset=None, detach_reset=detach_reset, surrogate=surrogate)
        check_num_features(num_features)
        self.num_features = num_features
        self.alpha = uniform_parameter(num_features, ALPHA)

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """See `Stateful`; the state is the potential after the reset."""
        check_units(x, self.num_features)
        alpha, v = per_unit(clamped(self.alpha, ALPHA), x), state[0] if state else None
        settings = (self.v_threshold, None, self.detach_reset, self.surrogate)
        spikes, v = leaky(x, v, alpha, 1 - alpha, 0.0, *settings, final=final)
        return spikes, (v,)

    def extra_repr(self) -> str:
        """The numbers that define the neuron, in `print(model)`."""
        return (
            f"num_features={self.num_features}, v_threshold={self.v_threshold}, detach_reset={self.detach_reset}, "
            f"surrogate={self.surrogate}"
        )
