"""How wide the kernels of learned delays are while they are trained."""

from typing import Any

import torch
from lightning import Callback, Trainer

from zoo.layers.delayed_linear import FINAL_SIGMA, delayed_layers

from ..schedule import epochs_of


class DelayAnnealing(Callback):
    r"""Narrows the kernels of `zoo.layers.delayed_linear.DelayedLinear`, from all lags at once to one.

        sigma = start (final / start)^(min(epoch, E) / E),    epoch = 0, 1, ...
        E = max(1, floor(share * epochs))    epochs: of the whole training, see `schedule.epochs_of`

    A wide kernel lets a delay feel spikes that are far away; a narrow one is nearly the rounded delay of evaluation.
    The epoch alone decides, so a resumed run goes on where it stopped. Logs `train/delay_sigma`, the width of the
    widest layer. Does nothing for a network without delays. For `trainer.callbacks`.

    Args:
        start: Sigma of the first epoch, in steps; None for half the kernel, L//2, of every layer.
        final: Sigma after the annealing, in steps.
        share: Part of the epochs that anneal, in [0, 1].

    Raises:
        ValueError: If a number is out of range, or the length of the training is not known.

    Example:
        >>> callback = DelayAnnealing()
        >>> [round(callback.sigma(12.0, epoch, epochs=16), 3) for epoch in range(6)]
        [12.0, 4.465, 1.661, 0.618, 0.23, 0.23]

    Source:
        Hammouamri et al. 2024, arXiv:2306.17670; numbers of the released code.
    """

    def __init__(self, start: float | None = None, final: float = FINAL_SIGMA, share: float = 0.25) -> None:
        for name, value in (("start", start), ("final", final)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} of DelayAnnealing is a width in steps and must be > 0, found {value}.")
        if not 0 <= share <= 1:
            raise ValueError(f"share of DelayAnnealing is a part of the epochs and must lie in [0, 1], found {share}.")
        self.start, self.final, self.share = start, final, share
        self.epochs = 0  # of the fit

    def sigma(self, start: float, epoch: int, epochs: int) -> float:
        """The width in an epoch, the first being 0."""
        length = max(1, int(self.share * epochs))
        return start * (self.final / start) ** (min(epoch, length) / length)

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Refuse a fit of unknown length."""
        self.epochs = epochs_of(trainer)

    @torch.no_grad()
    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Set the width of every layer for this epoch, and log the widest."""
        widths = []
        for layer in delayed_layers(pl_module.model).values():
            start = self.start or max(layer.kernel_size // 2, self.final)
            widths.append(self.sigma(start, trainer.current_epoch, self.epochs))
            layer.sigma.fill_(widths[-1])
        if widths:
            pl_module.log("train/delay_sigma", max(widths))
