"""The learning-rate schedule of every recipe."""

import math


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """Factor on the base learning rate: a linear rise over `warmup` steps, then half a cosine to zero at `total`.

        (step + 1) / (warmup + 1)                                          step < warmup
        1/2 (1 + cos(pi (step - warmup) / (total - warmup)))               otherwise

    Example:
        >>> [round(warmup_cosine(step, 1, 5), 3) for step in range(5)]
        [0.5, 1.0, 0.854, 0.5, 0.146]
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))
