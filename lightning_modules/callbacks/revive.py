"""Neurons that never fire get no gradient: lift them."""

from contextlib import ExitStack
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor, nn

from zoo.layers.eventprop import EventPropLIF
from zoo.trace import watching


class ReviveSilent(Callback):
    """Lifts the incoming weights of every EventProp neuron that did not fire in a whole training epoch.

    EventProp sees spikes only, so a silent neuron has no gradient and would stay silent. Only its own weights are
    raised, by `lift`; logs `train/revived`, the number of such neurons in the epoch. For `trainer.callbacks`.

    Args:
        lift: Added to each incoming weight of a silent neuron.

    Raises:
        ValueError: If lift is not positive.

    Source: Nowotny, Turner and Knight 2025; their later example, which lifts the silent neurons only, with 0.002.
    """

    def __init__(self, lift: float = 0.002) -> None:
        if not lift > 0:
            raise ValueError(f"lift of ReviveSilent is added to weights and must be > 0, found {lift}.")
        self.lift = lift
        self.fired: dict[EventPropLIF, Tensor] = {}
        self.watch: ExitStack | None = None

    def note(self, name: str, layer: nn.Module, args: tuple[Tensor, ...], spikes: Tensor) -> None:
        """A layer has run: keep which of its neurons fired."""
        if layer.training and isinstance(layer, EventPropLIF):
            now = spikes.detach().flatten(0, 1).any(0)  # [H]
            self.fired[layer] = self.fired[layer].to(now.device) | now if layer in self.fired else now

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Watch from the first batch of an epoch on, or of what is left of it in a resumed run."""
        if self.watch is None:
            modules = pl_module.model.named_modules()
            neurons = {name: module for name, module in modules if isinstance(module, EventPropLIF)}
            self.watch = ExitStack()
            self.watch.enter_context(watching(neurons, self.note))

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After the last batch stop watching and lift: before validation, so that what is saved was validated."""
        if not trainer.is_last_batch:
            return
        revived, ran = 0, bool(self.fired)
        for layer, fired in self.fired.items():
            silent = ~self.fired_anywhere(trainer, fired)
            with torch.no_grad():
                layer.synapses.weight[silent] += self.lift
            revived += int(silent.sum())
        self.stop()
        if ran:
            pl_module.log("train/revived", float(revived), on_step=False, on_epoch=True, batch_size=1)

    def fired_anywhere(self, trainer: Trainer, fired: Tensor) -> Tensor:
        """Neurons that fired on some device [H]: only the others are silent, so that all devices lift the same ones."""
        return trainer.strategy.reduce(fired.float(), reduce_op="sum") > 0

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Keep which neurons have fired so far, by the name of their layer."""
        names = {module: name for name, module in pl_module.model.named_modules()}
        checkpoint["fired"] = {names[layer]: self.fired_anywhere(trainer, fired) for layer, fired in self.fired.items()}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Go on in the middle of an epoch."""
        layers = dict(pl_module.model.named_modules())
        self.fired = {layers[name]: fired for name, fired in checkpoint.get("fired", {}).items()}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop watching, also after an epoch that `max_steps` cut short."""
        self.stop()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Leave no hook behind."""
        self.stop()

    def stop(self) -> None:
        """Leave the network as it was, and forget what fired."""
        if self.watch is not None:
            self.watch.close()
        self.watch, self.fired = None, {}
