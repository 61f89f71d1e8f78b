"""Learning rate and weight decay of single parameters, and the groups of an optimiser that follow."""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import nn

from zoo.errors import unknown


def parameter_factors(
    network: nn.Module, patterns: Mapping[str, float], own: Mapping[str, float] | None = None
) -> dict[str, float]:
    r"""The factor of every parameter of a network, by name; 1 if it is not listed.

    Args:
        network: Has the parameters.
        patterns: Regular expressions, searched for in the names of parameters, and their factors. Several that match
            the same parameter multiply.
        own: The factors that the network names (`lr_factors`); they multiply too.

    Raises:
        ValueError: If a factor is not positive and finite, or a pattern is no regular expression or matches nothing.

    Example:
        >>> parameter_factors(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), {r"^1\.": 2.0, "bias$": 3.0})
        {'0.bias': 3.0, '1.weight': 2.0, '1.bias': 6.0}
    """
    names = [name for name, _ in network.named_parameters()]
    factors: dict[str, float] = dict(own or {})
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


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], factors: Mapping[str, float], spared: Collection[str]
) -> list[tuple[float, dict[str, Any]]]:
    """Groups of an optimiser, each with the factor of its learning rate: with and without weight decay, by factor.

    Weight decay spares vectors (norms, biases) and the names in `spared`. The first two groups have the factor 1 and
    may be empty; parameters without a gradient are in none.

    Args:
        parameters: Names and parameters.
        factors: By name; 1 if a name is missing.
        spared: Names of matrices and tensors without weight decay.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> groups = parameter_groups(layer.named_parameters(), {"bias": 8.0}, spared=())
        >>> [(factor, len(group["params"]), group.get("weight_decay")) for factor, group in groups]
        [(1.0, 1, None), (1.0, 0, 0.0), (8.0, 1, 0.0)]
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in parameters:
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and name not in spared
            groups.setdefault((factors.get(name, 1.0), decays), []).append(parameter)
    return [
        (factor, {"params": group} | ({} if decays else {"weight_decay": 0.0}))
        for (factor, decays), group in groups.items()
    ]
