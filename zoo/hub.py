"""Checkpoints: published to a registry, pulled back, verified.

A published checkpoint is a directory or a Hub repository of exactly these files:

    config.json           timm's format: architecture, model_args, pretrained_cfg; `timm.create_model("local-dir:...")` works
    model.safetensors     the weights; nothing pickled is ever read from a registry
    golden.safetensors    an input and the logits it gives
    manifest.json         size and sha256 of every other file
    README.md             the card, written from measurements
    recipe.yaml           the recipe of the run (if it came from one)
    results.json          the measured numbers (if the run was tested)

A registry is a directory of such directories, named `architecture.tag`, or the Hub. `zoo/pretrained/` is the registry
shipped with the code.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import HfApi, constants, snapshot_download
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from . import models
from .card import write_card
from .errors import unknown
from .model import silent_layers, spiking_neurons

EMBEDDED = Path(__file__).parent / "pretrained"
REQUIRED = ("config.json", "model.safetensors", "golden.safetensors", "manifest.json")
ALLOWED = (*REQUIRED, "README.md", "recipe.yaml", "results.json")
CONFIG_KEYS = {"architecture", "num_classes", "num_features", "model_args", "pretrained_cfg"}
# What a checkpoint must remember of timm's `pretrained_cfg`; sources (url, file) would be those of another machine.
CFG_KEYS = (
    *("input_size", "min_input_size", "fixed_input_size", "interpolation", "crop_pct", "mean", "std", "num_classes"),
    *("label_names", "first_conv", "classifier", "license", "paper_ids"),
)


class RegistryError(ValueError):
    """A published checkpoint is missing, incomplete or altered."""


@dataclass(frozen=True)
class VerifyReport:
    """A published checkpoint that passed every check.

    Attributes:
        name: As asked for.
        path: Its directory.
        max_error: Largest difference between the stored and the reproduced golden logits.
        spiking_layers: Number of neuron layers, all of which fire on the golden input.
    """

    name: str
    path: Path
    max_error: float
    spiking_layers: int

    def __str__(self) -> str:
        return (
            f"{self.name} is whole: sha256 of every file, golden logits within {self.max_error:.1e}, "
            f"{self.spiking_layers} spiking layers and none silent.\n{self.path}"
        )


# Names ---------------------------------------------------------------------------------------------------------------


def list_models(filter: str = "*", pretrained: bool = False, registry: str | Path | None = None) -> list[str]:
    """Names of the zoo's own models, or of the checkpoints that `pull` finds.

    Args:
        filter: Shell pattern, such as "sew_*".
        pretrained: List checkpoints instead of architectures.
        registry: Directory of published checkpoints; default: `$SNNZOO_REGISTRY`, then those shipped with the code.
    """
    if pretrained:
        found = {path.parent.name for root in registries(registry) for path in root.glob("*/config.json")}
        return sorted(name for name in found if fnmatch(name, filter))
    return sorted(name for module in models.__all__ for name in timm.list_models(filter, module=module))


def registries(registry: str | Path | None = None) -> list[Path]:
    """The local registries that a plain name is looked up in, in order.

    Raises:
        RegistryError: If a directory that was asked for does not exist.
    """
    asked = registry or os.environ.get("SNNZOO_REGISTRY")
    if asked and not Path(asked).is_dir():
        raise RegistryError(
            f"There is no registry directory {asked}. Publish to it first: snnzoo publish RUN {asked}/NAME."
        )
    return [Path(registry)] if registry else [*([Path(asked)] if asked else []), EMBEDDED]


def locate(name: str, registry: str | Path | None = None) -> Path | None:
    """The directory of a local published checkpoint, unchecked: a `local-dir:` name or one found in a registry."""
    if name.startswith("local-dir:"):
        return Path(name.removeprefix("local-dir:"))
    return next((root / name for root in registries(registry) if (root / name).is_dir()), None) if name else None


def create_model(name: str, pretrained: bool = False, registry: str | Path | None = None, **kwargs: Any) -> nn.Module:
    """Create a model by name; in training mode, as timm does.

    Args:
        name: An architecture (ours or any of timm's), `architecture.tag`, `hf-hub:org/name[@revision]`,
            `local-dir:PATH`, a run directory or a `.ckpt` file of a run. The last four always load weights.
        pretrained: Load published weights: those of a registry if it has the name, else timm's.
        registry: Directory of published checkpoints; default: `$SNNZOO_REGISTRY`, then those shipped with the code.
        **kwargs: Arguments of the architecture. `num_classes` or `in_chans` other than those of the weights give a new
            classifier or an adapted first convolution, as in timm.

    Raises:
        ValueError: If the name or an argument is unknown.
        RegistryError: If a published checkpoint is missing, incomplete or altered.

    Example:
        >>> create_model("sew_resnet_tiny", num_classes=10, in_chans=1, num_steps=2).num_steps
        2
    """
    kwargs = {key: value for key, value in kwargs.items() if value is not None}
    if name.startswith(("hf-hub:", "local-dir:")):
        return load_published(pull(name), **kwargs)
    if name.endswith(".ckpt") or Path(name).is_dir():
        with exported(name) as directory:
            return load_published(directory, **kwargs)
    if pretrained and locate(name, registry):
        return load_published(pull(name, registry), **kwargs)
    if not timm.is_model(name):
        raise ValueError(
            unknown("model", name, timm.list_models(), see="`snnzoo list` shows ours, `timm.list_models()` all.")
        )
    try:
        model = timm.create_model(name, pretrained=pretrained, **kwargs)
    except (TypeError, RuntimeError) as error:
        known = ", ".join(list_models(pretrained=True, registry=registry)) or "none"
        raise ValueError(f"Cannot create {name!r}: {error}. Published checkpoints here: {known}.") from error
    model.model_args = kwargs
    return model


def describe(model: nn.Module) -> dict[str, Any]:
    """What rebuilds a model made by `create_model`, in JSON: architecture, model_args, pretrained_cfg."""
    cfg = {key: model.pretrained_cfg[key] for key in CFG_KEYS if model.pretrained_cfg.get(key) is not None}
    sizes = {"num_classes": model.num_classes, "in_chans": cfg["input_size"][0]}
    args = {**getattr(model, "model_args", {}), **sizes}
    if hasattr(model, "num_steps"):
        args["num_steps"] = model.num_steps  # may have been changed at run time
    record = {
        "architecture": model.pretrained_cfg["architecture"],
        "model_args": args,
        "pretrained_cfg": {**cfg, "num_classes": model.num_classes},
    }
    return json.loads(json.dumps(record))  # tuples become lists now, not at the next reading


# Runs ----------------------------------------------------------------------------------------------------------------


def load_run(source: str | Path) -> nn.Module:
    """The network of a run directory (its best checkpoint, else its last) or of a `.ckpt` file.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the file is not a checkpoint of one of our modules.
    """
    path = Path(source)
    if path.is_dir():
        options = [path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt")]
        found = next((option for option in options if option.exists()), None)
        if found is None:
            raise FileNotFoundError(f"{path} holds no run: neither {options[0]} nor {options[1].name}. Train it first.")
        path = found
    checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    if "zoo" not in checkpoint:
        raise ValueError(f"{path} was not written by this project: it does not say which architecture it holds.")
    about = checkpoint["zoo"]
    prefix = about["prefix"]
    model = create_model(about["architecture"], **about["model_args"])
    model.pretrained_cfg.update(about["pretrained_cfg"])
    weights = checkpoint["state_dict"].items()
    model.load_state_dict({key.removeprefix(prefix): value for key, value in weights if key.startswith(prefix)})
    return model


@contextmanager
def exported(source: str | Path) -> Iterator[Path]:
    """A run as a temporary `local-dir`, so that timm fits its weights to other classes and channels."""
    with tempfile.TemporaryDirectory() as folder:
        write_weights(load_run(source), Path(folder))
        yield Path(folder)


# Publish -------------------------------------------------------------------------------------------------------------


def publish(
    source: str | Path | nn.Module,
    target: str | Path,
    golden_input: Tensor | None = None,
    overwrite: bool = False,
    license: str | None = None,
) -> str:
    """Publish a model with its card, so that it can be pulled, verified and fine-tuned by name.

    Args:
        source: A run directory, a `.ckpt` file of a run, or a model made by `create_model`.
        target: `REGISTRY_DIR/architecture.tag`, or `hf-hub:org/name`.
        golden_input: Input [N, C, H, W] or [T, N, C, H, W] that is stored with its logits; default: the test images
            that the run kept, else standard normal noise.
        overwrite: Replace a checkpoint that is already there.
        license: Licence of the weights, for the card.

    Returns:
        Where it was published.

    Raises:
        ValueError: If a spiking layer is silent on the golden input (a check of outputs would see nothing) or a weight
            is not finite.
        FileExistsError: If the target exists and overwrite is False.
    """
    to_hub = str(target).startswith("hf-hub:")
    name = str(target).removeprefix("hf-hub:") if to_hub else Path(target).name
    if not to_hub and Path(target).exists() and not overwrite:
        raise FileExistsError(f"{target} is already published. Replace it: overwrite=True (--overwrite true).")
    run = None if isinstance(source, nn.Module) else run_directory(Path(source))
    model = source if isinstance(source, nn.Module) else load_run(source)
    parent = Path(tempfile.gettempdir()) if to_hub else Path(target).parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".part-") as folder:
        stage = Path(folder) / "checkpoint"
        write_checkpoint(model, stage, golden_input, run, name, license)
        if to_hub:
            return upload(stage, name)
        replace_directory(stage, Path(target))
    return str(target)


def run_directory(source: Path) -> Path | None:
    """The run that a run directory or a checkpoint file belongs to."""
    return source if source.is_dir() else source.parent.parent if source.parent.name == "checkpoints" else None


def write_checkpoint(
    model: nn.Module, stage: Path, golden_input: Tensor | None, run: Path | None, name: str, license: str | None
) -> None:
    """Write every file of a published checkpoint; see `publish`."""
    x = golden_input if golden_input is not None else kept_images(run)
    if x is None:
        x = torch.randn(8, *model.pretrained_cfg["input_size"], generator=torch.Generator().manual_seed(0))
    bad = [key for key, value in model.state_dict().items() if not value.isfinite().all()]
    if bad:
        raise ValueError(f"Not published: {', '.join(bad[:3])} holds values that are not finite. Train again.")
    silent = silent_layers(model.eval(), model_input(model, x))
    if silent:
        raise ValueError(
            f"Not published: {', '.join(silent)} never fires on the golden input, so no check of its outputs would mean "
            "anything. Train longer, lower v_threshold, or give a golden input of real data."
        )
    config = write_weights(model, stage)
    with torch.no_grad():
        save_file({"input": x.contiguous(), "logits": model(model_input(model, x))}, stage / "golden.safetensors")
    results: dict[str, Any] = {}
    for source, copy in (("config.yaml", "recipe.yaml"), ("results.json", "results.json")):
        if run and (run / source).exists():
            shutil.copyfile(run / source, stage / copy)
    if (stage / "results.json").exists():
        results = json.loads((stage / "results.json").read_text())
    (stage / "README.md").write_text(write_card(name, config, results, license))
    files = {path.name: fingerprint(path) for path in sorted(stage.iterdir())}
    write_json(stage / "manifest.json", {"files": files})


def write_weights(model: nn.Module, directory: Path) -> dict[str, Any]:
    """Write `config.json` and `model.safetensors`; returns the config."""
    about = describe(model)
    config = {
        "architecture": about["architecture"],
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "model_args": about["model_args"],
        "pretrained_cfg": about["pretrained_cfg"],
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "config.json", config)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, directory / "model.safetensors")
    return config


def kept_images(run: Path | None) -> Tensor | None:
    """The test images that a tested run kept, [T, N, C, H, W]."""
    path = run and run / "golden_input.safetensors"
    return load_file(path)["input"] if path and path.exists() else None


def model_input(model: nn.Module, x: Tensor) -> Tensor:
    """A golden input as the model takes it: a non-spiking model sees the mean frame of a sequence."""
    return x if x.ndim == 4 or spiking_neurons(model) else x.mean(0)


def replace_directory(new: Path, target: Path) -> None:
    """Move a finished directory to its name; an older one there goes only when the new one is in place."""
    if not target.exists():
        new.rename(target)
        return
    old = new.parent / "old"
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise


def upload(stage: Path, repo: str) -> str:
    """Upload a staged checkpoint to the Hub."""
    if constants.ENDPOINT.rstrip("/") != "https://huggingface.co":
        constants.HF_HUB_DISABLE_XET = True  # another Hub server cannot ask for plain uploads, the client must offer
    api = HfApi()
    try:
        api.create_repo(repo, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo, folder_path=stage, allow_patterns=list(ALLOWED), commit_message="Publish with snnzoo"
        )
    except Exception as error:  # the client raises HTTP, connection and value errors of four libraries
        raise RegistryError(
            f"Could not publish to hf-hub:{repo}: {error}. Log in with a token that may write (`hf auth login`), check "
            "the name (org/name) and the network, or publish to a local directory."
        ) from error
    return str(commit.commit_url)


# Pull and verify -----------------------------------------------------------------------------------------------------


def pull(name: str, registry: str | Path | None = None, dest: str | Path | None = None) -> Path:
    """The directory of a published checkpoint, whole and unaltered.

    Args:
        name: `architecture.tag` of a registry, `hf-hub:org/name[@revision]`, or `local-dir:PATH`.
        registry: Directory of published checkpoints; default: `$SNNZOO_REGISTRY`, then those shipped with the code.
        dest: Copy it to this new directory.

    Raises:
        RegistryError: If it is not there, or a file is missing, altered, or of a kind that does not belong.
        FileExistsError: If dest exists.
    """
    path = download(name) if name.startswith("hf-hub:") else locate(name, registry)
    if path is None:
        known = list_models(pretrained=True, registry=registry)
        raise RegistryError(
            unknown("checkpoint", name, known) if known else f"No checkpoint {name!r}: the registry is empty."
        )
    check_files(path, foreign=name.startswith("hf-hub:"))
    if dest is None:
        return path
    if Path(dest).exists():
        raise FileExistsError(f"{dest} exists. Choose a new directory for the copy.")
    Path(dest).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=Path(dest).parent, prefix=".part-") as folder:
        shutil.copytree(path, Path(folder) / "copy")
        (Path(folder) / "copy").rename(dest)
    return Path(dest)


def download(name: str) -> Path:
    """Download a Hub repository, at one commit, into the Hub's cache."""
    repo, _, revision = name.removeprefix("hf-hub:").partition("@")
    try:
        # A branch may move between two files of one download: ask once for its commit.
        commit = HfApi().model_info(repo, revision=revision or None).sha
        return Path(snapshot_download(repo, revision=commit, allow_patterns=list(ALLOWED)))
    except Exception as error:  # see upload
        raise RegistryError(
            f"Could not pull {name}: {error}. Check the name (hf-hub:org/name[@revision]), the network, and for a private "
            "repository your token (`hf auth login`)."
        ) from error


def check_files(path: Path, foreign: bool = False) -> None:
    """Check the files of a published checkpoint against its manifest.

    Args:
        path: Its directory.
        foreign: Whether it may have been published by timm itself, without golden logits and manifest.

    Raises:
        RegistryError: If a file is missing, altered, or of a kind that does not belong; it is named.
    """
    if not path.is_dir():
        raise RegistryError(
            f"There is no checkpoint directory {path}. Check the name: `snnzoo list --pretrained true`."
        )
    present = {file.name for file in path.iterdir()}
    strange = sorted(present - set(ALLOWED))
    if strange:
        raise RegistryError(
            f"{path / strange[0]} does not belong in a published checkpoint. It may hold only {', '.join(ALLOWED)}; nothing "
            "pickled is read from a registry. Remove the file if you know it, else pull again."
        )
    required = ("config.json", "model.safetensors") if foreign and "manifest.json" not in present else REQUIRED
    missing = [file for file in required if file not in present]
    if missing:
        raise RegistryError(f"{path / missing[0]} is missing. Pull or publish the checkpoint again.")
    if "manifest.json" not in present:
        return
    listed = read_json(path / "manifest.json").get("files")
    if not isinstance(listed, dict) or set(listed) | {"manifest.json"} != present:
        raise RegistryError(f"{path / 'manifest.json'} does not list the files beside it. Pull or publish again.")
    for file, expected in listed.items():
        found = fingerprint(path / file)
        if found != expected:
            raise RegistryError(
                f"{path / file} was altered: the manifest says {expected}, found {found}. Pull or publish it again."
            )


def load_published(path: Path, **kwargs: Any) -> nn.Module:
    """Build a model from a checked directory; strict, from safetensors only, and only of a registered architecture."""
    config = read_json(path / "config.json")
    strange = sorted(set(config) - CONFIG_KEYS)
    architecture = str(config.get("architecture"))
    if not timm.is_model(architecture) or "." in architecture:
        raise RegistryError(
            f"{path / 'config.json'}: {unknown('architecture', architecture, timm.list_models(), see='')}"
        )
    if strange and (path / "manifest.json").exists():
        raise RegistryError(f"{path / 'config.json'} has unknown keys {strange}; known are {sorted(CONFIG_KEYS)}.")
    check_weights(path / "model.safetensors")
    try:
        model = timm.create_model(f"local-dir:{path}", pretrained=True, **kwargs)
    except (TypeError, RuntimeError, KeyError) as error:
        raise RegistryError(f"The weights or arguments in {path} do not fit {architecture}: {error}") from error
    model.model_args = {**config.get("model_args", {}), **kwargs}
    # The classes that these names belong to may just have been replaced.
    if model.num_classes != config.get("num_classes"):
        model.pretrained_cfg["label_names"] = None
    return model


def check_weights(path: Path) -> None:
    """Refuse a file that is not safetensors, by its name.

    Raises:
        RegistryError: If the header cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        raise RegistryError(f"{path} is not a safetensors file: {error}. Pull or publish it again.") from error


def verify(name: str, registry: str | Path | None = None) -> VerifyReport:
    """Pull a published checkpoint, rebuild it, and reproduce its golden logits.

    Another machine may round differently, and a rounding error that crosses a threshold is a spike more or less. So the
    logits must agree within 1e-3 of their largest value; on the machine that published them they agree to the bit.

    Raises:
        RegistryError: If a file is missing or altered, the logits differ, or a spiking layer is silent.
    """
    path = pull(name, registry)
    check_files(path)
    model = load_published(path).eval()
    golden = load_file(path / "golden.safetensors")
    x = model_input(model, golden["input"])
    with torch.no_grad():
        error = (model(x) - golden["logits"]).abs().max().item()
    allowed = 1e-3 * max(1.0, golden["logits"].abs().max().item())
    if not math.isfinite(error) or error > allowed:
        raise RegistryError(
            f"{name} does not give its golden logits: they differ by {error:.2e}, allowed are {allowed:.2e}. The weights "
            "do not belong to this code or these arguments; publish the run again."
        )
    silent = silent_layers(model, x)
    if silent:
        raise RegistryError(f"{name}: {', '.join(silent)} never fires on the golden input, so the check means nothing.")
    return VerifyReport(name, path, error, len(spiking_neurons(model)))


def golden_input(name: str, model: nn.Module, registry: str | Path | None = None) -> Tensor:
    """Images to measure a model on: those of its checkpoint or run, else standard normal noise [8, C, H, W]."""
    x = kept_images(run_directory(Path(name))) if Path(name).exists() else None
    path = None if x is not None else locate(name, registry)
    if path is not None and (path / "golden.safetensors").exists():
        x = load_file(path / "golden.safetensors")["input"]
    if x is None:
        x = torch.randn(8, *model.pretrained_cfg["input_size"], generator=torch.Generator().manual_seed(0))
    return model_input(model, x)


# Files ---------------------------------------------------------------------------------------------------------------


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and sha256 of a file."""
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        RegistryError: If the file holds anything else.
    """
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise RegistryError(f"{path} is not JSON: {error}. Pull or publish it again.") from error
    if not isinstance(record, dict):
        raise RegistryError(f"{path} must hold a JSON object, found {type(record).__name__}.")
    return record


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """A JSON object to a file."""
    path.write_text(json.dumps(record, indent=2) + "\n")
