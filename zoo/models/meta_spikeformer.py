"""Meta-SpikeFormer (Spike-driven Transformer V2): convolution blocks, then attention between spikes.

Source: Yao et al. 2024, arXiv:2404.03663. Written from the paper's tables and equations; the original has no licence.
Its second head for distillation is not built: here an objective reads one classifier. Shortcuts carry currents, so the
convolutions read bits, but for those behind another linear layer (`MetaSpikeFormer.real_inputs`); of these the ones in
a `RepConv` vanish when it is folded.
"""

from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from timm.models import register_model
from torch import Tensor, nn

from ..layers.attention import LIF_OF_SPIKFORMER, Block, SpikeAttention, init_transformer, membrane_mlp
from ..layers.stateless import NeuronConv, Residual, SequenceDropout, make_classifier, over_time
from ..neurons import NeuronSpec, make_neuron
from ._builder import Origin, create, images, make_default_cfgs
from ._stage_transformer import StageTransformer

__all__ = ["MetaSpikeFormer", "RepConv"]


class RepConv(nn.Module):
    r"""Re-parameterised 3x3 convolution: 1x1, norm, 3x3 of every channel alone, 1x1, norm; [N, C, H, W] -> same.

    Around the map of the first norm stands not 0 but what that norm makes of 0, beta - mean gamma / sqrt(var + eps),
    with its running statistics, also in training. So the whole is one convolution of the zero-padded input: see `fold`.

    Args:
        dim: Channels C.

    Source: Yao et al. 2024; the border is that of Ding et al. 2021 (Diverse Branch Block), arXiv:2103.13425.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pointwise1, self.bn1 = nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim)
        self.depthwise = nn.Conv2d(dim, dim, 3, groups=dim, bias=False)
        self.pointwise2, self.bn2 = nn.Conv2d(dim, dim, 1, bias=False), nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y = self.bn1(self.pointwise1(x))
        border = affine(self.bn1)[1].to(y.dtype).view(-1, 1, 1)
        y = F.pad(y - border, (1, 1, 1, 1)) + border
        return self.bn2(self.pointwise2(self.depthwise(y)))

    @torch.no_grad()
    def fold(self) -> nn.Conv2d:
        """The 3x3 convolution with bias that equals this module in evaluation mode."""
        (gain1, shift1), (gain2, shift2) = affine(self.bn1), affine(self.bn2)
        first, second = self.pointwise1.weight[:, :, 0, 0], self.pointwise2.weight[:, :, 0, 0]  # [C, C] both
        first, second, taps = gain1[:, None] * first, gain2[:, None] * second, self.depthwise.weight[:, 0]  # [C, 3, 3]
        conv = nn.Conv2d(len(first), len(second), 3, padding=1).to(first)
        conv.weight.copy_(torch.einsum("om,mhw,mi->oihw", second, taps, first))
        conv.bias.copy_(second @ (taps.sum((1, 2)) * shift1) + shift2)  # type: ignore[union-attr]
        return conv.eval()


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Gain and shift [C] of a norm in evaluation mode: y = gain x + shift."""
    scale = (norm.get_buffer("running_var") + norm.eps).rsqrt()
    offset = (
        norm.get_buffer("running_mean") * scale
    )  # as it is now: the gradient must not see what a later batch makes it
    return norm.weight * scale, norm.bias - norm.weight * offset


class SeparableConv(nn.Module):
    """Neuron, 7x7 convolution of every channel alone, 1x1 convolution, norm: [T, N, C, H, W] -> [T, N, C', H, W]."""

    def __init__(self, in_chans: int, out_chans: int, neuron: NeuronSpec) -> None:
        super().__init__()
        self.act = make_neuron(neuron, in_chans)
        self.depthwise = nn.Conv2d(in_chans, in_chans, 7, padding=3, groups=in_chans, bias=False)
        self.pointwise, self.bn = nn.Conv2d(in_chans, out_chans, 1, bias=False), nn.BatchNorm2d(out_chans)

    def forward(self, x: Tensor) -> Tensor:
        """Currents of currents."""
        return over_time(self.act(x), self.depthwise, self.pointwise, self.bn)


