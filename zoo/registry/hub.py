"""Checkpoints: published to a registry, pulled back, verified.

A published checkpoint is a directory or a Hub repository of exactly these files:

    config.json           architecture, model_args, pretrained_cfg: timm's format, so timm can load it by itself
    model.safetensors     the weights; nothing pickled is ever read from a registry
    golden.safetensors    "input" [N, C, H, W] or [T, N, C, H, W] and the "logits" [N, K] it gives
    manifest.json         size and sha256 of every other file
    README.md             the card, written from measurements
    recipe.yaml           the recipe of the run (if it came from one); of a converted student, the recipe of its twin
    results.json          the measured numbers (if the run was tested); of a converted student, also its conversion

A registry is a directory of such directories, named `architecture.tag`, or the Hub. `zoo/pretrained/` is the registry
shipped with the code. The manifest lies beside the files, so it shows damage, not a dishonest publisher: pin a Hub
repository by its commit (`hf-hub:org/name@sha`) if that matters.
"""

import copy
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
import yaml
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from torch import Tensor, nn

from .. import models
from ..errors import unknown
from ..model import Network, silent_layers, spiking_neurons
from .card import write_card
from .checkpoint import (
    CONFIG_KEYS,
    RegistryError,
    adapt,
    as_shown,
    build,
    describe,
    fingerprint,
    kept_images,
    load_published,
    load_run,
    noise_input,
    read_json,
    read_tensors,
    run_conversion,
    run_file,
    run_results,
    write_json,
    write_tensors,
)

EMBEDDED = Path(__file__).parents[1] / "pretrained"
SOURCES = ("hf-hub:", "local-dir:")
REQUIRED = ("config.json", "model.safetensors", "golden.safetensors", "manifest.json")
ALLOWED = (*REQUIRED, "README.md", "recipe.yaml", "results.json")
TOLERANCE = 1e-4
ADVICE = (
    (GatedRepoError, "Ask for access on its page, then log in (`hf auth login`)."),
    (RevisionNotFoundError, "The repository has no such revision: check what follows the @."),
    (RepositoryNotFoundError, "Check the name (hf-hub:org/name); for a private repository log in (`hf auth login`)."),
    (OfflineModeIsEnabled, "Unset HF_HUB_OFFLINE."),
    (HfHubHTTPError, "Log in with a token that may do this (`hf auth login`)."),
    (Exception, "Check the network and HF_ENDPOINT, or use a local directory."),
)


