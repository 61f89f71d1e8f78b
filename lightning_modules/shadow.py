"""Shadow weights: what is validated, saved and published in place of the weights that are trained."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

TRAINED = "trained_weights"  # of a checkpoint: what the shadow stands in for, so that training goes on from it


class ShadowWeights:
    """Tensors that stand in for some of a module's in validation, in checkpoints and after a fit.

    A callback chooses the tensors (`follow`) and writes their values (`tensors`): `EMA` an average over the steps,
    `RecalibrateNorms` other statistics of norms. The module swaps them in and out. A checkpoint holds them in its
    `state_dict`, and what is trained beside it, so a resumed run equals an uninterrupted one. Empty unless a callback
    follows something.

    Attributes:
        tensors: By their names in the module's `state_dict`; while `inside`, what is trained.
        inside: Whether the module holds the shadow at the moment.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.inside = False
        self.saved: dict[str, tuple[Tensor, Tensor]] = {}  # shadow and trained, of the checkpoint of a resumed fit

    def begin(self, module: nn.Module, resumed: bool) -> None:
        """Begin a fit without a shadow: the module gets what was trained, if it was loaded from a checkpoint."""
        self.tensors, self.inside = {}, False
        if not resumed:
            self.saved = {}
        own = tensors_of(module)
        with torch.no_grad():
            for name, (_, trained) in self.saved.items():
                own[name].copy_(trained)

    def follow(self, module: nn.Module, names: Iterable[str]) -> None:
        """Add tensors, as they were saved or else as they are; those that are there already stay."""
        own = tensors_of(module)
        for name in names:
            if name not in self.tensors:
                shadow = self.saved[name][0] if name in self.saved else own[name]
                self.tensors[name] = own[name].detach().clone().copy_(shadow)

    @torch.no_grad()
    def swap(self, module: nn.Module, inside: bool) -> None:
        """Put the shadow into the module (inside) or take it out; nothing changes if it is there already."""
        if inside == self.inside:
            return
        own = tensors_of(module)
        for name, tensor in self.tensors.items():
            other = tensor.clone()
            tensor.copy_(own[name])
            own[name].copy_(other)
        self.inside = inside

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Let the state dict of a checkpoint hold the shadow; with an optimiser, add what is trained."""
        state = checkpoint["state_dict"]
        held = {name: state[name] for name in self.tensors}
        shadow, trained = (held, dict(self.tensors)) if self.inside else (self.tensors, held)
        state |= shadow
        if trained and "optimizer_states" in checkpoint:
            checkpoint[TRAINED] = trained

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Remember both, until the fit begins."""
        state = checkpoint["state_dict"]
        self.saved = {name: (state[name], trained) for name, trained in checkpoint.get(TRAINED, {}).items()}


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and saved buffers of a module by name, without its teacher's, which are never trained nor saved."""
    state = module.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if not name.startswith("teacher.")}
