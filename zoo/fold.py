"""Folding for deployment: norms into the layers before them, re-parameterised convolutions into one."""

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval

from .model import Network
from .registry.build import noise_input
from .trace import trace

Connection = nn.Conv1d | nn.Conv2d | nn.Linear


def fold(model: Network, x: Tensor | None = None) -> Network:
    """A copy of a model for inference: fewer layers, the same answers to rounding, in evaluation mode.

    A batch norm that is the only reader of a convolution or linear layer goes into its weights,

        w' = gamma / sqrt(var + eps) w,    b' = gamma / sqrt(var + eps) (b - mean) + beta

    and a module with a method `fold` (the re-parameterised convolutions of Meta-SpikeFormer) becomes what that returns.
    One traced run shows which layer a norm reads; norms that read anything else stay. A spike whose potential is within
    rounding of the threshold may differ.

    Args:
        model: A student or an ANN.
        x: An input that the model takes, for the pass; noise if None.

    Returns:
        The copy. Its keys are not those of the architecture, so it cannot be published or loaded as one.

    Raises:
        ValueError: If the copy gives other answers, because something else uses the weights of a folded layer.
    """
    dtype, x = next(model.parameters()).dtype, noise_input(model) if x is None else x
    model = copy.deepcopy(model).double().eval()  # no rounding decides about a spike
    x = x.to(next(model.parameters())) if x.is_floating_point() else x.to(next(model.parameters()).device)
    folded: Network = copy.deepcopy(model)
    for name, module in list(folded.named_modules()):
        if hasattr(module, "fold"):
            folded.set_submodule(name, module.fold())
    graph, modules = trace(folded, x), dict(folded.named_modules())
    calls = Counter(call.name for call in graph.calls if not call.function)
    readers = Counter(giver for giver, _ in graph.feeds())
    for giver, reader in graph.feeds():
        if giver.function or reader.function or not calls[giver.name] == calls[reader.name] == readers[giver] == 1:
            continue
        layer, norm = modules[giver.name], modules[reader.name]
        if isinstance(norm, _BatchNorm) and isinstance(layer, Connection):
            fuse: Any = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
            folded.set_submodule(giver.name, fuse(layer, norm))
            folded.set_submodule(reader.name, nn.Identity())
    with torch.no_grad():
        if not torch.allclose(folded(x), model(x), rtol=1e-6, atol=1e-6):
            raise ValueError(
                f"{type(model).__name__} cannot be folded: expected equal answers before and after, found others. "
                "Deploy it unfolded, because something else uses the weights of a layer before a norm."
            )
    return folded.to(dtype)
