"""Thresholds of learned neurons, set from data."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .model import evaluating, spiking_neurons
from .neurons import Leaky


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
            f"percentile must lie in (0, 1], floor and scale above 0, found {percentile}, {floor} and {scale}."
        )
    neurons = learned_thresholds(model)
    found: dict[str, float] = {}

    def set_threshold(name: str, neuron: Any, args: tuple[Tensor, ...]) -> None:
        steps = args[0].float().flatten(1)  # [T, N * neurons]
        rank = math.ceil(percentile * steps.shape[1])
        found[name] = max(floor, scale * steps.kthvalue(rank, dim=1).values.max().item())
        neuron.v_threshold.fill_(found[name])

    hooks = [neuron.register_forward_pre_hook(partial(set_threshold, name)) for name, neuron in neurons.items()]
    try:
        with torch.no_grad(), evaluating(model):
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def learned_thresholds(model: nn.Module) -> dict[str, Leaky]:
    """The neurons whose threshold is learned, by the name of the layer.

    Raises:
        ValueError: If there are none.
    """
    neurons = {name: neuron for name, neuron in spiking_neurons(model).items() if isinstance(neuron, Leaky)}
    if not neurons:
        raise ValueError(f"No threshold of this {type(model).__name__} is learned. Choose neuron: {{name: leaky}}.")
    return neurons
