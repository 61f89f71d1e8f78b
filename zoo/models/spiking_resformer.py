"""SpikingResformer: a residual network of dual spike self-attention and group-wise spiking feed-forward blocks.

Source: Shi, Hao and Yu 2024, arXiv:2403.14302. Written from the paper's tables and equations; the original is MIT.
Shortcuts carry membranes, so every convolution but the first reads bits.

The scales of the attention divide by firing rates, which the original starts at 0: evaluated before it was trained, it
divides by zero. Here a rate of 0 means "not measured yet" and divides by 1 (see `RateScale`). The number of columns of
the attention is taken from the input, not from the constructor, so that a network runs at any resolution.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from timm.models import register_model
from torch import Tensor, nn

from ..errors import unknown
from ..layers.stateless import MatMul, NeuronConv, Residual, SequenceDropout, init_convolutions, over_time
from ..neurons import NeuronSpec, make_neuron
from ._builder import Origin, create, frames, images, make_default_cfgs
from ._stage_transformer import StageTransformer

__all__ = ["SpikingResformer"]


class RateScale(nn.Module):
    r"""Product of spikes and numbers of variance 1, divided by the deviation it has: x / sqrt(rate fan_in).

    The rate of a head is an average over training batches, in the state_dict. The first batch sets it, later ones
    change it by a thousandth. A rate of 0, of a head that was not measured or never fired, counts as 1.

    Args:
        num_heads: Heads h.
        momentum: Share of the old rate that a batch leaves.
    """

    rate: Tensor

    def __init__(self, num_heads: int, momentum: float = 0.999) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("rate", torch.zeros(1, 1, num_heads, 1, 1))

    def forward(self, x: Tensor, spikes: Tensor, fan_in: int) -> Tensor:
        """The product x [T, N, h, ...] of spikes [T, N, h, ...], each a sum over fan_in of them, scaled."""
        if self.training and spikes.numel():
            now = spikes.detach().mean((0, 1, 3, 4), keepdim=True, dtype=self.rate.dtype)
            self.rate.copy_(torch.where(self.rate > 0, now.lerp(self.rate, self.momentum), now))
        rate = torch.where(self.rate > 0, self.rate, 1.0)
        return x * (rate * fan_in).rsqrt().to(x.dtype)


class DualSpikeAttention(nn.Module):
    r"""Dual spike self-attention (DSSA): [T, N, C, H, W] membranes -> the same shape.

        S = neuron(x),   [Y1, Y2] = norm(conv_p(S)) of every head
        A = neuron(S^T Y1 / sqrt(rate_S d)),   O = neuron((A Y2^T)^T / sqrt(rate_A n))
        x + norm(conv_1(O))

    The first factor of each product is spikes, the second is not. conv_p has kernel and stride p; n = HW / p^2 are its
    positions, d = C / heads.

    Args:
        dim: Channels C.
        num_heads: Heads.
        patch: p.
        neuron: Neuron in JSON.
    """

    def __init__(self, dim: int, num_heads: int, patch: int, neuron: NeuronSpec) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.act = make_neuron(neuron, dim)
        self.conv, self.bn = nn.Conv2d(dim, 2 * dim, patch, patch, bias=False), nn.BatchNorm2d(2 * dim)
        self.matmul1, self.scale1 = MatMul(), RateScale(num_heads)
        self.attn_act = make_neuron(neuron, num_heads)
        self.matmul2, self.scale2 = MatMul(), RateScale(num_heads)
        self.proj = NeuronConv(dim, dim, neuron)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        spikes = self.act(x)
        y = over_time(spikes, self.conv, self.bn)
        y1, y2 = y.flatten(3).unflatten(2, (self.num_heads, -1)).chunk(2, 3)  # [T, N, heads, d, n]
        s = spikes.flatten(3).unflatten(2, (self.num_heads, -1)).transpose(-1, -2)  # [T, N, heads, HW, d]
        attn = self.attn_act(self.scale1(self.matmul1(s, y1), s, fan_in=s.shape[4]))  # [T, N, heads, HW, n]
        out = self.matmul2(attn, y2.transpose(-1, -2))
        out = self.scale2(out, attn, fan_in=attn.shape[4]).transpose(-1, -2)  # [T, N, heads, d, HW]
        return x + self.proj(out.flatten(2, 3).unflatten(-1, x.shape[3:]))


def group_feed_forward(dim: int, group: int, neuron: NeuronSpec) -> Residual:
    """Group-wise spiking feed-forward (GWSFFN): 1x1 to 4 C channels, grouped 3x3 with a shortcut, 1x1 back, added to x.

    Args:
        dim: Channels C.
        group: Channels of a group of the 3x3 convolution.
        neuron: Neuron in JSON.
    """
    hidden = 4 * dim
    grouped = NeuronConv(hidden, hidden, neuron, kernel_size=3, groups=hidden // group)
    return Residual(NeuronConv(dim, hidden, neuron), Residual(grouped), NeuronConv(hidden, dim, neuron))


STEMS = {"imagenet": (7, 2, True), "small": (3, 1, False)}  # kernel, stride, max-pool
PATCHES = (4, 2, 1)


class SpikingResformer(StageTransformer):
    """A SpikingResformer of three stages. Contract and errors: `SpikingModel`.

    Args:
        dims: Channels per stage.
        depths: Pairs of an attention and a feed-forward block per stage.
        num_heads: Heads of the attention per stage.
        group: Channels of a group of the feed-forward blocks' 3x3 convolution; divides 4 dims.
        stem: "imagenet" (7x7 stride 2, then max-pool 3x3 stride 2) or "small" (3x3 stride 1).
        neuron: Neuron of every layer, in JSON; see `make_neuron`.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C.
        drop_rate: Dropout before the classifier, which has no bias.

    Raises:
        ValueError: Also if an image's sides are not multiples of 16 ("imagenet") or 4 ("small").
    """

    def __init__(
        self,
        dims: tuple[int, ...] = (64, 192, 384),
        depths: tuple[int, ...] = (1, 2, 3),
        num_heads: tuple[int, ...] = (1, 3, 6),
        group: int = 64,
        stem: str = "imagenet",
        neuron: NeuronSpec = "lif",
        num_steps: int = 4,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        if stem not in STEMS:
            raise ValueError(unknown("stem of SpikingResformer", stem, STEMS))
        if not len(dims) == len(depths) == len(num_heads) == len(PATCHES):
            raise ValueError(f"dims, depths and num_heads name three stages each, found {dims}, {depths}, {num_heads}.")
        for dim, heads in zip(dims, num_heads, strict=True):
            if dim % heads or 4 * dim % group:
                raise ValueError(
                    f"num_heads must divide dims, and group must divide 4 dims, found dims={dims}, "
                    f"num_heads={num_heads}, group={group}."
                )

        kernel, stride, pool = STEMS[stem]
        self.conv1 = nn.Conv2d(in_chans, dims[0], kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(dims[0])
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if pool else nn.Identity()
        reduction = stride * (2 if pool else 1)
        self.multiple = reduction * max(PATCHES)

        self.stages, self.feature_info = nn.ModuleList(), []
        for index, (dim, depth, heads, patch) in enumerate(zip(dims, depths, num_heads, PATCHES, strict=True)):
            blocks: list[nn.Module] = []
            if index:
                blocks.append(NeuronConv(dims[index - 1], dim, neuron, kernel_size=3, stride=2))
            for _ in range(depth):
                blocks += [DualSpikeAttention(dim, heads, patch, neuron), group_feed_forward(dim, group, neuron)]
            self.stages.append(nn.Sequential(*blocks))
            self.feature_info.append({"num_chs": dim, "reduction": reduction << index, "module": f"stages.{index}"})

        self.num_features = dims[-1]
        self.head_drop = SequenceDropout(drop_rate)
        init_convolutions(self)
        self.reset_classifier(num_classes)

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The membranes after every stage."""
        if x.shape[-2] % self.multiple or x.shape[-1] % self.multiple:
            raise ValueError(
                f"The attention of this SpikingResformer divides the image into patches: its sides must be multiples "
                f"of {self.multiple}, found {x.shape[-2]} x {x.shape[-1]}. Resize or crop the images."
            )
        yield from super().forward_stages(x)

    def stem(self, x: Tensor) -> Tensor:
        """The encoder, which is applied to a still image once; no neuron."""
        return over_time(x, self.conv1, self.bn1, self.maxpool)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """See `SpikingModel`; the classifier has no bias."""
        super().reset_classifier(num_classes, global_pool)
        if isinstance(self.fc, nn.Linear):
            self.fc.register_parameter("bias", None)
            nn.init.trunc_normal_(self.fc.weight, std=0.02)


