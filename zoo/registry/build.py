"""A network from its description: what rebuilds a model, from a published directory, and with other arguments.

Weights are loaded strictly: every tensor fits, and nothing that is pickled is read.
"""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from ..errors import unknown
from ..extensions import is_registered
from ..model import Network, SpikingModel, spiking_neurons
from ..sequence import SequenceKind
from ..teacher import StillModel, kind_of
from .files import RegistryError, read_json, read_tensors

CONFIG_KEYS = ("architecture", "num_classes", "num_features", "sequence_ndim", "model_args", "pretrained_cfg")
# What a checkpoint must remember of timm's `pretrained_cfg`; sources (url, file) would be those of another machine.
CFG_KEYS = (
    *("input_size", "min_input_size", "fixed_input_size", "interpolation", "crop_pct", "mean", "std", "num_classes"),
    *("label_names", "first_conv", "classifier", "license", "paper_ids"),
)
PART_OF = {"classifier": "num_classes", "first_conv": "in_chans"}


# Networks -------------------------------------------------------------------------------------------------------------


def build(architecture: str, pretrained: bool = False, **kwargs: Any) -> Network:
    """`timm.create_model` of a registered name; the model keeps the arguments of the architecture in `model_args`.

    Raises:
        ValueError: If the name or an argument is unknown.
        RuntimeError: timm's, if it has no such weights.
    """
    check_architecture(architecture)
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


def check_architecture(name: str) -> None:
    """Refuse a name that timm's registry lacks, with the closest ones (ValueError)."""
    if not is_registered(name):
        see = "`snnzoo list` shows ours, `timm.list_models()` all."
        raise ValueError(unknown("model", name, timm.list_models(), see=see))


def describe(model: Network) -> dict[str, Any]:
    """What rebuilds a model made by `create_model`, as JSON values, and how many axes a sequence of its input has.

    Raises:
        ValueError: If the model was not made by `create_model`, or an argument is no JSON value.
    """
    if not hasattr(model, "pretrained_cfg") or not hasattr(model, "model_args"):
        raise ValueError(
            f"model: expected one made by zoo.create_model, found a {type(model).__name__} that was not. Create it by "
            "name, so that it can be rebuilt."
        )
    cfg = {key: model.pretrained_cfg[key] for key in CFG_KEYS if model.pretrained_cfg.get(key) is not None}
    args = dict(model.model_args)
    args["num_classes"] = cfg["num_classes"] = model.num_classes
    args["in_chans"] = getattr(model, "in_chans", args.get("in_chans", cfg["input_size"][0]))
    if isinstance(model, SpikingModel):
        args["num_steps"] = model.num_steps  # may have been changed at run time
    for key in {"input_size", "min_input_size"} & set(cfg):
        cfg[key] = (args["in_chans"], *cfg[key][1:])
    if len(cfg.get("label_names", ())) != model.num_classes:
        cfg.pop("label_names", None)  # of classes that were replaced
    record = {"architecture": model.pretrained_cfg["architecture"], "model_args": args, "pretrained_cfg": cfg}
    record["sequence_ndim"] = int(kind_of(model))
    try:
        return json.loads(json.dumps(record))  # tuples become lists now, not at the next reading
    except TypeError as error:
        raise ValueError(
            f"arguments of the model: expected names and numbers, which config.json can hold, found that {error}."
        ) from error


def load_weights(model: Network, weights: Mapping[str, Tensor], source: str) -> None:
    """Load weights strictly; a tensor that is missing, unknown or of another shape is named (RegistryError)."""
    found = {key: tuple(value.shape) for key, value in weights.items()}
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    wrong = [
        f"{key}: expected {expected.get(key, 'no such tensor')}, found {found.get(key, 'none')}"
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
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RuntimeError) as error:
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
    if "." in architecture or not is_registered(architecture):
        see = "`snnzoo list` shows those that are registered. Import or install the package of another one first."
        raise RegistryError(f"{file}: {unknown('architecture', architecture, timm.list_models(), see=see)}")
    args, cfg = config.get("model_args", {}), config.get("pretrained_cfg", {})
    if not isinstance(args, dict) or not isinstance(cfg, dict):
        raise RegistryError(
            f"{file}: model_args and pretrained_cfg: expected JSON objects, found {type(args).__name__} and "
            f"{type(cfg).__name__}. Pull or publish again."
        )
    if (path / "manifest.json").exists():  # else timm wrote it, and has keys of its own
        strange = sorted({*config.keys() - CONFIG_KEYS, *cfg.keys() - CFG_KEYS})
        if strange:
            known = ", ".join(sorted({*CONFIG_KEYS, *CFG_KEYS}))
            raise RegistryError(f"{file}: expected only the keys {known}, found {', '.join(strange)}.")
    return config


# Inputs ---------------------------------------------------------------------------------------------------------------


def noise_input(model: Network) -> Tensor:
    """Noise of the size that a model takes, always the same, 8 samples; see `SequenceKind.noise`."""
    about = describe(model)
    steps, draw = about["model_args"].get("num_steps", 1), torch.Generator().manual_seed(0)
    return SequenceKind(about["sequence_ndim"]).noise(about["pretrained_cfg"]["input_size"], 8, steps, draw)


def as_model_input(model: Network, x: Tensor) -> Tensor:
    """Test images [T, N, C, H, W] as a model takes them; a non-spiking one takes the frame of `StillModel`."""
    x = (x.float() if x.is_floating_point() else x).cpu()  # tokens are whole numbers
    if x.ndim == 4 or spiking_neurons(model):
        return x
    return StillModel(model, {**describe(model)["pretrained_cfg"], "input_size": x.shape[2:]}).frame(x)
