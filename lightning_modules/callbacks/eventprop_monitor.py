"""What the EventProp layers raised while they were trained."""

from typing import Any

import torch
from lightning import Callback, Trainer

from zoo.layers.eventprop import EventPropLIF


class EventPropMonitor(Callback):
    """Logs `train/raised_slopes` per epoch.

    That is the share of spikes whose slope I - theta was raised to the layer's `min_slope` in the backward pass, where
    their gradient is not exact. Does nothing for a network without EventProp layers.
    """

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Count from zero."""
        for layer in layers(pl_module):
            layer.slopes.zero_()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Log what was counted."""
        if counts := [layer.slopes for layer in layers(pl_module)]:
            spikes, raised = torch.stack(counts).sum(0)
            pl_module.log("train/raised_slopes", raised / spikes.clamp_min(1), sync_dist=True)


def layers(pl_module: Any) -> list[EventPropLIF]:
    """The EventProp neurons of the trained network."""
    return [module for module in pl_module.model.modules() if isinstance(module, EventPropLIF)]