ORIGIN = Origin(
    "arXiv:2403.14302",
    kind="transformer",
    code="MIT",
    title="SpikingResformer: Bridging ResNet and Vision Transformer in Spiking Neural Networks",
)
imagenet = partial(images, 224, 1000, min_side=32)
cifar = partial(images, 32, 10, min_side=16)
default_cfgs = make_default_cfgs(
    ORIGIN,
    {
        "spiking_resformer_ti": imagenet(published="74.34 % ImageNet-1k, T = 4"),
        "spiking_resformer_s": imagenet(published="75.95 % ImageNet-1k, T = 4"),
        "spiking_resformer_m": imagenet(published="77.24 % ImageNet-1k, T = 4"),
        "spiking_resformer_l": imagenet(published="78.77 % ImageNet-1k, T = 4"),
        "spiking_resformer_tiny": images(64, 10, min_side=32),
        "spiking_resformer_cifar_ti": cifar(published="97.40 % CIFAR-10, T = 4, pretrained on ImageNet-1k"),
        "spiking_resformer_cifar_tiny": cifar(),
        "spiking_resformer_dvsgesture": frames(128, 11, min_side=16),
    },
    first_conv="conv1",
)


@register_model
def spiking_resformer_ti(pretrained: bool = False, **kwargs: Any) -> SpikingResformer:
    """SpikingResformer-Ti for ImageNet: 11,180,992 parameters."""
    return create(SpikingResformer, "spiking_resformer_ti", pretrained, kwargs)


