"""Random numbers from torch's CPU generator."""

from collections.abc import Sequence

import torch


def uniform(low: float, high: float) -> float:
    """Uniform in [low, high)."""
    return low + (high - low) * float(torch.rand((), dtype=torch.float64))


def random_int(low: int, high: int) -> int:
    """One of low, ..., high."""
    return int(torch.randint(low, high + 1, ()))


def bernoulli(chance: float) -> bool:
    """True with the given chance."""
    return uniform(0, 1) < chance


def choice(values: Sequence[float]) -> float:
    """One of the values."""
    return values[random_int(0, len(values) - 1)]