@dataclass(frozen=True)
class VerifyReport:
    """A published checkpoint that passed every check.

    Attributes:
        name: As asked for.
        path: Its directory.
        num_samples: Number of golden samples.
        reproduced: How many of them give their golden logits; see `verify`.
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


# Names ---------------------------------------------------------------------------------------------------------------


def list_models(filter: str = "*", pretrained: bool = False, registry: str | Path | None = None) -> list[str]:
    """Names of the zoo's own models, or of the checkpoints that `pull` finds.

    Args:
        filter: Shell pattern, such as "sew_*".
        pretrained: List checkpoints instead of architectures.
        registry: Directory of published checkpoints; default: `$SNNZOO_REGISTRY`, then those shipped with the code and
            those on the Hub that our architectures name.

    Raises:
        RegistryError: If the registry does not exist.
    """
    if pretrained:
        return sorted(name for name in published(registry) if fnmatch(name, filter))
    return sorted(name for module in models.__all__ for name in timm.list_models(filter, module=module))


def published(registry: str | Path | None = None) -> dict[str, str]:
    """Where each checkpoint with a plain name is: name -> `local-dir:PATH` or `hf-hub:org/name`.

    Raises:
        RegistryError: If a directory that was asked for does not exist.
    """
    asked = registry or os.environ.get("SNNZOO_REGISTRY")
    if asked and not Path(asked).is_dir():
        raise RegistryError(
            f"There is no registry directory {asked}. Publish to it first: snnzoo publish RUN {asked}/ARCHITECTURE.TAG."
        )
    found: dict[str, str] = {}
    if not registry:
        rows = (row for module in models.__all__ for row in timm.list_models(module=module, pretrained=True))
        found = {row: f"hf-hub:{timm.get_pretrained_cfg_value(row, 'hf_hub_id')}" for row in rows}
    for root in ([] if registry else [EMBEDDED]) + ([Path(asked)] if asked else []):  # later ones win
        found |= {path.name: f"local-dir:{path}" for path in root.glob("[!._]*.*") if path.is_dir()}
    return found


def is_source(name: str) -> bool:
    """Whether a name says by itself where a published checkpoint is: `hf-hub:`, `local-dir:`, or its directory."""
    return name.startswith(SOURCES) or (not timm.is_model(name) and (Path(name) / "manifest.json").is_file())


def is_run(name: str) -> bool:
    """Whether a name is a run directory or a `.ckpt` file; an architecture is never shadowed by a directory."""
    return name.endswith(".ckpt") or (not timm.is_model(name) and Path(name).is_dir())


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
    kwargs = {key: value for key, value in kwargs.items() if value is not None}
    if is_source(name) or (pretrained and name in published(registry)):
        return adapt(load_published(pull(name, registry)), **kwargs)
    if is_run(name):
        return adapt(load_run(name), **kwargs)
    try:
        return build(name, pretrained=pretrained, **kwargs)
    except RuntimeError as error:  # timm's: an unknown tag, or no weights
        known = ", ".join(list_models(pretrained=True, registry=registry)) or "none"
        raise ValueError(f"Cannot create {name!r}: {error} Published checkpoints: {known}.") from error


# Publish -------------------------------------------------------------------------------------------------------------


def publish(
    source: str | Path | nn.Module,
    target: str | Path,
    golden_input: Tensor | None = None,
    results: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    license: str | None = None,
) -> str:
    """Publish a model with its card, so that it can be pulled, verified and fine-tuned by name.

    Everything is written under a temporary name and verified there. Only then does it appear, at once; a failure
    before that leaves a checkpoint that is already there as it was.

    Args:
        source: A run directory, a `.ckpt` file of a run, or a model made by `create_model` (which is left as it is).
        target: `REGISTRY_DIR/architecture.tag`, or `hf-hub:org/name`.
        golden_input: Input [N, C, H, W] or [T, N, C, H, W] that is stored with its logits; default: the test images
            that the run kept, else standard normal noise.
        results: Measured numbers for `results.json` and the card; default: those of the run.
        overwrite: Replace a checkpoint that is already there.
        license: Licence of the weights; default: that of the weights they were trained from, if any.

    Returns:
        Where it was published.

    Raises:
        ValueError: If the target is not named after the architecture, a spiking layer is silent on the golden input (a
            check of outputs would see nothing), a weight is not finite, or the results are not those of the weights.
        FileExistsError: If the target exists and overwrite is False.
        RegistryError: If what was written does not give the same logits again, or the Hub refuses.
    """
    name = str(target).removeprefix("hf-hub:")
    to_hub = name != str(target)
    model: Network
    if isinstance(source, nn.Module):
        model = copy.deepcopy(source).cpu().float().eval()
    else:
        model = load_run(source).eval()
        results = run_results(source) if results is None else results
    architecture = describe(model)["architecture"]
    if not to_hub:
        name = Path(target).name
        if not name.startswith(f"{architecture}.") or name.endswith("."):
            raise ValueError(f"{name} is a {architecture}: call it {architecture}.TAG, such as {architecture}.mine.")
        if Path(target).exists() and not overwrite:
            raise FileExistsError(f"{target} is already published. Replace it: overwrite=True (--overwrite true).")
    parent = Path(tempfile.gettempdir()) if to_hub else Path(target).parent
    parent.mkdir(parents=True, exist_ok=True)
    model.pretrained_cfg["license"] = license or model.pretrained_cfg.get("license")
    with tempfile.TemporaryDirectory(dir=parent, prefix=".part-") as folder:
        stage = Path(folder) / "checkpoint"
        stage.mkdir()
        if not isinstance(source, nn.Module):
            golden_input = kept_images(source) if golden_input is None else golden_input
            if conversion := run_conversion(source):
                write_recipe(conversion.pop("recipe"), stage / "recipe.yaml")
                conversion["source"] = Path(conversion["source"]).name
                results = {**(results or {}), "conversion": without_folders(conversion)}
            elif file := run_file(source, "config.yaml"):
                write_recipe(yaml.safe_load(file.read_text(encoding="utf-8")), stage / "recipe.yaml")
        write_checkpoint(model, stage, name, golden_input, dict(results or {}))
        check_outputs(name, stage)
        if to_hub:
            return upload(stage, name, overwrite)
        replace_directory(stage, Path(target))
    return str(target)


def write_checkpoint(model: Network, stage: Path, name: str, x: Tensor | None, results: dict[str, Any]) -> None:
    """Write every file of a published checkpoint but the recipe; see `publish`."""
    about = describe(model)
    config = {**about, "num_classes": model.num_classes, "num_features": model.num_features}
    write_json(stage / "config.json", {key: config[key] for key in CONFIG_KEYS})
    write_tensors(stage / "model.safetensors", model.state_dict())
    x = noise_input(model) if x is None else as_shown(model, x)
    with torch.no_grad():
        write_tensors(stage / "golden.safetensors", {"input": x, "logits": model(x)})
    if results:
        write_json(stage / "results.json", results)
    recipe = (stage / "recipe.yaml").exists()
    (stage / "README.md").write_text(write_card(name, config, results, recipe), encoding="utf-8")
    files = {path.name: fingerprint(path) for path in sorted(stage.iterdir())}
    write_json(stage / "manifest.json", {"files": files})


def write_recipe(recipe: Mapping[str, Any], target: Path) -> None:
    """Write the recipe of a run, absolute paths in it reduced to their last part."""
    target.write_text(yaml.safe_dump(without_folders(recipe), sort_keys=False), encoding="utf-8")


def without_folders(value: Any) -> Any:
    """A value of a recipe, absolute paths in it reduced to their last part."""
    if isinstance(value, dict):
        return {key: without_folders(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_folders(entry) for entry in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def replace_directory(new: Path, target: Path) -> None:
    """Move a finished directory to its name; an older one there goes only when the new one is in place."""
    if not target.exists():
        new.rename(target)
        return
    old = new.parent / "old"
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise


def upload(stage: Path, repo: str, overwrite: bool) -> str:
    """Upload a staged checkpoint to the Hub, in one commit; returns its address.

    Raises:
        FileExistsError: If the repository holds a model and overwrite is False.
        RegistryError: If the Hub refuses or cannot be reached.
    """
    if constants.ENDPOINT.rstrip("/") != "https://huggingface.co":
        constants.HF_HUB_DISABLE_XET = True  # another Hub server cannot ask for plain uploads, the client must offer
    api = HfApi()
    with advice(f"publish to hf-hub:{repo}"):
        taken = not overwrite and api.file_exists(repo, "model.safetensors")
    if taken:
        raise FileExistsError(f"hf-hub:{repo} already holds a model. Replace it: overwrite=True (--overwrite true).")
    with advice(f"publish to hf-hub:{repo}"):
        api.create_repo(repo, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=stage,
            allow_patterns=list(ALLOWED),
            delete_patterns=list(ALLOWED),  # of an older version: the manifest does not list them
            commit_message="Publish with snnzoo",
        )
    return str(commit.commit_url)


@contextmanager
def advice(action: str) -> Iterator[None]:
    """Say what to do about an error of the Hub's client."""
    try:
        yield
    except Exception as error:  # HTTP, connection and transfer errors of several libraries, without a common base
        todo = next(text for kind, text in ADVICE if isinstance(error, kind))
        raise RegistryError(f"Could not {action}: {type(error).__name__}: {error}. {todo}") from error


