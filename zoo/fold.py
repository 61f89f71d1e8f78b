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

Connection = nn.Conv1d | nn.Conv2d | nn.Linear


class Feeds:
    """Which module of a model gave each call of the others its input, in a `with` block.

    An output and an input are the same if they share their memory, so that what only views it (`flatten`, `expand`,
    `transpose`) is looked through; every output is kept until the end, lest memory be used twice.
    """

    def __init__(self, model: nn.Module) -> None:
        self.names = {module: name for name, module in model.named_modules() if not any(module.children())}
        self.calls: Counter[str] = Counter()
        self.pairs: list[tuple[str, str]] = []  # (giver, taker), in the order of the calls
        self.givers: dict[int, str] = {}
        self.kept: list[Tensor] = []

    def note(self, module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        """A module was called."""
        if not isinstance(out, Tensor):  # neither a convolution nor a norm
            return
        name, source = self.names[module], args[0].untyped_storage().data_ptr()
        self.calls[name] += 1
        if source in self.givers:
            self.pairs.append((self.givers[source], name))
        self.kept.append(out)
        if out.untyped_storage().data_ptr() != source:  # an identity gives what it got
            self.givers[out.untyped_storage().data_ptr()] = name

    def __enter__(self) -> "Feeds":
        self.hooks = [module.register_forward_hook(self.note) for module in self.names]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self.hooks:
            hook.remove()
        self.kept.clear()


def fold(model: Network, x: Tensor | None = None) -> Network:
    """A copy of a model in evaluation mode, for inference alone: fewer layers, the same answers to rounding.

    A batch norm that reads a convolution or linear layer, and is alone in reading it, goes into its weights,

        w' = gamma / sqrt(var + eps) w,    b' = gamma / sqrt(var + eps) (b - mean) + beta

    and a module with a method `fold` (the re-parameterised convolutions of Meta-SpikeFormer) becomes what that returns.
    Which layer a norm reads is seen in one pass; norms that read anything else stay. A spike whose potential is within
    rounding of the threshold may differ.

    Args:
        model: A student or an ANN.
        x: An input that the model takes, for the pass; noise if None.

    Returns:
        The copy. Its keys are not those of the architecture, so it cannot be published or loaded as one.

    Raises:
        ValueError: If it does not give the same answers, since something else than a module reads a folded layer.
    """
    dtype, x = next(model.parameters()).dtype, noise_input(model) if x is None else x
    model = copy.deepcopy(model).double().eval()  # no rounding decides about a spike
    x = x.to(next(model.parameters())) if x.is_floating_point() else x.to(next(model.parameters()).device)
    folded: Network = copy.deepcopy(model)
    for name, module in list(folded.named_modules()):
        if hasattr(module, "fold"):
            folded.set_submodule(name, module.fold())
    with torch.no_grad(), Feeds(folded) as feeds:
        folded(x)
    modules, readers = dict(folded.named_modules()), Counter(giver for giver, _ in feeds.pairs)
    for giver, taker in feeds.pairs:
        layer, norm = modules[giver], modules[taker]
        once = feeds.calls[giver] == feeds.calls[taker] == readers[giver] == 1
        if isinstance(norm, _BatchNorm) and isinstance(layer, Connection) and once:
            fuse: Any = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
            folded.set_submodule(giver, fuse(layer, norm))
            folded.set_submodule(taker, nn.Identity())
    with torch.no_grad():
        if not torch.allclose(folded(x), model(x), rtol=1e-6, atol=1e-6):
            raise ValueError(f"{type(model).__name__} cannot be folded: a layer before a norm has another reader, too.")
    return folded.to(dtype)
