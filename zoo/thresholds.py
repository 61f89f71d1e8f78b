"""Thresholds set from data: those of learned neurons, and those that a conversion gives to an ANN twin."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .model import SpikingModel, evaluating, spiking_neurons
from .neurons import QCFS, Leaky
from .neurons.activation import MIN_STEP, activations
from .trace import submodules, watching

SMALLEST_SHARE = 1e-3
"""Lowest threshold of a channel, as a share of the layer's highest: a channel that is silent on the data keeps one."""

VALUES_KEPT = 2_000_000  # of a layer, for a percentile


def calibrate_thresholds(
    model: nn.Module, x: Tensor, percentile: float = 0.9, floor: float = 0.1, scale: float = 1.0
) -> dict[str, float]:
    r"""Set every learned threshold to a high value of the current that its layer gets, layer after layer.

        v_threshold = max(floor, scale max_t P(X_t))

    with P the percentile over all samples and neurons of a layer at one step. A layer is set before it fires, so the
    currents of the layers behind it are those of the network as it will be. The model runs once, in evaluation mode and
    with the leaks it has (1 in a new network); nothing but the thresholds is changed.

    Args:
        model: A student of `Leaky` neurons.
        x: Training data as the model takes them, [N, C, H, W] or a sequence [T, N, C, H, W].
        percentile: In (0, 1]; the smallest value that at least this share of the currents does not exceed.
        floor: Smallest threshold, which holds for a layer that gets next to nothing.
        scale: Factor on the percentile, > 0.

    Returns:
        The new thresholds, by the name of the layer.

    Raises:
        ValueError: If no threshold of the model is learned, or a number is out of range.

    Source:
        Chowdhury, Rathi and Roy, ECCV 2022, arXiv:2110.05929 (one batch of 512 images, 64 on ImageNet).
    """
    if not (0 < percentile <= 1 and floor > 0 and scale > 0):
        raise ValueError(
            "percentile, floor and scale: expected a share in (0, 1] and two numbers above 0, found "
            f"{percentile}, {floor} and {scale}."
        )
    neurons = learned_thresholds(model)
    found: dict[str, float] = {}

    def set_threshold(name: str, neuron: Any, args: tuple[Tensor, ...]) -> None:
        steps = args[0].float().flatten(1)  # [T, N * neurons]
        rank = math.ceil(percentile * steps.shape[1])
        found[name] = max(floor, scale * steps.kthvalue(rank, dim=1).values.max().item())
        neuron.v_threshold.fill_(found[name])

    with torch.no_grad(), evaluating(model), watching(neurons, before=set_threshold):
        model(x)
    return found


def learned_thresholds(model: nn.Module) -> dict[str, Leaky]:
    """The neurons whose threshold is learned, by the name of the layer; ValueError if there are none."""
    neurons = {name: neuron for name, neuron in spiking_neurons(model).items() if isinstance(neuron, Leaky)}
    if not neurons:
        raise ValueError(
            f"{type(model).__name__}: expected learned thresholds, found none. Choose neuron: {{name: leaky}}."
        )
    return neurons


# Conversion -----------------------------------------------------------------------------------------------------------


def over_units(numbers: Tensor, x: Tensor) -> Tensor:
    """Numbers [C] as they meet a sequence x [T, N, C, ...]."""
    return numbers.to(x).view(-1, *[1] * (x.ndim - 3))


def unit_means(x: Tensor) -> Tensor:
    """The mean [C] of every channel of a sequence [T, N, C, ...]."""
    return x.mean([axis for axis in range(x.ndim) if axis != 2], dtype=torch.float64)


def conversion_thresholds(
    ann: SpikingModel, chans: Mapping[str, int], images: Sequence[Tensor], method: str, percentile: float
) -> dict[str, Tensor]:
    """Theta [C] of every activation (of `chans` channels C) of an ANN twin, float64; arguments as in `zoo.convert`.

    Raises:
        ValueError: If a layer is silent on the images [1, N, C, H, W].
    """
    if method == "ltb":
        thresholds = balanced_thresholds(ann, chans, images)
    else:
        found = percentiles(ann, chans, images, percentile) if method == "percentile" else learned_steps(ann)
        thresholds = {name: torch.full((chans,), found[name]).double() for name, chans in chans.items()}
    for name, theta in thresholds.items():
        if not theta.max() > 0:
            raise ValueError(
                f"The threshold of {name} would be {theta.max():g}, because its activation is 0 on nearly all of the "
                "images. Train the twin longer, give more images, or choose another method."
            )
    device = next(ann.parameters()).device
    return {name: theta.clamp(min=SMALLEST_SHARE * theta.max()).to(device) for name, theta in thresholds.items()}


def learned_steps(ann: SpikingModel) -> dict[str, float]:
    """The learned step of every QCFS activation."""
    return {name: max(module.step.item(), MIN_STEP) for name, module in activations(ann) if isinstance(module, QCFS)}


def balanced_thresholds(ann: SpikingModel, chans: Mapping[str, int], images: Sequence[Tensor]) -> dict[str, Tensor]:
    """Local threshold balancing.

        theta_c <- theta_c + 2 mean(relu(x_c - theta_c))

    from 0, batch after batch; the layers behind get the clipped activation min(relu(x), theta).
    """
    thresholds: dict[str, Tensor] = {}

    def balance(name: str, module: nn.Module, args: tuple[Tensor], out: Tensor) -> Tensor:
        x = out.double()  # relu(x)
        theta = thresholds.get(name, torch.zeros(chans[name], dtype=torch.float64, device=x.device))
        theta = theta + 2 * unit_means((x - over_units(theta, x)).clamp(min=0))
        thresholds[name] = theta
        return torch.minimum(out, over_units(theta, out))

    with watching(submodules(ann, chans), balance):
        for x in images:
            ann(x)
    return thresholds


def percentiles(
    ann: SpikingModel, names: Iterable[str], images: Sequence[Tensor], percentile: float
) -> dict[str, float]:
    """The percentile of the activation of every layer, over all images; of a large layer, of values drawn at random."""
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    draw, most = torch.Generator().manual_seed(0), VALUES_KEPT // len(images)

    def note(name: str, module: nn.Module, args: tuple[Tensor], out: Tensor) -> None:
        values = out.flatten().double().cpu()
        drawn = torch.randint(len(values), (most,), generator=draw) if len(values) > most else slice(None)
        kept[name].append(values[drawn])

    with watching(submodules(ann, kept), note):
        for x in images:
            ann(x)
    return {name: torch.cat(values).quantile(percentile / 100).item() for name, values in kept.items()}
