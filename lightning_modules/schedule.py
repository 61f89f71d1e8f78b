"""The learning-rate schedule of every recipe, and the length of a training in steps and epochs."""

import math

from lightning import Trainer


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


def steps_of(trainer: Trainer) -> int:
    """Optimiser steps of a whole training.

    Raises:
        ValueError: If neither its epochs nor its steps are bounded.
    """
    steps = trainer.estimated_stepping_batches
    if math.isinf(steps) or steps < 0:
        raise ValueError(
            "The length of a training: expected max_epochs or max_steps, because the learning rate follows it, found "
            "neither. Set --trainer.max_epochs; max_time may end the training earlier."
        )
    return int(steps)


def steps_per_epoch(trainer: Trainer) -> int:
    """Optimiser steps of one epoch; loads the data if that was not done before."""
    trainer.fit_loop.setup_data()
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


def epochs_of(trainer: Trainer) -> int:
    """Epochs of a whole training, by max_epochs or max_steps, whichever comes first; the last may be cut short."""
    return math.ceil(steps_of(trainer) / max(1, steps_per_epoch(trainer)))
