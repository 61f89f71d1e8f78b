"""An average over the weights of the last training steps, which is often better than the last weights."""

from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..shadow import tensors_of


class EMA(Callback):
    r"""Validates, saves and publishes an exponential moving average of the weights, in place of the last ones.

        a_0 = w_0        a_t = d_t a_{t-1} + (1 - d_t) w_t        d_t = min(decay, (1 + t) / (10 + t))

    with w_t the weights after optimiser step t. The growing decay d_t lets the random start fade quickly. The running
    statistics of batch norms are averaged like weights; every other buffer is copied. Weights that are frozen when the
    training starts, the teacher's above all, take no part. Training itself does not change: it goes on from w_t, which
    a checkpoint holds beside the average, and so a resumed run equals an uninterrupted one. After the fit the module
    holds the average. Works with SLTT, DDP and a ladder. For `trainer.callbacks`.

    Why not Lightning's `EMAWeightAveraging`: it copies, averages and saves the teacher with the student, has a constant
    decay, and saves the last weights where a checkpoint is to hold weights only.

    Args:
        decay: The part of the average that stays at every step, late in training; about 1 - 1/decay steps count.

    Raises:
        ValueError: If decay is not in (0, 1); before training, if the strategy shards the weights.

    Source: the growing decay is that of TensorFlow's `ExponentialMovingAverage(num_updates=t)`.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay of EMA: expected a number in (0, 1), found {decay}.")
        self.decay, self.step = decay, 0

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Begin to count; refuse a strategy whose processes hold parts of the weights."""
        if stage != "fit":
            return
        self.step = 0
        if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            raise ValueError(
                f"EMA: expected all weights in every process, found {type(trainer.strategy).__name__}. Use one device "
                "or DDP (--trainer.strategy ddp), or leave EMA out."
            )

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin with the weights as they are, or the average of a checkpoint."""
        pl_module.shadow.follow(pl_module, [*averaged(pl_module), *pl_module.shadow.saved])
        self.update(trainer, pl_module)  # a checkpoint may have been written between a step and the end of its batch

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Average after an optimiser step: Lightning saves after this."""
        self.update(trainer, pl_module)

    @torch.no_grad()
    def update(self, trainer: Trainer, pl_module: Any) -> None:
        """Average, if there was an optimiser step since the last time."""
        if trainer.global_step == self.step:
            return
        self.step = trainer.global_step
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        own, statistics = tensors_of(pl_module), norm_statistics(pl_module)
        for name, shadow in pl_module.shadow.tensors.items():
            if isinstance(own[name], nn.Parameter) or name in statistics:
                shadow.lerp_(own[name], 1 - decay)
            else:
                shadow.copy_(own[name])

    def state_dict(self) -> dict[str, Any]:
        """The last step that was averaged."""
        return {"step": self.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after it."""
        self.step = state_dict["step"]


def averaged(module: nn.Module) -> dict[str, Tensor]:
    """What training changes: trained parameters, and buffers."""
    own = tensors_of(module)
    return {name: x for name, x in own.items() if x.requires_grad or not isinstance(x, nn.Parameter)}


def norm_statistics(module: nn.Module) -> set[str]:
    """Names of the running means and variances of batch norms."""
    norms = [name for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)]
    return {f"{name}.{key}" for name in norms for key in ("running_mean", "running_var")}
