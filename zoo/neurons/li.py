"""The leaky readout."""

from typing import ClassVar

from torch import Tensor

from .adlif import ALPHA
from .base import State, Stateful
from .functional import leaky
from .units import check_num_features, check_units, clamped, per_unit, uniform_parameter


class LI(Stateful):
    r"""A leaky integrator that never fires: potentials [T, N, F] of currents [T, N, F], for the end of a network.

        V_t = alpha V_{t-1} + (1 - alpha) X_t,   V_0 = 0

    with a learned alpha per unit that starts uniformly in [exp(-1/5), exp(-1/25)] and is held there, as in `AdLIF`. It
    is no `Neuron`: its output is analog, it has no firing rate, and a layer that reads it does multiplications. It
    gives potentials, not scores: a softmax of them, and its sum over time, are the business of the student's readout
    (`forward_head`, as in `DelayMLP`).

    Args:
        num_features: Units F, the classes of a readout.

    Raises:
        ValueError: If num_features is out of range, or x has other units.

    Example:
        >>> import torch
        >>> LI(num_features=2)(torch.ones(400, 1, 2))[-1].round(decimals=3).tolist()  # the mean of a still current
        [[1.0, 1.0]]

    Source:
        Bittar and Garner 2022, Frontiers in Neuroscience 16:865897, whose class scores are sum_t softmax(V_t).
    """

    bounds: ClassVar = {"alpha": ALPHA}

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = check_num_features(num_features)
        self.alpha = uniform_parameter(num_features, ALPHA)

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """See `Stateful`; the state is V."""
        check_units(x, self.num_features)
        alpha = per_unit(clamped(self.alpha, ALPHA), x)
        out, v = leaky(x, state[0] if state else None, decay=alpha, gain=1 - alpha, final=final)
        return out, (v,)

    def extra_repr(self) -> str:
        """In `print(model)`."""
        return f"num_features={self.num_features}"
