"""The networks of a module, made for the data: the one that is trained, and its teacher."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

import zoo
from zoo.data_info import DataInfo
from zoo.model import Network, SequenceModel, SpikingModel
from zoo.neurons import has_activations
from zoo.teacher import Frames, LogitsModel, StillModel, kind_of


def read_info(
    input_cfg: Mapping[str, Any] | None, num_classes: int | None, in_chans: int | None
) -> tuple[DataInfo | None, int | None, int | None]:
    """The facts about the data, and the classes and channels: those that are given, else those of the data.

    Raises:
        ValueError: If the data have others than those that are given, or input_cfg is no `DataInfo`.
    """
    if input_cfg is None:
        return None, num_classes, in_chans
    info = DataInfo.from_dict(input_cfg)
    for name, given, found in (
        ("num_classes", num_classes, info.num_classes),
        ("in_chans", in_chans, info.in_chans),
    ):
        if given is not None and found is not None and given != found:
            raise ValueError(f"{name}: expected {found}, as the data have, found {given}. Leave it out.")
    classes = info.num_classes if num_classes is None else num_classes
    return info, classes, info.in_chans if in_chans is None else in_chans


def make_network(
    model: str | nn.Module,
    model_args: Mapping[str, Any] | None,
    pretrained: bool,
    num_classes: int | None,
    in_chans: int | None,
    info: DataInfo | None,
    input_size: int | None = None,
    frames: Frames = "mean",
) -> SequenceModel:
    """A network for the data: a student as it is, any other model read as a sequence.

    Args:
        model: A name, see `zoo.create_model`, or a module, which is used as it is.
        model_args: Further arguments of the architecture.
        pretrained: Whether to start from published weights.
        num_classes: Classes of the data; None for those of the model.
        in_chans: Channels of the data; None for those of the model.
        info: The facts about the data; None if the data come as the model takes them.
        input_size: Side in pixels that a non-spiking network sees; default: that of the data, or the native one of
            pretrained weights.
        frames: What a non-spiking network reads of a sequence; see `StillModel`.

    Raises:
        ValueError: If the name or an argument is unknown, the network cannot take the data, or it is an ANN twin that
            would do the same at several steps.
    """
    if isinstance(model, nn.Module):
        return given_network(model, model_args, pretrained, num_classes, in_chans, info, frames)
    network = zoo.create_model(
        model, pretrained=pretrained, num_classes=num_classes, in_chans=in_chans, **(model_args or {})
    )
    if info is not None:
        check_input(model, network, info)
    if isinstance(network, SpikingModel):
        if input_size is not None:
            raise ValueError(f"input_size is for non-spiking models; {model} takes the data as it is. Leave it out.")
        return fit_student(model, network, info)
    fit_statistics(network, pretrained, info, input_size)
    return StillModel(network, info.model_cfg() if info else native_cfg(network), frames)


def fit_student(name: str, model: SpikingModel, info: DataInfo | None) -> SpikingModel:
    """A student that carries the statistics of the data, with the steps of sequences.

    Raises:
        ValueError: If it is an ANN twin that would do the same at several steps.
    """
    steps = info.num_steps if info else None  # of sequences, whatever a still image is shown
    if has_activations(model) and model.num_steps > 1 and steps is None:
        raise ValueError(
            f"{name} with activations (an ANN twin) gives the same at every step: expected num_steps 1, found "
            f"{model.num_steps}. Add num_steps: 1 to the arguments of the model."
        )
    if info:
        model.pretrained_cfg.update(info.model_cfg())
    model.num_steps = steps or model.num_steps
    return model


def fit_statistics(model: Network, pretrained: bool, info: DataInfo | None, input_size: int | None) -> None:
    """Write the statistics of the data into the cfg of a new timm model; those of pretrained weights stay."""
    cfg = model.pretrained_cfg
    known = info.model_cfg() if info else {}
    cfg["label_names"] = known.get("label_names")
    if not pretrained:
        cfg.update(known)
    elif info and len(cfg["mean"]) != (chans := info.input_size[0]):
        for key in ("mean", "std"):  # timm summed the first weights over the channels
            cfg[key] = (sum(cfg[key]) / len(cfg[key]),) * chans
        cfg["input_size"] = (chans, *cfg["input_size"][1:])
    if input_size is not None:
        cfg["input_size"] = (cfg["input_size"][0], input_size, input_size)


def given_network(
    model: nn.Module,
    model_args: Mapping[str, Any] | None,
    pretrained: bool,
    num_classes: int | None,
    in_chans: int | None,
    info: DataInfo | None,
    frames: Frames = "mean",
) -> SequenceModel:
    """A module as a network: a student as it is, a timm model or any other module of images as a `StillModel`.

    Raises:
        ValueError: If arguments for a model that is still to be made are given, or the classes differ.
    """
    kind = type(model).__name__
    if model_args or pretrained:
        raise ValueError(f"Expected a name, to which arguments and pretrained apply, found a {kind}. Leave them out.")
    network: Any = model
    if not hasattr(model, "forward_intermediates") or not hasattr(model, "forward_head"):
        if num_classes is None:
            raise ValueError(f"num_classes: expected an integer, because a {kind} states none, found None. Add it.")
        network = LogitsModel(model, num_classes, info.input_size[0] if info else in_chans or 1)
        info = None  # no statistics of its own to bring the data to
    if num_classes is not None and network.num_classes != num_classes:
        raise ValueError(
            f"Expected a model of {num_classes} classes, as the data have, found a {kind} of {network.num_classes}. "
            f"Call reset_classifier({num_classes}) on it."
        )
    if info is not None:
        check_input(kind, network, info)
    if not isinstance(network, SpikingModel):
        return StillModel(network, info.model_cfg() if info else None, frames)
    if not hasattr(network, "pretrained_cfg"):
        network.pretrained_cfg = {}
    return fit_student(kind, network, info)


def load_teacher(teacher: str | nn.Module) -> Network:
    """A teacher by its name; a module as it is."""
    return zoo.create_model(teacher, pretrained=True) if isinstance(teacher, str) else teacher


def make_teacher(
    model: Network,
    name: str | None,
    num_classes: int | None,
    in_chans: int | None,
    info: DataInfo | None,
    frames: Frames = "mean",
) -> SequenceModel:
    """A frozen teacher for the data, in evaluation mode.

    Args:
        model: What `load_teacher` returned; it is frozen in place.
        name: Its name; None for a module.
        num_classes: Classes of the data; None for those of the model.
        in_chans: Channels of the data; None for those of the model.
        info: The facts about the data; None if they come as the model takes them.
        frames: What a non-spiking teacher reads of a sequence; see `StillModel`.

    Raises:
        ValueError: If its classes differ from those of the data, it cannot take the data, or its input statistics
            differ and it cannot be adapted.
    """
    if frames != "mean" and isinstance(model, SpikingModel):
        found = f"a {type(model).__name__}" if name is None else name
        raise ValueError(
            f"teacher_frames: expected a non-spiking teacher, found {found}, which reads every frame. Leave it out."
        )
    if name is None:
        return freeze(given_network(model, None, False, num_classes, in_chans, info, frames))
    if num_classes is not None and model.num_classes != num_classes:
        raise ValueError(
            f"teacher: expected {num_classes} classes, as the data have, found {model.num_classes} in {name!r}. "
            "Fine-tune it on the data first: `snnzoo fit` with ClassificationModule, then give the run directory."
        )
    if info is not None:
        check_input(name, model, info)
    if not isinstance(model, SpikingModel):
        return freeze(StillModel(model, info.model_cfg() if info else native_cfg(model), frames))
    if info is not None and tuple(model.pretrained_cfg["mean"]) != info.mean:
        raise ValueError(
            f"teacher: expected data normalised by mean {tuple(model.pretrained_cfg['mean'])}, on which {name!r} was "
            f"trained, found {info.mean}. Normalise the data so, or choose another teacher."
        )
    return freeze(model)


def freeze(network: SequenceModel) -> SequenceModel:
    """A network without gradients, in evaluation mode, in the layout that is fast."""
    return channels_last(network.requires_grad_(False).eval())


def channels_last(network: Network) -> Network:
    """Store the convolutions' weights channels last; `Module.to` would refuse a network with a buffer of five axes.

    Measured on CPUs (benchmarks/train_step.py): a step is a fifth to a quarter shorter, whatever the student.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.to(memory_format=torch.channels_last)
    return network