# Pull and verify -----------------------------------------------------------------------------------------------------


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
    known = {} if is_source(name) else published(registry)
    source = known.get(name, name)
    if not is_source(source):
        if name and Path(name).is_dir():
            raise RegistryError(
                f"{name} is no published checkpoint: it has no manifest.json. Of a run, publish one: snnzoo publish "
                f"{name} REGISTRY/ARCHITECTURE.TAG. Of a registry, name one: ARCHITECTURE.TAG --registry {name}."
            )
        raise RegistryError(
            unknown("checkpoint", name, known) if known else f"No checkpoint {name!r}: the registry is empty."
        )
    hub = source.startswith("hf-hub:")
    path = download(source) if hub else Path(source.removeprefix("local-dir:"))
    check_files(path, foreign=hub)
    if dest is None:
        return path
    dest = Path(dest)
    if dest.exists():
        raise FileExistsError(f"{dest} exists. Choose a new directory for the copy.")
    dest.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dest.parent, prefix=".part-") as folder:
        shutil.copytree(path, Path(folder) / "copy")
        check_files(Path(folder) / "copy", foreign=hub)
        (Path(folder) / "copy").rename(dest)
    return dest


def download(name: str) -> Path:
    """Download a Hub repository into the Hub's cache, or find it there.

    `snapshot_download` asks once for the commit of the revision and takes every file from that commit.
    """
    repo, _, revision = name.removeprefix("hf-hub:").partition("@")
    with advice(f"pull {name}"):
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=list(ALLOWED)))


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
            f"{path / strange[0]} does not belong in a published checkpoint. It may hold only {', '.join(ALLOWED)}; "
            "nothing pickled is read from a registry. Remove the file if you know it, else pull again."
        )
    foreign = foreign and "manifest.json" not in present
    missing = [file for file in (REQUIRED[:2] if foreign else REQUIRED) if file not in present]
    if missing:
        raise RegistryError(f"{path / missing[0]} is missing. Pull or publish the checkpoint again.")
    if foreign:
        return
    listed = read_json(path / "manifest.json").get("files")
    if not isinstance(listed, dict) or {*listed, "manifest.json"} != present:
        raise RegistryError(f"{path / 'manifest.json'} does not list the files beside it. Pull or publish again.")
    for file, expected in listed.items():
        found = fingerprint(path / file)
        if found != expected:
            raise RegistryError(
                f"{path / file} was altered: the manifest says {expected}, found {found}. Pull or publish it again."
            )


