"""Whitening the first layer of an early-pooling VGG from the training data."""

from itertools import islice
from typing import Any

from lightning import Callback, Trainer
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.models.pool_vgg import Encoder


class WhitenStem(Callback):
    """Before training, sets the filters of the stem from training images and freezes them; its biases are learned.

    See `zoo.models.pool_vgg.Encoder.whiten`. A network that has been trained before (a resumed run, published weights)
    keeps its filters, and they stay frozen.

    Args:
        num_images: Images to take the statistics from, at least.

    Raises:
        ValueError: If num_images is not positive, the model has no whitening stem, or its width does not fit the
            channels.
    """

    def __init__(self, num_images: int = 5000) -> None:
        if num_images < 1:
            raise ValueError(f"num_images of WhitenStem: expected an integer >= 1, found {num_images}.")
        self.num_images = num_images

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Whiten and freeze, before the optimiser is made."""
        if stage != "fit":
            return
        stem = getattr(pl_module.model, "stem", None)
        if not isinstance(stem, Encoder):
            raise ValueError(
                f"WhitenStem needs a model with a 'whiten' stem, such as spiking_pool_vgg_s; found "
                f"{type(pl_module.model).__name__}. Leave the callback out, or choose such a model."
            )
        norms = [module for module in pl_module.model.modules() if isinstance(module, _BatchNorm)]
        if not trainer.ckpt_path and not any(norm.num_batches_tracked for norm in norms):
            loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
            stem.whiten(x for x, _ in islice(loader, -(-self.num_images // loader.batch_size)))
        stem.freeze()
