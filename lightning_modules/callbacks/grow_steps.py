"""Few time steps first: most epochs of a still-image student need not be trained at its final T."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from lightning import Callback, Trainer

from zoo.model import SpikingModel

from ..module import ClassifierModule
from ..schedule import epochs_of


class GrowSteps(Callback):
    """Trains a student of still images at few time steps T first, and at its own `num_steps` in the last epochs.

    An epoch costs about as much as it has steps, and weights that were learned at T = 1 are a good start at T = 2.
    With steps `[1, 2]` and epochs `[6, 6]` a student of `num_steps: 4` is trained at T = 1 in epochs 0 to 5, at T = 2
    in epochs 6 to 11, and at T = 4 from epoch 12 on. Optimiser and learning rate schedule go on through the changes.
    T is changed around training batches only: validation, checkpoints and tests always use the final T. The epoch
    alone decides, so a resumed run goes on where it stopped. Logs `train/num_steps`. For `trainer.callbacks`.

    Args:
        steps: T of each phase, ascending and below the `num_steps` of the student.
        epochs: Epochs of each phase.

    Raises:
        ValueError: If the lists have different lengths, or a value is out of range; before training, if the model
            has no time steps of its own, or no epoch is left for its `num_steps`.

    Example:
        >>> grow = GrowSteps(steps=[1, 2], epochs=[2, 3])
        >>> [grow.num_steps(epoch, final=4) for epoch in range(7)]
        [1, 1, 2, 2, 2, 4, 4]
    """

    def __init__(self, steps: Sequence[int], epochs: Sequence[int]) -> None:
        if len(steps) != len(epochs) or not steps:
            raise ValueError(
                "GrowSteps: expected one number of epochs for each of the steps, "
                f"found steps {list(steps)} and epochs {list(epochs)}."
            )
        if steps[0] < 1 or any(later <= earlier for earlier, later in pairwise(steps)):
            raise ValueError(f"steps of GrowSteps: expected ascending integers >= 1, found {list(steps)}.")
        if min(epochs) < 1:
            raise ValueError(f"epochs of GrowSteps: expected integers >= 1, found {list(epochs)}.")
        self.steps, self.epochs = tuple(steps), tuple(epochs)
        self.final: int | None = None  # num_steps of the model, during a fit

    def num_steps(self, epoch: int, final: int) -> int:
        """T of an epoch (the first is 0) of a student whose own T is `final`."""
        phases = zip(self.steps, accumulate(self.epochs), strict=True)
        return next((steps for steps, end in phases if epoch < end), final)

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Refuse what cannot grow."""
        check_growth(self, trainer, pl_module)
        if trainer.datamodule is not None:  # type: ignore[attr-defined]  # else the first batch tells
            sample, _ = trainer.datamodule.train_dataloader().dataset[0]  # type: ignore[attr-defined]
            refuse_sequences(len(sample))
        self.final = pl_module.model.num_steps

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Log T: here, because an epoch that is resumed in its middle has no start."""
        assert self.final is not None
        pl_module.log("train/num_steps", float(self.num_steps(trainer.current_epoch, self.final)))

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Set T for this batch.

        Raises:
            ValueError: If the batch is not of still images; their T is that of the data.
        """
        refuse_sequences(len(pl_module.as_batch(batch)[0]))
        assert self.final is not None
        pl_module.model.num_steps = self.num_steps(trainer.current_epoch, self.final)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Set the final T again: Lightning saves and validates after this."""
        self.restore(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Set the final T again, also when a batch was interrupted."""
        self.restore(pl_module)

    def restore(self, pl_module: Any) -> None:
        """Set the final T, if a fit has begun."""
        if self.final is not None:
            pl_module.model.num_steps = self.final


def refuse_sequences(frames: int) -> None:
    """Refuse data whose T is not ours to choose.

    Raises:
        ValueError: If a sample has several frames.
    """
    if frames > 1:
        raise ValueError(
            f"GrowSteps: expected still images (T = 1), found sequences of {frames} frames, each of which is a time "
            "step. Leave GrowSteps out."
        )


def check_growth(grow: GrowSteps, trainer: Trainer, module: ClassifierModule) -> None:
    """Refuse a fit in which T cannot grow, before training.

    Raises:
        ValueError: If the model has no steps of its own, they are too few, or no epoch is left for them.
    """
    model = module.model
    if not isinstance(model, SpikingModel) or not model.kind.still:
        raise ValueError(
            f"GrowSteps: expected a spiking student of still images, found {type(model).__name__}, "
            "whose number of time steps cannot be set. Leave GrowSteps out."
        )
    if grow.steps[-1] >= model.num_steps:
        raise ValueError(
            f"steps of GrowSteps: expected numbers below num_steps = {model.num_steps} of the student, "
            f"found {list(grow.steps)}. Leave out the last ones, or raise num_steps."
        )
    if module.rule.least_steps > grow.steps[0]:
        raise ValueError(
            f"GrowSteps: expected k of sltt <= {grow.steps[0]}, the first of the steps, found "
            f"k = {module.rule.least_steps}. Leave k out, or begin at more steps."
        )
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    total = epochs_of(trainer)
    if sum(grow.epochs) >= total:
        raise ValueError(
            f"epochs of GrowSteps: expected a sum below {total}, the epochs of the training, so that epochs are left "
            f"for num_steps = {model.num_steps}, found {list(grow.epochs)}."
        )
