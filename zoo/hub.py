"""Checkpoints: published to a registry, pulled back, verified.

A published checkpoint is a directory or a Hub repository of exactly these files:

    config.json           architecture, model_args, pretrained_cfg: timm's format, so timm can load it by itself
    model.safetensors     the weights; nothing pickled is ever read from a registry
    golden.safetensors    "input" [N, C, H, W] or [T, N, C, H, W] and the "logits" [N, K] it gives
    manifest.json         size and sha256 of every other file
    README.md             the card, written from measurements
    recipe.yaml           the recipe of the run (if it came from one)
    results.json          the measured numbers (if the run was tested)

A registry is a directory of such directories, named `architecture.tag`, or the Hub. `zoo/pretrained/` is the registry
shipped with the code. The manifest lies beside the files, so it shows damage, not a dishonest publisher: pin a Hub
repository by its commit (`hf-hub:org/name@sha`) if that matters.
"""

import copy
import hashlib
import inspect
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import timm
import torch
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from . import models
from .card import write_card
from .errors import unknown
from .model import Network, silent_layers, spiking_neurons
from .teacher import StillModel

EMBEDDED = Path(__file__).parent / "pretrained"
SOURCES = ("hf-hub:", "local-dir:")
REQUIRED = ("config.json", "model.safetensors", "golden.safetensors", "manifest.json")
ALLOWED = (*REQUIRED, "README.md", "recipe.yaml", "results.json")
CONFIG_KEYS = ("architecture", "num_classes", "num_features", "model_args", "pretrained_cfg")
# What a checkpoint must remember of timm's `pretrained_cfg`; sources (url, file) would be those of another machine.
CFG_KEYS = (
    *("input_size", "min_input_size", "fixed_input_size", "interpolation", "crop_pct", "mean", "std", "num_classes"),
    *("label_names", "first_conv", "classifier", "license", "paper_ids"),
)
TOLERANCE = 1e-4
ADVICE = (
    (GatedRepoError, "Ask for access on its page, then log in (`hf auth login`)."),
    (RevisionNotFoundError, "The repository has no such revision: check what follows the @."),
    (RepositoryNotFoundError, "Check the name (hf-hub:org/name); for a private repository log in (`hf auth login`)."),
    (OfflineModeIsEnabled, "Unset HF_HUB_OFFLINE."),
    (HfHubHTTPError, "Log in with a token that may do this (`hf auth login`)."),
    (Exception, "Check the network and HF_ENDPOINT, or use a local directory."),
)


class RegistryError(ValueError):
    """A published checkpoint is missing, incomplete or altered, or does not do what it did."""


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


def is_run(name: str) -> bool:
    """Whether a name is a run directory or a `.ckpt` file; an architecture is never shadowed by a directory."""
    return name.endswith(".ckpt") or (not timm.is_model(name) and Path(name).is_dir())


