"""The adaptive leaky integrate-and-fire neuron (adLIF)."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from .base import Neuron, State
from .functional import adaptive
from .units import check_num_features, check_units, clamped, per_unit, uniform_parameter

ALPHA = math.exp(-1 / 5), math.exp(-1 / 25)  # a potential that decays with 5 to 25 steps
BETA = math.exp(-1 / 30), math.exp(-1 / 120)  # an adaptation that decays with 30 to 120 steps
A = -1.0, 1.0
B = 0.0, 2.0


class AdLIF(Neuron):
    r"""Adaptive LIF: its past potentials and spikes inhibit it. Four learned numbers per unit.

        W_t = beta W_{t-1} + a U_{t-1} + b S_{t-1}
        U_t = alpha (U_{t-1} - v_threshold S_{t-1}) + (1 - alpha) (X_t - W_t)
        S_t = 1[U_t >= v_threshold]

    with U_0 = W_0 = S_0 = 0. The reset is soft. The numbers start uniformly within their bounds and are held there:

        alpha in [exp(-1/5), exp(-1/25)], beta in [exp(-1/30), exp(-1/120)], a in [-(1 - beta), 1], b in [0, 2]

    What is used is the parameter or the bound that it has passed; see `units.clamped` for its gradient. The time
    constants suit signals of about a hundred steps. Within T = 4 only a current of 1.8 to 6.8 thresholds makes a unit
    fire (at a = 0): lower v_threshold there.

    Between spikes (U, W) follows a linear recurrence with determinant alpha beta and trace
    alpha + beta - (1 - alpha) a. It is stable if and only if a >= -(1 - beta): below, W excites, and both grow
    exponentially, by up to 1.42 a step, beyond fp32 after 250 steps. The published bound of a is -1, and so is the
    start: about half of the units begin at the bound -(1 - beta).

    Args:
        num_features: Units: F of x [T, N, F], or channels C of x [T, N, C, H, W]; needed, `make_neuron` gives it.
        v_threshold: Potential at which the neuron fires, and that a spike subtracts; > 0.
        detach_reset: Whether the gradient ignores the S of the reset; that of the adaptation always counts.
        surrogate: See `Neuron`.

    Raises:
        ValueError: If an argument is out of range, or x has other units.

    Example:
        >>> import torch
        >>> AdLIF(num_features=3)(torch.rand(10, 2, 3)).shape
        torch.Size([10, 2, 3])

    Source:
        Bittar and Garner 2022, Frontiers in Neuroscience 16:865897; bounds and start as in the released code, which
        draws U_0, W_0 and S_0 at random, also when it tests. Here they are zero.
    """

    spec_name = "adlif"

    bounds: ClassVar = {"alpha": ALPHA, "beta": BETA, "a": A, "b": B}

    def __init__(
        self,
        num_features: int | None = None,
        v_threshold: float = 1.0,
        detach_reset: bool = False,
        surrogate: str | Mapping[str, Any] = "rectangle",
    ) -> None:
        super().__init__(v_threshold, v_reset=None, detach_reset=detach_reset, surrogate=surrogate)
        self.num_features = check_num_features(num_features)
        for name, ends in self.bounds.items():
            self.register_parameter(name, uniform_parameter(self.num_features, ends))

    def numbers(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """alpha, beta, a and b within their bounds, as they meet one step of x."""
        alpha, beta, b = (clamped(getattr(self, name), self.bounds[name]) for name in ("alpha", "beta", "b"))
        a = clamped(self.get_parameter("a"), (beta.detach() - 1, self.bounds["a"][1]))
        return per_unit(alpha, x), per_unit(beta, x), per_unit(a, x), per_unit(b, x)

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """See `Stateful`; the state is U, W and S."""
        check_units(x, self.num_features)
        return adaptive(x, state, *self.numbers(x), self.v_threshold, self.detach_reset, self.surrogate, final)

    def extra_repr(self) -> str:
        """The numbers that define the neuron, in `print(model)`."""
        return (
            f"num_features={self.num_features}, v_threshold={self.v_threshold}, detach_reset={self.detach_reset}, "
            f"surrogate={self.surrogate}"
        )