class RepUnit(nn.Module):
    """`RepConv`, norm and, with a neuron spec, neuron: [T, N, C, H, W] -> the same shape."""

    def __init__(self, dim: int, neuron: NeuronSpec | None = None) -> None:
        super().__init__()
        self.conv, self.bn = RepConv(dim), nn.BatchNorm2d(dim)
        self.act = nn.Identity() if neuron is None else make_neuron(neuron, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes of spikes; currents, without a neuron."""
        return self.act(over_time(x, self.conv, self.bn))


class RepAttention(nn.Module):
    """Attention branch: q, k, v are spikes of a `RepUnit` each, and a fourth reads their attention.

    Args:
        dim: Channels.
        num_heads: Heads.
        scale: Factor on the product q (k^T v).
        neuron: Neuron in JSON.
    """

    def __init__(self, dim: int, num_heads: int, scale: float, neuron: NeuronSpec) -> None:
        super().__init__()
        self.q, self.k, self.v = (RepUnit(dim, neuron) for _ in range(3))
        self.attention = SpikeAttention(dim, num_heads, scale, neuron)
        self.proj = RepUnit(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Currents of spikes, [T, N, C, H, W] both."""
        return self.proj(self.attention(self.q(x), self.k(x), self.v(x)))


class MetaSpikeFormer(StageTransformer):
    """A Meta-SpikeFormer of any width and depth. Contract and errors: `SpikingModel`.

    Args:
        dims: Channels C0 to C3; the first stage has C0 / 2.
        depths: Blocks per stage: three stages of convolution blocks, two of attention blocks.
        num_heads: Heads of the attention.
        scale: Factor on its product.
        neuron: Neuron of every layer, in JSON; see `make_neuron`.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C.
        drop_rate: Dropout before the classifier.
    """

    real_inputs: ClassVar[str] = r".*(conv\.depthwise|conv\.pointwise2|\.\d+\.pointwise)$"

    def __init__(
        self,
        dims: tuple[int, ...] = (64, 128, 256, 360),
        depths: tuple[int, ...] = (1, 1, 2, 6, 2),
        num_heads: int = 8,
        scale: float = 0.125,
        neuron: NeuronSpec = LIF_OF_SPIKFORMER,
        num_steps: int = 4,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        if len(dims) != 4 or len(depths) != 5:
            raise ValueError(
                f"{type(self).__name__} takes four dims, and depths of five stages, found {dims} and {depths}."
            )
        widths = (dims[0] // 2, *dims)
        self.conv1, self.bn1 = nn.Conv2d(in_chans, widths[0], 7, 2, padding=3), nn.BatchNorm2d(widths[0])
        self.stages, self.feature_info = nn.ModuleList(), []
        reduction = 2
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks: list[nn.Module] = []
            if index:
                stride = 1 if index == 4 else 2
                reduction *= stride
                blocks.append(NeuronConv(widths[index - 1], width, neuron, kernel_size=3, stride=stride, bias=True))
            for _ in range(depth):
                attends = index >= 3
                blocks.append(
                    self.attn_block(width, num_heads, scale, neuron) if attends else self.conv_block(width, neuron)
                )
            self.stages.append(nn.Sequential(*blocks))
            self.feature_info.append({"num_chs": width, "reduction": reduction, "module": f"stages.{index}"})

        self.num_features = dims[-1]
        self.head_act = self.head_neuron(neuron)
        self.head_drop = SequenceDropout(drop_rate)
        self.fc = make_classifier(self.num_features, num_classes)
        init_transformer(self)

    @staticmethod
    def conv_block(dim: int, neuron: NeuronSpec) -> nn.Module:
        """A block of the first three stages: a separable convolution, then two full ones, 4 C channels between them."""
        separable = Residual(NeuronConv(dim, 2 * dim, neuron), SeparableConv(2 * dim, dim, neuron))
        full = (NeuronConv(dim, 4 * dim, neuron, kernel_size=3), NeuronConv(4 * dim, dim, neuron, kernel_size=3))
        return nn.Sequential(separable, Residual(*full))

    @staticmethod
    def attn_block(dim: int, num_heads: int, scale: float, neuron: NeuronSpec) -> nn.Module:
        """A block of the last two stages."""
        attn = Residual(make_neuron(neuron, dim), RepAttention(dim, num_heads, scale, neuron))
        return Block(attn, membrane_mlp(dim, 4 * dim, neuron))

    def head_neuron(self, neuron: NeuronSpec) -> nn.Module:
        """What stands between the average of the last currents and the classifier."""
        return make_neuron(neuron, self.num_features)

    def pool_features(self, x: Tensor) -> Tensor:
        """Average over the map, then the last neuron."""
        return self.head_act(x.mean((-2, -1)))


ORIGIN = Origin("arXiv:2404.03663", kind="transformer", code="no licence", title="Spike-driven Transformer V2")
imagenet = partial(images, 224, 1000, min_side=112)  # with fewer tokens the attention of a new net may be silent
default_cfgs = make_default_cfgs(
    ORIGIN,
    {
        "meta_spikeformer_15m": imagenet(published="74.1 % ImageNet-1k, T = 4"),
        "meta_spikeformer_31m": imagenet(published="77.2 % ImageNet-1k, T = 4"),
        "meta_spikeformer_55m": imagenet(published="79.7 % ImageNet-1k, T = 4"),
        "meta_spikeformer_tiny": images(32, 10, min_side=28),
    },
    first_conv="conv1",
)


@register_model
def meta_spikeformer_15m(pretrained: bool = False, **kwargs: Any) -> MetaSpikeFormer:
    """Meta-SpikeFormer for ImageNet: 15,112,208 parameters."""
    return create(MetaSpikeFormer, "meta_spikeformer_15m", pretrained, kwargs, dims=(64, 128, 256, 360))


@register_model
def meta_spikeformer_31m(pretrained: bool = False, **kwargs: Any) -> MetaSpikeFormer:
    """Meta-SpikeFormer for ImageNet: 31,333,864 parameters."""
    return create(MetaSpikeFormer, "meta_spikeformer_31m", pretrained, kwargs, dims=(96, 192, 384, 480))


@register_model
def meta_spikeformer_55m(pretrained: bool = False, **kwargs: Any) -> MetaSpikeFormer:
    """Meta-SpikeFormer for ImageNet: 55,350,248 parameters."""
    return create(MetaSpikeFormer, "meta_spikeformer_55m", pretrained, kwargs, dims=(128, 256, 512, 640))


@register_model
def meta_spikeformer_tiny(pretrained: bool = False, **kwargs: Any) -> MetaSpikeFormer:
    """One block per stage, 8 to 48 channels, two heads; for tests and images of 28 to 64 pixels.

    With few tokens the products of the attention are small; its scale is 1.
    """
    defaults = {"dims": (16, 24, 32, 48), "depths": (1, 1, 1, 1, 1), "num_heads": 2, "scale": 1.0}
    return create(MetaSpikeFormer, "meta_spikeformer_tiny", pretrained, kwargs, **defaults)
