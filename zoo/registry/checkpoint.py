"""A network and its weights as files: what rebuilds a model, runs, and the files of a published checkpoint.

Three things hold the weights of a network, and all three are read strictly and without running anything that is
pickled: the `.ckpt` files of a run, a published directory (`config.json` and `model.safetensors`; see
`zoo.registry.hub`), and the state dict of a model that is to have another head or other arguments (`adapt`).
"""

import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ..errors import unknown
from ..model import Network, SpikingModel, spiking_neurons
from ..teacher import StillModel

CONFIG_KEYS = ("architecture", "num_classes", "num_features", "sequence_ndim", "model_args", "pretrained_cfg")
# What a checkpoint must remember of timm's `pretrained_cfg`; sources (url, file) would be those of another machine.
CFG_KEYS = (
    *("input_size", "min_input_size", "fixed_input_size", "interpolation", "crop_pct", "mean", "std", "num_classes"),
    *("label_names", "first_conv", "classifier", "license", "paper_ids"),
)
PART_OF = {"classifier": "num_classes", "first_conv": "in_chans"}


class RegistryError(ValueError):
    """A published checkpoint is missing, incomplete or altered, or does not do what it did."""


# Networks -------------------------------------------------------------------------------------------------------------


def build(architecture: str, pretrained: bool = False, **kwargs: Any) -> Network:
    """`timm.create_model` of a registered name, that remembers the arguments of the architecture in `model_args`."""
    if not timm.is_model(architecture):
        see = "`snnzoo list` shows ours, `timm.list_models()` all."
        raise ValueError(unknown("model", architecture, timm.list_models(), see=see))
    try:
        model: Network = timm.create_model(architecture, pretrained, **kwargs)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{architecture} does not take these arguments: {error}.") from error
    if isinstance(model, SpikingModel) and model.img_size:
        for key in ("input_size", "min_input_size"):
            model.pretrained_cfg[key] = (model.pretrained_cfg[key][0], *model.img_size)
    if not pretrained:
        model.pretrained_cfg["license"] = None  # timm gives that of the weights it did not load
    of_timm = inspect.signature(timm.create_model).parameters
    model.model_args = {key: value for key, value in kwargs.items() if key not in of_timm}
    return model


def describe(model: Network) -> dict[str, Any]:
    """What rebuilds a model made by `create_model`, as JSON values, and how many axes a sequence of its input has.

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
    record["sequence_ndim"] = getattr(model, "sequence_ndim", 5)
    try:
        return json.loads(json.dumps(record))  # tuples become lists now, not at the next reading
    except TypeError as error:
        raise ValueError(
            f"config.json cannot hold an argument of this model: {error}. Give names and numbers."
        ) from error


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


# Runs -----------------------------------------------------------------------------------------------------------------


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
        ValueError: If they were measured on other weights.
    """
    path, file = run_checkpoint(source), run_file(source, "results.json")
    if file is None or path != run_checkpoint(file.parent):
        return {}
    results = read_json(file)
    if results.get("checkpoint") != fingerprint(path):
        raise ValueError(
            f"{file} was not measured on {path}, so it tells of another network. Test again: "
            f"snnzoo test --config {file.parent / 'config.yaml'}."
        )
    return results


def run_conversion(source: str | Path) -> dict[str, Any]:
    """How `snnzoo convert` made the weights of a run: its `conversion.json` without the layers; empty if it did not."""
    file = run_file(source, "conversion.json")
    record = read_json(file) if file else {}
    if record.pop("checkpoint", None) != fingerprint(run_checkpoint(source)):
        return {}
    return {key: value for key, value in record.items() if key != "layers"}


def kept_images(source: str | Path) -> Tensor | None:
    """The test images that a tested run kept, [T, N, C, H, W]."""
    path = run_file(source, "golden_input.safetensors")
    return read_tensors(path)["input"] if path else None


def noise_input(model: Network) -> Tensor:
    """Noise of the size that a model takes, always the same, 8 samples.

    Normal images [8, C, H, W], uniform event clouds [8, P, 3], spikes [T, 8, F], or tokens [T, 8]. In `pretrained_cfg`,
    "input_size" of a cloud is (3, P, 1), of spike trains (F, 1, 1), of tokens (V, T, 1): timm insists on three numbers.
    """
    chans, height, width = describe(model)["pretrained_cfg"]["input_size"]
    draw, kind = torch.Generator().manual_seed(0), getattr(model, "sequence_ndim", 5)
    if kind == 2:
        return torch.randint(chans, (height, 8), generator=draw)
    if kind == 3:
        return (torch.rand(model.num_steps, 8, chans, generator=draw) < 0.1).float()
    if kind == 4:
        return torch.rand(8, height, chans, generator=draw)
    return torch.randn(8, chans, height, width, generator=draw)


def as_shown(model: Network, x: Tensor) -> Tensor:
    """Kept images as a model takes them: a non-spiking one sees one, of its own size, as `StillModel` shows it."""
    x = (x.float() if x.is_floating_point() else x).cpu()  # tokens are whole numbers
    if x.ndim == 4 or spiking_neurons(model):
        return x
    return StillModel(model, {**describe(model)["pretrained_cfg"], "input_size": x.shape[2:]}).frame(x)


# Files ----------------------------------------------------------------------------------------------------------------


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
