"""What a name means: an architecture, a published checkpoint, or a run. Every command resolves its name here, once."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import timm
from torch import Tensor

from .. import models
from ..errors import unknown
from ..extensions import import_neuron, import_student, load_installed
from ..model import Network
from . import hub
from .build import adapt, as_model_input, build, check_architecture, load_published
from .files import RegistryError, check_files, read_recipe, read_tensors
from .results import Results, read_results
from .runs import Run

EMBEDDED = Path(__file__).parents[1] / "pretrained"
PREFIXES = ("hf-hub:", "local-dir:")


@dataclass(frozen=True)
class Architecture:
    """An architecture, ours or timm's: no files, no numbers.

    Attributes:
        name: As registered, with a tag of timm's or without.
        pretrained: Whether `model` loads timm's weights.
        registry: Directory of published checkpoints, which an error lists.
    """

    name: str
    pretrained: bool = False
    registry: str | Path | None = None
    path: ClassVar[None] = None

    def model(self, **kwargs: Any) -> Network:
        """The network, untrained unless `pretrained`; see `zoo.create_model`."""
        try:
            return build(self.name, pretrained=self.pretrained, **kwargs)
        except RuntimeError as error:  # timm's: an unknown tag, or no weights
            known = ", ".join(published(self.registry)) or "none"
            raise ValueError(f"Cannot create {self.name!r}: {error} Published checkpoints: {known}.") from error

    def golden_input(self) -> None:
        """None."""

    def results(self) -> Results:
        """Empty."""
        return Results()

    def recipe(self) -> dict[str, Any]:
        """Empty."""
        return {}


@dataclass(frozen=True)
class Published:
    """A published checkpoint. Its files are fetched and checked once, at the first use of any of them.

    Attributes:
        name: As given.
        address: `hf-hub:org/name[@revision]`, `local-dir:PATH` or only the path.
    """

    name: str
    address: str

    @property
    def on_hub(self) -> bool:
        """Whether it is on the Hub, where timm may have published it, without golden logits and manifest."""
        return self.address.startswith("hf-hub:")

    @cached_property
    def path(self) -> Path:
        """The directory of its files, whole and unaltered; see `check_files`."""
        path = hub.download(self.address) if self.on_hub else Path(self.address.removeprefix("local-dir:"))
        check_files(path, foreign=self.on_hub)
        return path

    def model(self, **kwargs: Any) -> Network:
        """The network with its weights; see `zoo.create_model`."""
        return adapt(load_published(self.path), **kwargs)

    def golden_input(self) -> Tensor | None:
        """The golden samples [N, C, H, W] or [T, N, C, H, W]; None if timm published the checkpoint."""
        file = self.path / "golden.safetensors"
        return read_tensors(file)["input"] if file.exists() else None

    def results(self) -> Results:
        """The measured numbers; empty if the network was not tested."""
        return read_results(self.path)

    def recipe(self) -> dict[str, Any]:
        """The recipe; empty if the network came from none."""
        file = self.path / "recipe.yaml"
        return read_recipe(file) if file.exists() else {}


Source = Architecture | Published | Run


def locate(name: str, registry: str | Path | None = None, pretrained: bool | None = None) -> Source:
    """What a name stands for; none of its files is read or fetched yet.

    A name is, in this order: `hf-hub:org/name[@revision]`, `local-dir:PATH` or a directory with a manifest; a `.ckpt`
    file or a directory, which is a run; `architecture.tag` of a registry; an architecture, by its name or, in a package
    of your own, by its import path. A directory never shadows an architecture of its name.

    Args:
        name: The name.
        registry: Directory of published checkpoints; default: as for `list_models`.
        pretrained: Of an architecture, whether its model must load timm's weights; default: if the name has a tag.

    Raises:
        RegistryError: If the registry is needed and does not exist.
        ValueError: If the name is unknown.
    """
    name = import_student(name)
    if is_address(name):
        return Published(name, name)
    if name.endswith(".ckpt") or (name and not timm.is_model(name) and Path(name).is_dir()):
        return Run(name)
    tagged = "." in name
    if tagged and (address := published(registry).get(name)):
        return Published(name, address)
    check_architecture(name)
    return Architecture(name, tagged if pretrained is None else pretrained, registry)


def locate_published(name: str, registry: str | Path | None = None) -> Published:
    """The published checkpoint of a name; RegistryError if it stands for something else. See `pull`."""
    if is_address(name):
        return Published(name, name)
    known = published(registry)
    if name in known:
        return Published(name, known[name])
    if name and Path(name).is_dir():
        raise RegistryError(
            f"{name}: expected a published checkpoint, found no manifest.json. Of a run, publish one: snnzoo publish "
            f"{name} REGISTRY/ARCHITECTURE.TAG. Of a registry, name one: ARCHITECTURE.TAG --registry {name}."
        )
    raise RegistryError(
        unknown("checkpoint", name, known) if known else f"No checkpoint {name!r}: the registry is empty."
    )


def is_address(name: str) -> bool:
    """Whether a name is the address of a published checkpoint: `hf-hub:`, `local-dir:`, or its directory."""
    return name.startswith(PREFIXES) or (not timm.is_model(name) and (Path(name) / "manifest.json").is_file())


def published(registry: str | Path | None = None) -> dict[str, str]:
    """Where each checkpoint with a plain name is, sorted: name -> `local-dir:PATH` or `hf-hub:org/name`.

    Raises:
        RegistryError: If the directory of the argument or of `$SNNZOO_REGISTRY` does not exist.
    """
    asked = registry or os.environ.get("SNNZOO_REGISTRY")
    if asked and not Path(asked).is_dir():
        raise RegistryError(
            f"registry: expected a directory, found no {asked}. Publish first: snnzoo publish RUN {asked}/MODEL.TAG."
        )
    found: dict[str, str] = {}
    if not registry:
        rows = (row for module in models.__all__ for row in timm.list_models(module=module, pretrained=True))
        found = {row: f"hf-hub:{timm.get_pretrained_cfg_value(row, 'hf_hub_id')}" for row in rows}
    for root in ([] if registry else [EMBEDDED]) + ([Path(asked)] if asked else []):  # later ones win
        found |= {path.name: f"local-dir:{path}" for path in root.glob("[!._]*.*") if path.is_dir()}
    return dict(sorted(found.items()))


# What `zoo` exports ---------------------------------------------------------------------------------------------------


def list_models(filter: str = "*", pretrained: bool = False, registry: str | Path | None = None) -> list[str]:
    """Names of the students, ours and those of other loaded packages, or of the checkpoints that `pull` finds.

    Args:
        filter: Shell pattern, such as "sew_*".
        pretrained: List checkpoints instead of architectures.
        registry: Directory of published checkpoints; default: `$SNNZOO_REGISTRY`, then those shipped with the code and
            those on the Hub that our architectures name.

    Raises:
        RegistryError: If the registry does not exist.
    """
    if pretrained:
        return [name for name in published(registry) if fnmatch(name, filter)]
    load_installed()
    return sorted(name for name in timm.list_models(filter) if not of_timm(name))


def of_timm(architecture: str) -> bool:
    """Whether an architecture is one of timm's own."""
    return timm.model_entrypoint(architecture).__module__.startswith("timm.")