def verify(name: str, registry: str | Path | None = None) -> VerifyReport:
    """Pull a published checkpoint, rebuild it, and reproduce its golden logits.

    A sample is reproduced if its logits agree within 1e-4 (of the largest logit, if that is above 1). Where it was
    published every sample is, to the bit. Another machine rounds differently, and where that carries one potential over
    its threshold, one spike more or less runs on through the net: in our trials that changed 20 % of the logits of one
    sample, and nothing in the others. Wrong weights or arguments change all. So half of the samples must be reproduced.

    Args:
        name: As for `pull`.
        registry: As for `pull`.

    Raises:
        RegistryError: If a file is missing or altered, a weight is not finite, the logits differ, or a spiking layer is
            silent.
    """
    path = pull(name, registry)
    check_files(path)  # a checkpoint without golden logits can be pulled, not verified
    return check_outputs(name, path)


def check_outputs(name: str, path: Path) -> VerifyReport:
    """Rebuild a checkpoint from its files and compare what it gives; see `verify`."""
    model = load_published(path).eval()
    bad = [key for key, value in model.state_dict().items() if not value.isfinite().all()]
    if bad:
        raise RegistryError(f"{name}: {', '.join(bad[:3])} holds values that are not finite. Train again.")
    golden = read_tensors(path / "golden.safetensors")
    if golden.keys() != {"input", "logits"}:
        raise RegistryError(f"{path / 'golden.safetensors'} must hold input and logits, found {sorted(golden)}.")
    x, logits = golden["input"], golden["logits"]
    silent = silent_layers(model, x)
    if silent:
        raise RegistryError(
            f"{name}: {', '.join(silent)} never fires on the golden input, so no check of its outputs would mean "
            "anything. Train longer, lower v_threshold, or give a golden input of real data."
        )
    with torch.no_grad():
        found = model(x)
    if found.shape != logits.shape:
        raise RegistryError(f"{name} gives logits {list(found.shape)}, but its golden logits are {list(logits.shape)}.")
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


def golden_input(name: str, model: Network, registry: str | Path | None = None) -> Tensor | None:
    """Images to measure a model on, [N, C, H, W] or [T, N, C, H, W]: those of its checkpoint or of its tested run.

    Raises:
        RegistryError: If a published checkpoint is missing, incomplete or altered.
        FileNotFoundError: If a run has no checkpoint.
    """
    x = None
    if is_source(name) or name in published(registry):
        path = pull(name, registry) / "golden.safetensors"
        x = read_tensors(path)["input"] if path.exists() else None
    elif is_run(name):
        x = kept_images(name)
    return None if x is None else as_shown(model, x)


def recorded_results(name: str, registry: str | Path | None = None) -> dict[str, Any]:
    """The numbers that were measured on a checkpoint or on a tested run; none if there are none.

    Raises:
        RegistryError: If a published checkpoint is missing, incomplete or altered.
        FileNotFoundError: If a run has no checkpoint.
        ValueError: If the numbers of a run were measured on other weights.
    """
    if is_source(name) or name in published(registry):
        path = pull(name, registry) / "results.json"
        return read_json(path) if path.exists() else {}
    return run_results(name) if is_run(name) else {}


def recorded_recipe(name: str, registry: str | Path | None = None) -> dict[str, Any]:
    """The recipe of a published checkpoint or of a run; empty if it came from none.

    Raises:
        RegistryError: If a published checkpoint is missing, incomplete or altered.
    """
    if is_source(name) or name in published(registry):
        recipe: Path | None = pull(name, registry) / "recipe.yaml"
    else:
        recipe = run_file(name, "config.yaml") if is_run(name) else None
    return yaml.safe_load(recipe.read_text(encoding="utf-8")) if recipe and recipe.exists() else {}
