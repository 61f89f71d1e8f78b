"""Stops a training whose numbers are no longer finite.

A network of spikes hides NaN: it never fires, so that the loss stays finite and the accuracy falls to chance.
"""

from collections.abc import Mapping
from pathlib import Path

from lightning import LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import get_total_norm

MEND = "Use a lower learning rate, --trainer.gradient_clip_val 1, or --trainer.precision 32-true."


def check_losses(module: LightningModule, losses: Mapping[str, Tensor], total: Tensor) -> None:
    """Refuse a loss that is not finite.

    Args:
        module: Where the loss arose.
        losses: The raw loss of every objective.
        total: Their weighted sum.

    Raises:
        ValueError: If it is NaN or infinite; names the objectives.
    """
    if not total.isfinite():
        bad = {name: loss.item() for name, loss in losses.items() if not loss.isfinite()} or {"loss": total.item()}
        named = ", ".join(f"{name} = {value}" for name, value in bad.items())
        raise ValueError(f"{moment(module.trainer)}: expected a finite loss, found {named}. {advice(module.trainer)}")


def check_gradients(module: LightningModule) -> None:
    """Refuse gradients that are not finite, before they reach the weights; fp16 skips such steps by itself.

    Raises:
        ValueError: If one is NaN or infinite; names the first parameter.
    """
    trainer = module.trainer
    grads = {name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None}
    if not grads or str(trainer.precision) == "16-mixed" or get_total_norm(grads.values()).isfinite():
        return
    for name, grad in grads.items():
        if not grad.isfinite().all():
            raise ValueError(
                f"{moment(trainer)}: expected finite gradients, found NaN or infinity in that of {name}. "
                f"{advice(trainer)}"
            )


def check_weights(module: LightningModule, weights: Mapping[str, Tensor]) -> None:
    """Refuse to save weights that are not finite; what was saved before stays.

    Raises:
        ValueError: If one is NaN or infinite; names the first.
    """
    for name, weight in weights.items():
        if weight.is_floating_point() and not weight.isfinite().all():
            raise ValueError(
                f"Epoch {module.current_epoch + 1}: expected finite weights to save, found NaN or infinity in {name}. "
                f"{advice(module.trainer)}"
            )


def moment(trainer: Trainer) -> str:
    """When it happened."""
    if trainer.training:
        return f"Epoch {trainer.current_epoch + 1}, training batch {trainer.fit_loop.batch_idx + 1}"
    return f"While {trainer.state.stage.value}" if trainer.state.stage else "Here"


def advice(trainer: Trainer) -> str:
    """What to do, and where the last good state is, if it was saved."""
    last = Path(trainer.default_root_dir, "checkpoints/last.ckpt")
    return f"{MEND} The last good state is {last}." if last.is_file() else MEND
