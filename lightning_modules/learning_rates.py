"""Learning rates of single parameters: that of the optimiser times a factor."""

import math
import re
from collections.abc import Mapping

from torch import nn

from zoo.errors import unknown


def parameter_factors(network: nn.Module, patterns: Mapping[str, float]) -> dict[str, float]:
    r"""The factor of every parameter of a network, by name; 1 if it is not listed.

    Args:
        network: Its own `lr_factors`, if it has some, count too.
        patterns: Regular expressions, searched for in the names of parameters, and their factors. Several that match
            the same parameter multiply.

    Raises:
        ValueError: If a factor is not positive and finite, or a pattern is no regular expression or matches nothing.

    Example:
        >>> parameter_factors(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), {r"^1\.": 2.0, "bias$": 3.0})
        {'0.bias': 3.0, '1.weight': 2.0, '1.bias': 6.0}
    """
    names = [name for name, _ in network.named_parameters()]
    factors: dict[str, float] = dict(getattr(network, "lr_factors", dict)())
    for pattern, factor in patterns.items():
        if not 0 < factor < math.inf:
            raise ValueError(f"lr_factors: expected a factor > 0 and finite for {pattern!r}, found {factor}.")
        try:
            matched = [name for name in names if re.search(pattern, name)]
        except re.error as error:
            raise ValueError(f"lr_factors: expected a regular expression, found {pattern!r} ({error}).") from error
        if not matched:
            raise ValueError(
                "lr_factors: expected regular expressions of parameter names. "
                + unknown("parameter", pattern, names, see=f"The first ones are {', '.join(names[:5])}.")
            )
        factors |= {name: factors.get(name, 1.0) * factor for name in matched}
    return {name: factors[name] for name in names if name in factors}