def create_model(name: str, pretrained: bool = False, registry: str | Path | None = None, **kwargs: Any) -> Network:
    """Create a model by name; in training mode, as timm does.

    Args:
        name: An architecture (ours or any of timm's), `architecture.tag`, `hf-hub:org/name[@revision]`,
            `local-dir:PATH` or only the path, a run directory or a `.ckpt` file of a run. All but the first two always
            load weights.
        pretrained: Load published weights: those of a registry if it has the name, else timm's.
        registry: Directory of published checkpoints; default: as for `list_models`.
        **kwargs: Arguments of the architecture. `num_classes` or `in_chans` other than those of the weights give a new
            classifier or an adapted first convolution, as in timm.

    Raises:
        ValueError: If the name or an argument is unknown.
        FileNotFoundError: If a run has no checkpoint.
        RegistryError: If a published checkpoint is missing, incomplete or altered.

    Example:
        >>> create_model("sew_resnet_tiny", num_classes=10, in_chans=1, num_steps=2).num_steps
        2
    """
    import_neuron(kwargs.get("neuron"))
    untrained = not pretrained and timm.is_model(name)  # whatever a registry has under that name
    source = Architecture(name, registry=registry) if untrained else locate(name, registry, pretrained)
    return source.model(**{key: value for key, value in kwargs.items() if value is not None})


def golden_input(name: str, model: Network, registry: str | Path | None = None) -> Tensor | None:
    """Images to measure a model on, [N, C, H, W] or [T, N, C, H, W]: those of its checkpoint or of its tested run.

    Raises as `create_model`.
    """
    x = locate(name, registry).golden_input()
    return None if x is None else as_model_input(model, x)


def pull(name: str, registry: str | Path | None = None, dest: str | Path | None = None) -> Path:
    """The directory of a published checkpoint, whole and unaltered.

    Args:
        name: `architecture.tag` of a registry, `hf-hub:org/name[@revision]`, `local-dir:PATH` or only the path.
        registry: Directory of published checkpoints; default: as for `list_models`.
        dest: Copy it to this new directory.

    Raises:
        RegistryError: If it is not there, or a file is missing, altered, or of a kind that does not belong.
        FileExistsError: If dest exists.
    """
    source = locate_published(name, registry)
    if dest is None:
        return source.path
    dest = Path(dest)
    if dest.exists():
        raise FileExistsError(f"dest: expected a new directory, found {dest}. Choose another for the copy.")
    dest.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dest.parent, prefix=".part-") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(source.path, copy)
        check_files(copy, foreign=source.on_hub)
        copy.rename(dest)
    return dest
