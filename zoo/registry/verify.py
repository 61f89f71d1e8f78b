"""Verification of a published checkpoint: its files, and the golden logits of the network rebuilt from them."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ..model import silent_layers, spiking_neurons
from .build import load_published
from .files import RegistryError, check_names, read_tensors
from .sources import locate_published

TOLERANCE = 1e-4


@dataclass(frozen=True)
class VerifyReport:
    """A published checkpoint that passed every check.

    Attributes:
        name: As given to `verify`.
        path: Its directory.
        num_samples: Number of golden samples.
        reproduced: Number of samples that give their golden logits; see `verify`.
        max_error: Largest difference between the stored and the reproduced golden logits.
        spiking_layers: Number of neuron layers, all of which fire on the golden input.
    """

    name: str
    path: Path
    num_samples: int
    reproduced: int
    max_error: float
    spiking_layers: int

    def __str__(self) -> str:
        return (
            f"{self.name} is whole: sha256 of every file; golden logits of {self.reproduced} of {self.num_samples} "
            f"samples (largest difference {self.max_error:.1e}); {self.spiking_layers} spiking layers, none silent.\n"
            f"{self.path}"
        )


def verify(name: str, registry: str | Path | None = None) -> VerifyReport:
    """Pull a published checkpoint, rebuild it, and reproduce its golden logits.

    A sample is reproduced if its logits agree within 1e-4 (of the largest logit, if that is above 1). On the machine
    that published it, every sample matches bit for bit. Another machine rounds differently. Where that carries one
    potential over its threshold, one spike more or less runs on through the network: in our trials that changed 20 % of
    the logits of one sample, and nothing in the others. Wrong weights or arguments change all samples, so half of them
    must be reproduced.

    Args:
        name: As for `pull`.
        registry: As for `pull`.

    Raises:
        RegistryError: If a file is missing or altered, a weight is not finite, the logits differ, or a spiking layer is
            silent.
    """
    path = locate_published(name, registry).path
    check_names(path)  # a checkpoint of timm, without golden logits, can be pulled, not verified
    return check_outputs(name, path)


def check_outputs(name: str, path: Path) -> VerifyReport:
    """Rebuild a checkpoint from its files and compare what it gives; see `verify`."""
    model = load_published(path).eval()
    bad = [key for key, value in model.state_dict().items() if not value.isfinite().all()]
    if bad:
        raise RegistryError(f"{name}: {', '.join(bad[:3])} holds values that are not finite. Train again.")
    golden = read_tensors(path / "golden.safetensors")
    if golden.keys() != {"input", "logits"}:
        raise RegistryError(
            f"{path / 'golden.safetensors'}: expected the tensors input and logits, found {sorted(golden)}. "
            "Publish again."
        )
    x, logits = golden["input"], golden["logits"]
    silent = silent_layers(model, x)
    if silent:
        raise RegistryError(
            f"{name}: {', '.join(silent)} never fires on the golden input, so a check of the outputs would pass with "
            "any weights. Train longer, lower v_threshold, or give a golden input of real data."
        )
    with torch.no_grad():
        found = model(x)
    if found.shape != logits.shape:
        raise RegistryError(
            f"{name}: expected logits {list(logits.shape)}, as its golden ones, found {list(found.shape)}. "
            "Publish again."
        )
    errors = (found - logits).abs().amax(1)  # [N]
    allowed = TOLERANCE * max(1.0, logits.abs().max().item())
    reproduced = int((errors <= allowed).sum())
    if 2 * reproduced < len(logits):
        raise RegistryError(
            f"{name} does not give its golden logits: {reproduced} of {len(logits)} samples agree within "
            f"{allowed:.1e}, the largest difference is {errors.max():.1e}. The weights do not belong to this code or "
            "these arguments."
        )
    return VerifyReport(name, path, len(logits), reproduced, errors.max().item(), len(spiking_neurons(model)))
