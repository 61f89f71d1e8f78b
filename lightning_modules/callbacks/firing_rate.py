"""The firing rate of a student while it is validated."""

from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from zoo.model import spiking_neurons


class FiringRate(Callback):
    """Logs `val/firing_rate`: spikes per neuron and step, over all neurons of the trained network.

    Does nothing for a network without neurons.
    """

    def __init__(self) -> None:
        self.hooks: list[RemovableHandle] = []
        self.spikes = torch.zeros(())
        self.neuron_steps = 0

    def count(self, _: nn.Module, __: tuple[Tensor, ...], spikes: Tensor) -> None:
        """Forward hook of a neuron."""
        self.spikes = self.spikes.to(spikes.device) + spikes.detach().sum(dtype=torch.float64)
        self.neuron_steps += spikes.numel()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin to count."""
        self.spikes, self.neuron_steps = torch.zeros((), dtype=torch.float64), 0
        self.hooks = [n.register_forward_hook(self.count) for n in spiking_neurons(pl_module.model).values()]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop counting and log."""
        for hook in self.hooks:
            hook.remove()
        if self.neuron_steps:
            pl_module.log("val/firing_rate", (self.spikes / self.neuron_steps).float(), sync_dist=True)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Leave no hook behind."""
        for hook in self.hooks:
            hook.remove()
