"""Runs: directories that `snnzoo fit` writes, and single `.ckpt` files.

RUN/config.yaml                        the recipe
RUN/checkpoints/{best,last}.ckpt       the weights, under "state_dict", and what rebuilds the network, under "zoo"
RUN/results.json                       the numbers of a test, and the fingerprint of the file that it tested
RUN/golden_input.safetensors           the first test images
RUN/conversion.json                    of a converted student: how it was made
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from ..model import Network
from .build import adapt, build, load_weights
from .files import fingerprint, read_json, read_recipe, read_tensors
from .results import RESULTS, Results, read_results


@dataclass(frozen=True)
class Run:
    """A run, named by its directory or by a `.ckpt` file.

    Attributes:
        name: The path of the directory or file.
    """

    name: str

    @property
    def path(self) -> Path:
        """The directory or file."""
        return Path(self.name)

    @cached_property
    def checkpoint(self) -> Path:
        """The checkpoint file; see `run_checkpoint`."""
        return run_checkpoint(self.path)

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Size and sha256 of the checkpoint file, which is read once."""
        return fingerprint(self.checkpoint)

    def file(self, name: str) -> Path | None:
        """A file of the directory that the checkpoint belongs to, if it is there."""
        folder = self.checkpoint.parent
        path = folder.parent / name
        return path if folder.name == "checkpoints" and path.is_file() else None

    def model(self, **kwargs: Any) -> Network:
        """The network with its weights; see `zoo.create_model`."""
        return adapt(load_checkpoint(self.checkpoint), **kwargs)

    def golden_input(self) -> Tensor | None:
        """The test images [T, N, C, H, W] that a test kept; None before the first test."""
        path = self.file("golden_input.safetensors")
        return read_tensors(path)["input"] if path else None

    def results(self) -> Results:
        """The numbers measured on the checkpoint; empty for a checkpoint that `snnzoo test` does not take.

        Raises:
            ValueError: If they were measured on other weights.
        """
        file = self.file(RESULTS)
        if file is None or self.checkpoint != run_checkpoint(file.parent):
            return Results()
        results = read_results(file.parent)
        if results.checkpoint != self.fingerprint:
            raise ValueError(
                f"{file}: expected results measured on {self.checkpoint}, found those of other weights. Test again: "
                f"snnzoo test --config {file.parent / 'config.yaml'}."
            )
        return results

    def recipe(self) -> dict[str, Any]:
        """The recipe; empty for a checkpoint that lies in no run."""
        file = self.file("config.yaml")
        return read_recipe(file) if file else {}

    def conversion(self) -> dict[str, Any]:
        """How `snnzoo convert` made the weights: `conversion.json` without the layers; empty if it did not."""
        file = self.file("conversion.json")
        record = read_json(file) if file else {}
        if not record or record.pop("checkpoint", None) != self.fingerprint:
            return {}
        return {key: value for key, value in record.items() if key != "layers"}


def run_checkpoint(path: Path) -> Path:
    """The checkpoint file of a run: its best, else its last; a `.ckpt` file is itself.

    Raises:
        FileNotFoundError: If there is none.
    """
    options = [path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt")] if path.is_dir() else [path]
    found = next((option for option in options if option.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"{path}: expected a run with {' or '.join(map(str, options))}, found none. Train it first; a published "
            f"checkpoint is named local-dir:{path}."
        )
    return found


def load_run(source: str | Path) -> Network:
    """The network of a run directory (its best checkpoint, else its last) or of a `.ckpt` file.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the file is not a checkpoint of one of our modules, or its network has no name to build it by.
    """
    return Run(str(source)).model()


def load_checkpoint(path: Path) -> Network:
    """The network of a `.ckpt` file; strict, and without running anything that is pickled; see `load_run`."""
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        weights, about = checkpoint["state_dict"], checkpoint["zoo"]
        if about is None:
            raise ValueError(
                f"{path}: expected a network made by zoo.create_model, found one without a name to build it by. Load "
                "its state_dict into your own module, or train a registered student (docs/extending.md)."
            )
        prefix = about["prefix"]
        model = build(about["architecture"], **about["model_args"])
        model.pretrained_cfg.update(about["pretrained_cfg"])
        own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    except (UnpicklingError, EOFError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected a checkpoint of a run, found another file or a damaged one ({error!r}). Train again."
        ) from error
    load_weights(model, own, str(path))
    return model
