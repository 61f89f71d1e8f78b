"""The checkpoint that an interrupted run goes on from."""

import time
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import Checkpoint


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt` at the end of every epoch, whatever its validation gave, and every few minutes within it.

    Within an epoch it writes only after an optimiser step, because a checkpoint holds no accumulated gradients, and not
    between a batch and its validation, because a resumed run would leave that out. It leaves out the last batch of an
    epoch, because the end of the epoch follows.

    Args:
        folder: Where `last.ckpt` goes.
        minutes: Longest time between two checkpoints, in minutes >= 0; 0 writes after every step.

    Raises:
        ValueError: If minutes is negative or not a number.
    """

    def __init__(self, folder: Path, minutes: float = 10.0) -> None:
        if not minutes >= 0:
            raise ValueError(f"save_every_minutes is a time in minutes: expected a number >= 0, found {minutes}.")
        self.path, self.seconds = folder / "last.ckpt", 60 * minutes
        self.saved = 0.0  # when, by the monotonic clock
        self.step = 0  # of the optimiser, at the end of the batch before

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self.saved, self.step = time.monotonic(), trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save if it is time."""
        stepped, self.step = trainer.global_step > self.step, trainer.global_step
        if not stepped or trainer.is_last_batch or validation_follows(trainer, batch_idx):
            return
        # All processes save together, and their clocks differ: the first one decides.
        if trainer.strategy.broadcast(time.monotonic() - self.saved >= self.seconds):
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Save the finished epoch."""
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint beside the one before, then replace that at once; a trial (`fast_dev_run`) writes none.

        Lightning writes to the folder of temporary files and moves the file. Between two file systems a move is a copy,
        and a run that is killed in the middle of it must not lose both.
        """
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        part = self.path.with_suffix(".part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(self.path)
        self.saved = time.monotonic()


def validation_follows(trainer: Trainer, batch_idx: int) -> bool:
    """Whether the trainer validates after a batch of the epoch."""
    every = trainer.val_check_batch  # None if it validates by the clock
    done = trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
    return every is not None and (done + 1) % every == 0
