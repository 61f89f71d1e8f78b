"""Splits that are the same in every run, whatever its seed, so that runs share their validation and test data."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def check_fraction(name: str, value: float) -> None:
    """Raise a ValueError unless 0 < value < 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name}: expected between 0 and 1 (both excluded), found {value}.")


def stratified_split(labels: ArrayLike, fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the samples to keep and of those to hold out, both sorted.

    Sorts the samples by class, shuffles inside each class (with a fixed seed) and holds out every (1 / fraction)-th.
    So round(fraction * n) samples are held out, and each class gives its share to within one sample.

    Args:
        labels: Class of each of the n samples.
        fraction: Part to hold out, 0..1.

    Raises:
        ValueError: If nothing would be held out, or nothing kept.
    """
    labels = np.asarray(labels)
    n, count = len(labels), round(fraction * len(labels))
    if not 0 < count < n:
        raise ValueError(f"Holding out {fraction} of {n} samples is {count}: one of the two parts would be empty.")
    order = np.lexsort((np.random.default_rng(0).random(n), labels))
    held_out = np.sort(order[((np.arange(count) + 0.5) * n / count).astype(int)])
    return np.setdiff1d(np.arange(n), held_out), held_out
