r"""Surrogate gradients: a spike going forward, a smooth slope going back.

Forward is the Heaviside step `S = 1[x >= 0]` of the distance to the threshold, x = H - v_threshold. Backward pretends
that the step was a smooth `primitive(x)`; `derivative(x)` is its exact derivative, which the tests check by autograd.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import by_name, check_arguments


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, surrogate: "Surrogate") -> Tensor:
        ctx.save_for_backward(x)
        ctx.surrogate = surrogate
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * ctx.surrogate.derivative(x), None


class Surrogate(ABC):
    """A spike function: Heaviside forward, `derivative` backward.

    Raises:
        ValueError: If its number is not positive.
    """

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (isinstance(value, int | float) and value > 0):
                raise ValueError(f"{name} of {type(self).__name__}: expected a positive number, found {value!r}.")

    @abstractmethod
    def primitive(self, x: Tensor) -> Tensor:
        """The smooth function, from 0 at -inf to 1 at +inf, whose slope replaces that of the step."""

    @abstractmethod
    def derivative(self, x: Tensor) -> Tensor:
        """The derivative of `primitive`."""

    def __call__(self, x: Tensor) -> Tensor:
        """Spikes in {0, 1} of x = H - v_threshold; a spike at equality."""
        return _Spike.apply(x, self)


@dataclass(frozen=True)
class ATan(Surrogate):
    r"""primitive 1/2 + atan(pi/2 alpha x) / pi; derivative (alpha/2) / (1 + (pi/2 alpha x)^2).

    Peak alpha/2: 1 at the default alpha = 2. Source: Fang et al. 2021, arXiv:2007.05785.
    """

    alpha: float = 2.0

    def primitive(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.atan(math.pi / 2 * self.alpha * x) / math.pi + 0.5

    def derivative(self, x: Tensor) -> Tensor:
        """See the class."""
        return (math.pi / 2 * self.alpha * x).square_().add_(1).reciprocal_().mul_(self.alpha / 2)  # one buffer


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    r"""primitive sigma(alpha x); derivative alpha sigma(alpha x) (1 - sigma(alpha x)).

    Peak alpha/4: 1 at the default alpha = 4. Source: the default of the Spikformer family of students.
    """

    alpha: float = 4.0

    def primitive(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.sigmoid(self.alpha * x)

    def derivative(self, x: Tensor) -> Tensor:
        """See the class."""
        sigma = torch.sigmoid(self.alpha * x)
        return self.alpha * sigma * (1 - sigma)


@dataclass(frozen=True)
class Triangle(Surrogate):
    r"""primitive 1/2 + x/gamma - x|x| / (2 gamma^2) for |x| <= gamma; derivative max(0, gamma - |x|) / gamma^2.

    Peak 1/gamma. Source: Deng et al. 2022 (TET), arXiv:2202.11946.
    """

    gamma: float = 1.0

    def primitive(self, x: Tensor) -> Tensor:
        """See the class."""
        y = x.clamp(-self.gamma, self.gamma) / self.gamma
        return 0.5 + y - y * y.abs() / 2

    def derivative(self, x: Tensor) -> Tensor:
        """See the class."""
        return (self.gamma - x.abs()).clamp_min(0) / self.gamma**2


@dataclass(frozen=True)
class Rectangle(Surrogate):
    r"""primitive clamp(x / width + 1/2, 0, 1); derivative 1[|x| < width/2] / width.

    Source: Wu et al. 2018 (STBP), arXiv:1706.02609.
    """

    width: float = 1.0

    def primitive(self, x: Tensor) -> Tensor:
        """See the class."""
        return (x / self.width + 0.5).clamp(0, 1)

    def derivative(self, x: Tensor) -> Tensor:
        """See the class."""
        return (x.abs() < self.width / 2).to(x.dtype) / self.width


@dataclass(frozen=True)
class Gaussian(Surrogate):
    r"""primitive Phi(x / sigma), the normal distribution; derivative exp(-x^2 / (2 sigma^2)) / (sigma sqrt(2 pi)).

    Peak 0.40/sigma. Source: Yin et al. 2021, arXiv:2103.12593 (sigma = 0.5).
    """

    sigma: float = 0.5

    def primitive(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.special.ndtr(x / self.sigma)

    def derivative(self, x: Tensor) -> Tensor:
        """See the class."""
        return torch.exp(-0.5 * (x / self.sigma).square()) / (self.sigma * math.sqrt(2 * math.pi))


SURROGATES: dict[str, type[Surrogate]] = {
    "atan": ATan,
    "sigmoid": Sigmoid,
    "triangle": Triangle,
    "rectangle": Rectangle,
    "gaussian": Gaussian,
}


def make_surrogate(spec: str | Mapping[str, Any]) -> Surrogate:
    """Build a surrogate from JSON: a name, or {"name": ..., numbers}.

    Raises:
        ValueError: If the name is missing, or it or an argument is not accepted.

    Example:
        >>> make_surrogate({"name": "atan", "alpha": 4.0})
        ATan(alpha=4.0)
    """
    name, arguments = by_name("surrogate", spec, SURROGATES)
    check_arguments(name, SURROGATES[name], arguments)
    return SURROGATES[name](**arguments)