def native_cfg(model: Network) -> dict[str, Any]:
    """The input that a model was made for, for data that come so, whatever their size: only the size is adapted."""
    return {key: model.pretrained_cfg[key] for key in ("input_size", "mean", "std")}


def check_input(name: str, model: Network, info: DataInfo) -> None:
    """Refuse data that a model cannot take, before training.

    Raises:
        ValueError: If the data are no such sequences, the images are too small or of another size than a student takes,
            or the steps of model and data are not equally long.
    """
    _, height, width = info.input_size
    takes, found = kind_of(model), info.kind
    if takes != found:
        raise ValueError(
            f"{name} takes {takes.words}, but the data are {found.words}. Choose other data or another model."
        )
    if not isinstance(model, SpikingModel):
        return
    if model.img_size and model.img_size != (height, width):
        fixed = model.img_size
        raise ValueError(
            f"{name} was made for images of {fixed[0]}x{fixed[1]} pixels, but the data has {height}x{width}. Set "
            f"model_args: {{img_size: [{height}, {width}]}}, or resize the images."
        )
    smallest = getattr(model, "pretrained_cfg", {}).get("min_input_size") or (0, 0, 0)
    if height < smallest[1] or width < smallest[2]:
        raise ValueError(
            f"{name} takes images of at least {smallest[1]}x{smallest[2]} pixels, but the data has {height}x{width}. "
            "Choose a student for smaller images (`snnzoo info NAME` shows its smallest), or larger images."
        )
    theirs = info.dt
    if model.dt and theirs and not math.isclose(model.dt, theirs):
        raise ValueError(
            f"dt of {name} is {model.dt:g} ms, and that of the data {theirs:g} ms. Set both alike: model_args: "
            f"{{dt: {theirs:g}}}, or data: {{dt: {model.dt:g}}}."
        )