def create_model(name: str, pretrained: bool = False, registry: str | Path | None = None, **kwargs: Any) -> Network:
    """Create a model by name; in training mode, as timm does.

    Args:
        name: An architecture (ours or any of timm's), `architecture.tag`, `hf-hub:org/name[@revision]`,
            `local-dir:PATH`, a run directory or a `.ckpt` file of a run. The last four always load weights.
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
    if name.startswith(SOURCES) or (pretrained and name in published(registry)):
        return adapt(load_published(pull(name, registry)), **kwargs)
    if is_run(name):
        return adapt(load_run(name), **kwargs)
    try:
        return build(name, pretrained=pretrained, **kwargs)
    except RuntimeError as error:  # timm's: an unknown tag, or no weights
        known = ", ".join(list_models(pretrained=True, registry=registry)) or "none"
        raise ValueError(f"Cannot create {name!r}: {error} Published checkpoints: {known}.") from error


def build(architecture: str, pretrained: bool = False, **kwargs: Any) -> Network:
    """`timm.create_model` of a registered name, that remembers the arguments of the architecture in `model_args`."""
    if not timm.is_model(architecture):
        see = "`snnzoo list` shows ours, `timm.list_models()` all."
        raise ValueError(unknown("model", architecture, timm.list_models(), see=see))
    try:
        model: Network = timm.create_model(architecture, pretrained, **kwargs)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{architecture} does not take these arguments: {error}.") from error
    if not pretrained:
        model.pretrained_cfg["license"] = None  # timm gives that of the weights it did not load
    of_timm = inspect.signature(timm.create_model).parameters
    model.model_args = {key: value for key, value in kwargs.items() if key not in of_timm}
    return model


def describe(model: Network) -> dict[str, Any]:
    """What rebuilds a model made by `create_model`, as JSON values: architecture, model_args, pretrained_cfg.

    Raises:
        ValueError: If the model was not made by `create_model`, or an argument is no JSON value.
    """
    if not hasattr(model, "pretrained_cfg") or not hasattr(model, "model_args"):
        raise ValueError(f"{type(model).__name__} was not made by zoo.create_model, so nothing says how to rebuild it.")
    cfg = {key: model.pretrained_cfg[key] for key in CFG_KEYS if model.pretrained_cfg.get(key) is not None}
    args = dict(model.model_args)
    args["num_classes"] = cfg["num_classes"] = model.num_classes
    args["in_chans"] = getattr(model, "in_chans", args.get("in_chans", cfg["input_size"][0]))
    if hasattr(model, "num_steps"):
        args["num_steps"] = model.num_steps  # may have been changed at run time
    for key in {"input_size", "min_input_size"} & set(cfg):
        cfg[key] = (args["in_chans"], *cfg[key][1:])
    if len(cfg.get("label_names", ())) != model.num_classes:
        cfg.pop("label_names", None)  # of classes that were replaced
    record = {"architecture": model.pretrained_cfg["architecture"], "model_args": args, "pretrained_cfg": cfg}
    try:
        return json.loads(json.dumps(record))  # tuples become lists now, not at the next reading
    except TypeError as error:
        raise ValueError(
            f"config.json cannot hold an argument of this model: {error}. Give names and numbers."
        ) from error


# Weights -------------------------------------------------------------------------------------------------------------


def load_weights(model: Network, weights: Mapping[str, Tensor], source: str) -> None:
    """Load weights strictly; what does not fit is named tensor by tensor.

    Raises:
        RegistryError: If a tensor is missing, unknown, or of another shape.
    """
    found = {key: tuple(value.shape) for key, value in weights.items()}
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    wrong = [
        f"{key} is {found.get(key, 'missing')}, expected {expected.get(key, 'no such tensor')}"
        for key in sorted(found.keys() | expected.keys())
        if found.get(key) != expected.get(key)
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise RegistryError(
            f"{source} does not fit {type(model).__name__}: {'; '.join(wrong[:3])}{more}. The weights were written for "
            "another architecture or other arguments."
        )
    model.load_state_dict(dict(weights))


def adapt(exact: Network, **kwargs: Any) -> Network:
    """A model with its weights and other arguments; timm makes the new head and fits the first convolution.

    Raises:
        RegistryError: If the weights do not fit the arguments.
        ValueError: If an argument is unknown.
    """
    about = describe(exact)
    changes = {key: value for key, value in kwargs.items() if about["model_args"].get(key) != value}
    if not changes:
        return exact
    cfg, args = about["pretrained_cfg"], {**about["model_args"], **changes}
    trained = {"state_dict": exact.state_dict()}
    source = f"A checkpoint of {about['architecture']}, changed by {changes},"
    try:
        model = build(about["architecture"], pretrained=True, pretrained_cfg={**cfg, **trained}, **args)
    except RuntimeError as error:  # torch's, on a shape
        raise RegistryError(f"{source} does not fit its weights: {error}") from error
    model.pretrained_cfg.pop("state_dict", None)
    if "features_only" in changes:
        return model
    # With another head timm loads what it finds and leaves the rest untrained. Only these may be new:
    parts = [cfg.get(part) or () for part in ("classifier", "first_conv") if PART_OF[part] in changes]
    new = tuple(f"{name}." for part in parts for name in ([part] if isinstance(part, str) else part))
    weights = {key: value for key, value in exact.state_dict().items() if not key.startswith(new)}
    load_weights(model, weights | {k: v for k, v in model.state_dict().items() if k.startswith(new)}, source)
    return model


PART_OF = {"classifier": "num_classes", "first_conv": "in_chans"}


def load_published(path: Path) -> Network:
    """Build a model from a checked directory; strict, from safetensors only, and only of a registered architecture."""
    config = read_config(path)
    try:
        model: Network = timm.create_model(f"local-dir:{path}")  # as config.json says, still untrained
    except (TypeError, AttributeError, RuntimeError) as error:
        raise RegistryError(f"{path / 'config.json'} does not describe a {config['architecture']}: {error}") from error
    model.model_args = dict(config.get("model_args", {}))
    load_weights(model, read_tensors(path / "model.safetensors"), str(path))
    return model


def read_config(path: Path) -> dict[str, Any]:
    """The `config.json` of a directory, of which only what we write is accepted.

    Raises:
        RegistryError: If the architecture is not registered, or a key or the type of a value is not ours.
    """
    file = path / "config.json"
    config = read_json(file)
    architecture = str(config.get("architecture"))
    if not timm.is_model(architecture) or "." in architecture:
        see = "The registered ones: timm.list_models()."
        raise RegistryError(f"{file}: {unknown('architecture', architecture, timm.list_models(), see=see)}")
    args, cfg = config.get("model_args", {}), config.get("pretrained_cfg", {})
    if not isinstance(args, dict) or not isinstance(cfg, dict):
        raise RegistryError(f"{file}: model_args and pretrained_cfg must be JSON objects.")
    if (path / "manifest.json").exists():  # else timm wrote it, and has keys of its own
        strange = sorted({*config.keys() - CONFIG_KEYS, *cfg.keys() - CFG_KEYS})
        if strange:
            raise RegistryError(f"{file} has unknown keys {strange}; known are {[*CONFIG_KEYS, *CFG_KEYS]}.")
    return config


# Runs ----------------------------------------------------------------------------------------------------------------


def run_checkpoint(source: str | Path) -> Path:
    """The checkpoint file of a run: its best, else its last; a `.ckpt` file is itself.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = Path(source)
    options = [path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt")] if path.is_dir() else [path]
    found = next((option for option in options if option.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"{path} holds no run: there is no {' or '.join(map(str, options))}. Train it first; a published "
            f"checkpoint is named local-dir:{path}."
        )
    return found


def load_run(source: str | Path) -> Network:
    """The network of a run directory (its best checkpoint, else its last) or of a `.ckpt` file.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the file is not a checkpoint of one of our modules.
    """
    path = run_checkpoint(source)
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        about, weights = checkpoint["zoo"], checkpoint["state_dict"]
        prefix = about["prefix"]
        model = build(about["architecture"], **about["model_args"])
        model.pretrained_cfg.update(about["pretrained_cfg"])
    except (UnpicklingError, EOFError, RuntimeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a checkpoint of a run of this project, or is damaged: {error!r}") from error
    load_weights(model, {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}, str(path))
    return model


def run_file(source: str | Path, name: str) -> Path | None:
    """A file of the run that a run directory or a checkpoint file belongs to, if it is there."""
    folder = run_checkpoint(source).parent
    path = folder.parent / name
    return path if folder.name == "checkpoints" and path.is_file() else None


def run_results(source: str | Path) -> dict[str, Any]:
    """The numbers measured on a run's checkpoint; none for a checkpoint that `snnzoo test` does not take.

    Raises:
        ValueError: If the checkpoint was written after the test.
    """
    path, results = run_checkpoint(source), run_file(source, "results.json")
    if results is None or path != run_checkpoint(results.parent):
        return {}
    if results.stat().st_mtime < path.stat().st_mtime:
        raise ValueError(
            f"{results} is older than {path}, so it measures another network. Test again: "
            f"snnzoo test --config {results.parent / 'config.yaml'}."
        )
    return read_json(results)


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
            if recipe := run_file(source, "config.yaml"):
                shutil.copyfile(recipe, stage / "recipe.yaml")
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
    x = golden_images(model, x)
    with torch.no_grad():
        write_tensors(stage / "golden.safetensors", {"input": x, "logits": model(x)})
    if results:
        write_json(stage / "results.json", results)
    recipe = (stage / "recipe.yaml").exists()
    (stage / "README.md").write_text(write_card(name, config, results, recipe), encoding="utf-8")
    files = {path.name: fingerprint(path) for path in sorted(stage.iterdir())}
    write_json(stage / "manifest.json", {"files": files})


def kept_images(source: str | Path) -> Tensor | None:
    """The test images that a tested run kept, [T, N, C, H, W]."""
    path = run_file(source, "golden_input.safetensors")
    return read_tensors(path)["input"] if path else None


def golden_images(model: Network, x: Tensor | None) -> Tensor:
    """A golden input as the model takes it; standard normal noise [8, C, H, W], always the same, if there is none.

    A non-spiking model sees one image, of its own size, as `StillModel` shows it.
    """
    cfg = describe(model)["pretrained_cfg"]
    if x is None:
        return torch.randn(8, *cfg["input_size"], generator=torch.Generator().manual_seed(0))
    x = x.float().cpu()
    if x.ndim == 4 or spiking_neurons(model):
        return x
    return StillModel(model, {**cfg, "input_size": x.shape[2:]}).frame(x)


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
        name: `architecture.tag` of a registry, `hf-hub:org/name[@revision]`, or `local-dir:PATH`.
        registry: Directory of published checkpoints; default: as for `list_models`.
        dest: Copy it to this new directory.

    Raises:
        RegistryError: If it is not there, or a file is missing, altered, or of a kind that does not belong.
        FileExistsError: If dest exists.
    """
    known = {} if name.startswith(SOURCES) else published(registry)
    source = known.get(name, name)
    if not source.startswith(SOURCES):
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


def golden_input(name: str, model: Network, registry: str | Path | None = None) -> Tensor:
    """Images to measure a model on: those of its checkpoint or run, else standard normal noise [8, C, H, W].

    Raises:
        RegistryError: If a published checkpoint is missing, incomplete or altered.
        FileNotFoundError: If a run has no checkpoint.
    """
    x = None
    if name.startswith(SOURCES) or name in published(registry):
        path = pull(name, registry) / "golden.safetensors"
        x = read_tensors(path)["input"] if path.exists() else None
    elif is_run(name):
        x = kept_images(name)
    return golden_images(model, x)


# Files ---------------------------------------------------------------------------------------------------------------


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and sha256 of a file."""
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        RegistryError: If it is none, whatever its name.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise RegistryError(f"{path} is not a safetensors file: {error}. Pull or publish it again.") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Tensors to a safetensors file, without sharing; `save_file` would let only the owner read it."""
    path.write_bytes(save({key: value.detach().clone().contiguous() for key, value in tensors.items()}))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        RegistryError: If the file holds anything else.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RegistryError(f"{path} is not JSON: {error}. Pull or publish it again.") from error
    if not isinstance(record, dict):
        raise RegistryError(f"{path} must hold a JSON object, found {type(record).__name__}.")
    return record


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """A JSON object to a file."""
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
