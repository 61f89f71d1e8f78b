"""How many learned numbers stand beyond the bounds that their layer keeps."""

from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor, nn


class ClampMonitor(Callback):
    """Logs `train/clamped` per epoch: the share of bounded numbers that the last step led to a bound or beyond it.

    A layer names them in `bounds`: {parameter: (lowest, highest)}; it uses the bound in place of what has passed it.
    Does nothing for a network without bounds.
    """

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Count and log."""
        if beyond := [((x <= low) | (x >= high)).flatten() for x, low, high in bounded(pl_module.model)]:
            pl_module.log("train/clamped", torch.cat(beyond).float().mean(), sync_dist=True)


def bounded(model: nn.Module) -> list[tuple[Tensor, float, float]]:
    """Every parameter that its layer holds within bounds, and these."""
    found = [(layer, name, ends) for layer in model.modules() for name, ends in getattr(layer, "bounds", {}).items()]
    return [(getattr(layer, name), *ends) for layer, name, ends in found]