@register_model
def spiking_resformer_s(pretrained: bool = False, **kwargs: Any) -> SpikingResformer:
    """SpikingResformer-S for ImageNet: 17,813,824 parameters."""
    return create(SpikingResformer, "spiking_resformer_s", pretrained, kwargs, dims=(64, 256, 512), num_heads=(1, 4, 8))


@register_model
def spiking_resformer_m(pretrained: bool = False, **kwargs: Any) -> SpikingResformer:
    """SpikingResformer-M for ImageNet: 35,601,472 parameters."""
    defaults = {"dims": (64, 384, 768), "num_heads": (1, 6, 12)}
    return create(SpikingResformer, "spiking_resformer_m", pretrained, kwargs, **defaults)


@register_model
def spiking_resformer_l(pretrained: bool = False, **kwargs: Any) -> SpikingResformer:
    """SpikingResformer-L for ImageNet: 60,375,680 parameters."""
    defaults = {"dims": (128, 512, 1024), "num_heads": (2, 8, 16)}
    return create(SpikingResformer, "spiking_resformer_l", pretrained, kwargs, **defaults)


@register_model
def spiking_resformer_cifar_ti(pretrained: bool = False, **kwargs: Any) -> SpikingResformer:
    """SpikingResformer-Ti with the 3x3 stem, for CIFAR: 10,793,152 parameters for 10 classes."""
    return create(SpikingResformer, "spiking_resformer_cifar_ti", pretrained, kwargs, stem="small")


@register_model
def spiking_resformer_dvsgesture(pretrained: bool = False, **kwargs: Any) -> SpikingResformer:
    """SpikingResformer for DVS128 Gesture, PLIF neurons: 2,709,542 parameters; the original pads a third channel."""
    defaults = {"dims": (32, 96, 192), "group": 32, "stem": "small", "neuron": "plif", "num_steps": 16}
    return create(SpikingResformer, "spiking_resformer_dvsgesture", pretrained, kwargs, **defaults)


TINY = {"dims": (16, 32, 48), "depths": (1, 1, 1), "num_heads": (1, 2, 3), "group": 16}


@register_model
def spiking_resformer_tiny(pretrained: bool = False, **kwargs: Any) -> SpikingResformer:
    """One pair of blocks per stage, 16 to 48 channels, ImageNet's stem; for tests and images of 32 to 128 pixels."""
    return create(SpikingResformer, "spiking_resformer_tiny", pretrained, kwargs, **TINY)


@register_model
def spiking_resformer_cifar_tiny(pretrained: bool = False, **kwargs: Any) -> SpikingResformer:
    """One pair of blocks per stage, 16 to 48 channels, 3x3 stem; for tests and images of 16 to 32 pixels."""
    return create(SpikingResformer, "spiking_resformer_cifar_tiny", pretrained, kwargs, **TINY, stem="small")
