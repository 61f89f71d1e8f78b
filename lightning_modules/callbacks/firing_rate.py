"""The firing rate of a student while it is validated."""

import warnings
from contextlib import ExitStack
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor, nn

from zoo.model import spiking_neurons
from zoo.trace import watching


class FiringRate(Callback):
    """Logs `val/firing_rate`: spikes per neuron and step, over all neurons of the trained network.

    Warns, once in a fit, of a network of which no layer fires: what does not fire does not learn. Does nothing for a
    network without neurons.
    """

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.spikes: dict[str, Tensor] = {}  # by layer
        self.neuron_steps = 0
        self.told = False

    def count(self, name: str, _: nn.Module, __: tuple[Tensor, ...], spikes: Tensor) -> None:
        """A neuron has run."""
        count = spikes.detach().sum(dtype=torch.float64)
        self.spikes[name] = self.spikes[name] + count if name in self.spikes else count
        self.neuron_steps += spikes.numel()

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin a fit, which may warn."""
        self.told = False

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin to count."""
        self.spikes, self.neuron_steps = {}, 0
        self.stack.enter_context(watching(spiking_neurons(pl_module.model), self.count))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop counting, log and warn."""
        self.stack.close()
        if not self.neuron_steps:
            return
        counts = torch.stack(list(self.spikes.values()))
        pl_module.log("val/firing_rate", (counts.sum() / self.neuron_steps).float(), sync_dist=True)
        if trainer.sanity_checking or self.told or not trainer.is_global_zero:
            return
        if not counts.any():  # single layers may be silent until the statistics of norms have settled
            self.told = True
            warnings.warn(
                f"{', '.join(self.spikes)} did not fire once on the validation split, after epoch "
                f"{trainer.current_epoch + 1}: what does not fire passes nothing on and hardly learns. Lower "
                "v_threshold or raise num_steps.",
                stacklevel=1,
            )

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Leave no hook behind."""
        self.stack.close()
