"""Statistics of batch norms that belong to the final weights."""

from itertools import islice
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.transfer import calibrate


class RecalibrateNorms(Callback):
    r"""Takes the statistics of all batch norms anew before the validations of the last epochs.

    The running statistics of a norm lag behind the weights, and those of `EMA` are of many different weights. Here
    they become the plain mean over training batches b of what the validated weights give, at the final T:

        mean = 1/B sum_b mean_b        var = 1/B sum_b var_b (unbiased)        B = num_batches

    in evaluation mode otherwise: nothing is dropped. With `EMA`, whatever the order of the two in the list, the
    averaged weights get new statistics. Validation, checkpoints and the module after the fit have them; training goes
    on with its own, which a checkpoint holds beside them, so a resumed run equals an uninterrupted one. The batches are
    the first of epoch 0, augmented but not mixed. For `trainer.callbacks`.

    Args:
        num_batches: Training batches B that the statistics are taken from; all, if there are fewer.
        epochs: How many of the last epochs.

    Raises:
        ValueError: If a number is below 1; before training, if the network has no batch norm that learns statistics,
            the last epoch ends without a validation, or max_steps may end the fit before it. A fit that `max_time`
            ends earlier keeps the running statistics.

    Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", arXiv:2105.07576, section 3 (PreciseBN).
    """

    def __init__(self, num_batches: int = 50, epochs: int = 1) -> None:
        for name, value in (("num_batches", num_batches), ("epochs", epochs)):
            if value < 1:
                raise ValueError(f"{name} of RecalibrateNorms: expected an integer >= 1, found {value}.")
        self.num_batches, self.epochs = num_batches, epochs

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Refuse a fit whose norms cannot be calibrated."""
        check_norms(pl_module)
        check_last_validation(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """In a resumed fit, keep the statistics of the checkpoint until they are taken anew."""
        names = statistics(pl_module)
        pl_module.shadow.follow(pl_module, [name for name in names if name in pl_module.shadow.saved])

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Forget statistics that belong to the weights before this batch; those of an average go on with it."""
        if pl_module.shadow.tensors.keys() == set(statistics(pl_module)):
            pl_module.shadow.tensors.clear()

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Calibrate the weights that are about to be validated, before anything listens to the network."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        assert trainer.max_epochs is not None  # checked before
        if trainer.current_epoch < trainer.max_epochs - self.epochs:
            return
        pl_module.shadow.follow(pl_module, statistics(pl_module))
        pl_module.shadow.swap(pl_module, inside=True)
        loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]  # one that begins at epoch 0
        count = min(self.num_batches, int(trainer.num_training_batches))
        with trainer.precision_plugin.forward_context():
            calibrate(pl_module.model, (x.to(pl_module.device) for x, _ in islice(loader, count)))


def norms(module: nn.Module) -> dict[str, _BatchNorm]:
    """Batch norms of the trained network that have running statistics, by their names in the module."""
    layers = module.get_submodule("model").named_modules(prefix="model")
    return {name: layer for name, layer in layers if isinstance(layer, _BatchNorm) and layer.track_running_stats}


def statistics(module: nn.Module) -> list[str]:
    """Names of all running statistics, and of their counts."""
    return [f"{name}.{key}" for name, norm in norms(module).items() for key, _ in norm.named_buffers(recurse=False)]


def check_norms(module: nn.Module) -> None:
    """Refuse a network without statistics that may change.

    Raises:
        ValueError: If there is no batch norm, or the backbone with its norms is frozen.
    """
    if not norms(module):
        raise ValueError(
            "RecalibrateNorms: expected a network with batch norms, found none. Leave RecalibrateNorms out."
        )
    if getattr(module, "freeze_backbone", False):
        raise ValueError(
            "RecalibrateNorms: expected norms that learn, found freeze_backbone: true, whose norms keep their "
            "statistics. Leave one of them out."
        )


def check_last_validation(trainer: Trainer) -> None:
    """Refuse a fit that does not end with a validation, where the norms would be calibrated.

    Raises:
        ValueError: If there is no validation, or the last epoch has none, or is not known, or the data are no
            DataModule.
    """
    every, last = trainer.check_val_every_n_epoch or 1, trainer.max_epochs
    if trainer.limit_val_batches == 0 or last is None or last < 0 or last % every:
        raise ValueError(
            f"RecalibrateNorms: expected a validation after the last epoch, found max_epochs = {last}, "
            f"check_val_every_n_epoch = {every} and limit_val_batches = {trainer.limit_val_batches}. "
            "Choose max_epochs as a multiple of check_val_every_n_epoch."
        )
    if trainer.max_steps != -1 and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        raise ValueError(
            f"RecalibrateNorms: expected a fit that ends after max_epochs, found max_steps = {trainer.max_steps}. Give "
            "its length by max_epochs alone."
        )
    if trainer.datamodule is None:  # type: ignore[attr-defined]
        raise ValueError("RecalibrateNorms: expected the training data as a DataModule, found loaders.")
