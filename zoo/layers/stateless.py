"""Stateless layers over sequences: time is folded into the batch, so that only neurons see it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..neurons import NeuronSpec, make_neuron
from ..neurons.base import State, Stateful


def over_time(x: Tensor, *layers: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply stateless layers to every frame: [T, N, ...] -> [T, N, ...].

    A norm among them takes its statistics over T and N together.
    """
    y = x.flatten(0, 1)  # [T*N, ...]
    for layer in layers:
        y = layer(y)
    return y.unflatten(0, x.shape[:2])


class ConvNorm(nn.Module):
    """Convolution, norm and, optionally, a max-pool 3x3 of stride 2: [T, N, C, H, W] -> [T, N, C', H', W'].

    An odd kernel keeps the size, or divides it by the stride, rounding up; so does the pool.

    Args:
        in_chans: Channels C.
        out_chans: Channels C'.
        kernel_size: As in `nn.Conv2d`.
        stride: As in `nn.Conv2d`.
        groups: As in `nn.Conv2d`.
        bias: As in `nn.Conv2d`; the norm makes it idle, but it counts as a parameter.
        pool: Whether the max-pool follows.
    """

    def __init__(
        self,
        in_chans: int,
        out_chans: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        pool: bool = False,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(in_chans, out_chans, kernel_size, stride, padding, groups=groups, bias=bias)
        self.bn = nn.BatchNorm2d(out_chans)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The current that a neuron would integrate."""
        return over_time(x, self.conv, self.bn, self.pool)


class NeuronConv(ConvNorm):
    """`ConvNorm` behind a neuron: the unit of networks that add up currents, whose convolutions read spikes.

    Args:
        in_chans: Channels C.
        out_chans: Channels C'.
        neuron: Neuron in JSON; see `make_neuron`.
        kernel_size: As in `nn.Conv2d`.
        **conv: See `ConvNorm`.
    """

    def __init__(self, in_chans: int, out_chans: int, neuron: NeuronSpec, kernel_size: int = 1, **conv: Any) -> None:
        super().__init__(in_chans, out_chans, kernel_size, **conv)
        self.act = make_neuron(neuron, in_chans)

    def forward(self, x: Tensor) -> Tensor:
        """Current [T, N, C', H', W'] of currents [T, N, C, H, W]."""
        return super().forward(self.act(x))


class ConvNeuron(ConvNorm):
    """`ConvNorm` before a neuron, whose spikes the max-pool reads: the unit of networks that pass spikes on.

    Args:
        in_chans: Channels C.
        out_chans: Channels C'.
        neuron: Neuron in JSON; see `make_neuron`.
        kernel_size: As in `nn.Conv2d`.
        **conv: See `ConvNorm`.
    """

    def __init__(self, in_chans: int, out_chans: int, neuron: NeuronSpec, kernel_size: int = 1, **conv: Any) -> None:
        super().__init__(in_chans, out_chans, kernel_size, **conv)
        self.act = make_neuron(neuron, out_chans)

    def current(self, x: Tensor) -> Tensor:
        """What the neuron integrates."""
        return over_time(x, self.conv, self.bn)

    def fire(self, current: Tensor) -> Tensor:
        """The spikes of a current, after the pool."""
        return over_time(self.act(current), self.pool)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes [T, N, C', H', W']."""
        return self.fire(self.current(x))


class LinearNeuron(nn.Module):
    """A fully connected layer of neurons, without a norm: [T, N, F] -> [T, N, F']."""

    def __init__(self, in_features: int, out_features: int, neuron: NeuronSpec) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.act = make_neuron(neuron, out_features)
        init_for_spikes(self)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes."""
        return self.act(self.linear(x))


class Residual(nn.Sequential):
    """x + f(x), f the modules one after another.

    If the last of them is a neuron, spikes are added, and the sum is of small integers (SEW: Fang et al. 2021,
    arXiv:2102.04159); if the first is, currents are, and f reads spikes (MS: Hu et al. 2021, arXiv:2112.08954).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        return x + super().forward(x)


class SequenceDropout(Stateful):
    """Dropout of a sequence [T, N, ...] by one mask, the same at every step; it is what the layer remembers.

    A mask of its own at every step would be averaged away by the mean over time, and a neuron would be both there and
    not there in one answer. Source: Rathi and Roy, DIET-SNN, arXiv:2008.03658.

    Args:
        p: Share of the values that are dropped in training, in [0, 1).

    Raises:
        ValueError: If p is out of range.
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p of SequenceDropout: expected a share in [0, 1), found {p}.")
        self.p = p

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """See `Stateful`: the sequence without the dropped values; the others are divided by the share that stays."""
        if not self.training or not self.p:
            return x, ()
        mask = state[0] if state else F.dropout(torch.ones_like(x[0]), self.p)
        return x * mask, (mask,)

    def extra_repr(self) -> str:
        """In `print(model)`."""
        return f"p={self.p}"


class MatMul(nn.Module):
    """The product a @ b of two activations [..., n, k] and [..., k, m]; a module, so that `zoo.energy` counts it."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """A @ b, [..., n, m]."""
        return a @ b


def make_classifier(num_features: int, num_classes: int) -> nn.Module:
    """The linear classifier; no layer for num_classes = 0, as timm's `create_model(..., num_classes=0)` expects."""
    return nn.Linear(num_features, num_classes) if num_classes else nn.Identity()


def init_convolutions(model: nn.Module) -> None:
    """Kaiming-normal (fan out) weights and zero biases for every convolution, as in He et al. 2015."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def init_for_spikes(model: nn.Module) -> None:
    """Normal weights and zero biases for every linear layer that reads spikes and feeds neurons without a norm.

    The variance is 1 / (0.1 F): when one in ten of the F inputs fires, the current has standard deviation 1, the usual
    threshold. torch's own weights, of variance 1 / (3 F), would leave the neurons silent.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=(0.1 * module.in_features) ** -0.5)
            nn.init.zeros_(module.bias)


def check_halvings(sides: Sequence[int], count: int) -> None:
    """Refuse images that would vanish when they are halved `count` times.

    Raises:
        ValueError: If a side is shorter than 2^count pixels.
    """
    if min(sides) < 2**count:
        found = "x".join(map(str, sides))
        raise ValueError(f"Images are halved {count} times: sides must be of {2**count} pixels or more, found {found}.")


def check_image_size(x: Tensor, img_size: tuple[int, int] | None) -> None:
    """Refuse images [..., H, W] of another size than a model was made for (None: any).

    Raises:
        ValueError: If H, W are not `img_size`.
    """
    if img_size and x.shape[-2:] != img_size:
        (height, width), found = img_size, "x".join(map(str, x.shape[-2:]))
        raise ValueError(
            f"This model was made for images of {height}x{width} pixels, found {found}. Resize the images, or train a "
            f"model made with img_size={tuple(x.shape[-2:])}."
        )
