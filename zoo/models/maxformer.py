"""Max-Former: max-pooling and depthwise convolutions first, attention between spikes last.

Source: Fang et al. 2025, arXiv:2505.18608. Written from the paper's tables; the original has no licence. Its thesis: a
spiking neuron is a low-pass filter, so the early layers should pass high frequencies. Shortcuts carry currents; every
convolution but the first reads bits.
"""

from functools import partial
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from ..errors import unknown
from ..layers.attention import LIF_OF_SPIKFORMER, Block, SpikingSelfAttention, init_transformer, membrane_mlp
from ..layers.stateless import ConvNorm, NeuronConv, Residual, SequenceDropout, make_classifier
from ..neurons import NeuronSpec, make_neuron
from ._builder import Origin, create, frames, images, make_default_cfgs
from ._stage_transformer import StageTransformer

__all__ = ["MaxFormer"]


class Embed(nn.Module):
    """A change of shape: what two branches make of the same spikes, added; [T, N, C, H, W] -> [T, N, C', H', W'].

    Args:
        in_chans: Channels C.
        main: Reads spikes.
        shortcut: Reads the same spikes.
        neuron: Neuron in JSON.
    """

    def __init__(self, in_chans: int, main: nn.Module, shortcut: nn.Module, neuron: NeuronSpec) -> None:
        super().__init__()
        self.act = make_neuron(neuron, in_chans)
        self.main, self.shortcut = main, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Currents of currents."""
        spikes = self.act(x)
        return self.main(spikes) + self.shortcut(spikes)


def embed_max(in_chans: int, out_chans: int, neuron: NeuronSpec) -> Embed:
    """The paper's Embed-Max, between two stages: half the size by max-pooling the currents of a convolution."""
    main = nn.Sequential(
        ConvNorm(in_chans, out_chans, 3, pool=True), NeuronConv(out_chans, out_chans, neuron, kernel_size=3)
    )
    return Embed(in_chans, main, ConvNorm(in_chans, out_chans, pool=True), neuron)


def embed_imagenet(dim: int, neuron: NeuronSpec) -> nn.Module:
    """From dim / 2 channels at half the size of the image to dim at a quarter."""
    main = nn.Sequential(ConvNorm(dim // 2, dim, 3, stride=2), NeuronConv(dim, dim, neuron, kernel_size=3))
    return Embed(dim // 2, main, ConvNorm(dim // 2, dim, stride=2), neuron)


def embed_cifar(dim: int, neuron: NeuronSpec) -> nn.Module:
    """From dim / 2 channels to dim, at the size of the image."""
    return Embed(dim // 2, ConvNorm(dim // 2, dim, 3), ConvNorm(dim // 2, dim), neuron)


def embed_dvs(dim: int, neuron: NeuronSpec) -> nn.Module:
    """From dim / 8 channels at the size of the frame to dim at an eighth, by three max-pools."""
    first = NeuronConv(dim // 8, dim // 4, neuron, kernel_size=3, pool=True)
    main = nn.Sequential(
        ConvNorm(dim // 4, dim // 2, 3, pool=True), NeuronConv(dim // 2, dim, neuron, kernel_size=3, pool=True)
    )
    return nn.Sequential(first, Embed(dim // 4, main, ConvNorm(dim // 4, dim, stride=4), neuron))


STEMS = {"imagenet": (2, 2, embed_imagenet, 4), "cifar": (2, 1, embed_cifar, 1), "dvs": (8, 1, embed_dvs, 8)}
"""By name: share of the first stage's channels and stride of the first convolution, what follows it, reduction."""


def pixel_mixer(dim: int, kernel_size: int, neuron: NeuronSpec) -> nn.Module:
    """A convolution of every channel alone, with bias, added to what it reads; nothing for a kernel of 0."""
    if kernel_size == 0:
        return nn.Identity()
    return Residual(NeuronConv(dim, dim, neuron, kernel_size, groups=dim, bias=True))


class MaxFormer(StageTransformer):
    """A Max-Former of any width and depth. Contract and errors: `SpikingModel`.

    Args:
        dims: Channels per stage; `embed_max` stands between two.
        depths: Blocks per stage; an attention block in the last stage, a depthwise convolution and an MLP in others.
        kernels: Sizes of the depthwise convolutions, of every stage but the last; 0 for an MLP alone.
        num_heads: Heads of the attention.
        scale: Factor on its product.
        mlp_ratio: Hidden channels of an MLP as a multiple of its others.
        stem: "imagenet" (to a quarter of the size), "cifar" (same size) or "dvs" (to an eighth).
        neuron: Neuron of every layer, in JSON; see `make_neuron`.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C.
        drop_rate: Dropout before the classifier.
    """

    def __init__(
        self,
        dims: tuple[int, ...] = (96, 192, 384),
        depths: tuple[int, ...] = (1, 2, 7),
        kernels: tuple[int, ...] = (7, 5),
        num_heads: int = 6,
        scale: float = 0.125,
        mlp_ratio: int = 4,
        stem: str = "imagenet",
        neuron: NeuronSpec = LIF_OF_SPIKFORMER,
        num_steps: int = 4,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        if stem not in STEMS:
            raise ValueError(unknown("stem of MaxFormer", stem, STEMS))
        if not len(dims) == len(depths) == len(kernels) + 1:
            raise ValueError(
                f"dims and depths name as many stages each, kernels one less, found {dims}, {depths} and {kernels}."
            )
        if any(kernel and kernel % 2 == 0 for kernel in kernels):
            raise ValueError(f"kernels must be odd, or 0 for none, found {kernels}.")

        share, stride, embed, reduction = STEMS[stem]
        self.conv1 = nn.Conv2d(in_chans, dims[0] // share, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(dims[0] // share)
        self.stages, self.feature_info = nn.ModuleList(), []
        for index, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            blocks = [embed_max(dims[index - 1], dim, neuron) if index else embed(dim, neuron)]
            for _ in range(depth):
                if index < len(kernels):
                    mixer = pixel_mixer(dim, kernels[index], neuron)
                else:
                    mixer = Residual(make_neuron(neuron, dim), SpikingSelfAttention(dim, num_heads, scale, neuron))
                blocks.append(Block(mixer, membrane_mlp(dim, mlp_ratio * dim, neuron)))
            self.stages.append(nn.Sequential(*blocks))
            self.feature_info.append({"num_chs": dim, "reduction": reduction << index, "module": f"stages.{index}"})

        self.num_features = dims[-1]
        self.head_act = make_neuron(neuron, self.num_features)
        self.head_drop = SequenceDropout(drop_rate)
        self.fc = make_classifier(self.num_features, num_classes)
        init_transformer(self)

    def pool_features(self, x: Tensor) -> Tensor:
        """Average over the map, then the last neuron."""
        return self.head_act(x.mean((-2, -1)))


ORIGIN = Origin(
    "arXiv:2505.18608",
    kind="transformer",
    code="no licence",
    title="Spiking Neural Networks Need High Frequency Information",
)
imagenet = partial(images, 224, 1000, min_side=224)  # with fewer tokens the attention of a new net may be silent
default_cfgs = make_default_cfgs(
    ORIGIN,
    {
        "maxformer_10_384": imagenet(published="77.82 % ImageNet-1k, T = 4"),
        "maxformer_10_512": imagenet(published="79.86 % ImageNet-1k, T = 4"),
        "maxformer_10_768": imagenet(published="82.39 % ImageNet-1k, T = 4"),
        "maxformer_tiny": images(64, 10, min_side=28),
        "maxformer_cifar_4_384": images(32, 10, min_side=32, published="97.04 % CIFAR-10, T = 4"),
        "maxformer_cifar_tiny": images(32, 10, min_side=16),
        "maxformer_dvs_2_256": frames(128, 10, published="84.2 % CIFAR10-DVS"),
        "maxformer_dvs_tiny": frames(128, 10, min_side=32),
    },
    first_conv="conv1",
)


@register_model
def maxformer_10_384(pretrained: bool = False, **kwargs: Any) -> MaxFormer:
    """Max-Former-10-384 for ImageNet: 16,237,240 parameters."""
    return create(MaxFormer, "maxformer_10_384", pretrained, kwargs, dims=(96, 192, 384), num_heads=6)


@register_model
def maxformer_10_512(pretrained: bool = False, **kwargs: Any) -> MaxFormer:
    """Max-Former-10-512 for ImageNet: 28,653,480 parameters."""
    return create(MaxFormer, "maxformer_10_512", pretrained, kwargs, dims=(128, 256, 512), num_heads=8)


@register_model
def maxformer_10_768(pretrained: bool = False, **kwargs: Any) -> MaxFormer:
    """Max-Former-10-768 for ImageNet: 63,992,200 parameters."""
    return create(MaxFormer, "maxformer_10_768", pretrained, kwargs, dims=(192, 384, 768), num_heads=12)


FORM_CIFAR: dict[str, Any] = {"depths": (1, 1, 2), "kernels": (0, 3), "stem": "cifar"}
# The scale is that of Spikformer's net for events: at 0.125 the attention of a new net would be silent.
FORM_DVS: dict[str, Any] = {
    "depths": (1, 1),
    "kernels": (3,),
    "mlp_ratio": 1,
    "stem": "dvs",
    "num_steps": 16,
    "scale": 0.25,
}


@register_model
def maxformer_cifar_4_384(pretrained: bool = False, **kwargs: Any) -> MaxFormer:
    """Max-Former-4-384 for CIFAR: 6,568,282 parameters for 10 classes."""
    defaults = {**FORM_CIFAR, "dims": (96, 192, 384), "num_heads": 8}
    return create(MaxFormer, "maxformer_cifar_4_384", pretrained, kwargs, **defaults)


@register_model
def maxformer_dvs_2_256(pretrained: bool = False, **kwargs: Any) -> MaxFormer:
    """Max-Former-2-256 for event frames: 1,455,626 parameters for 10 classes."""
    return create(MaxFormer, "maxformer_dvs_2_256", pretrained, kwargs, **FORM_DVS, dims=(128, 256), num_heads=16)


@register_model
def maxformer_tiny(pretrained: bool = False, **kwargs: Any) -> MaxFormer:
    """One block per stage, 16 to 64 channels, ImageNet's stem; for tests and images of 28 to 128 pixels.

    With few tokens the products of the attention are small; its scale is 1, in all three of this size.
    """
    defaults = {"dims": (16, 32, 64), "depths": (1, 1, 1), "num_heads": 2, "scale": 1.0}
    return create(MaxFormer, "maxformer_tiny", pretrained, kwargs, **defaults)


@register_model
def maxformer_cifar_tiny(pretrained: bool = False, **kwargs: Any) -> MaxFormer:
    """One block per stage, 16 to 64 channels, CIFAR's stem; for tests and images of 16 to 32 pixels."""
    defaults = {**FORM_CIFAR, "dims": (16, 32, 64), "depths": (1, 1, 1), "num_heads": 2, "scale": 1.0}
    return create(MaxFormer, "maxformer_cifar_tiny", pretrained, kwargs, **defaults)


@register_model
def maxformer_dvs_tiny(pretrained: bool = False, **kwargs: Any) -> MaxFormer:
    """One block per stage, 64 and 96 channels, for tests and event frames of 32 to 128 pixels."""
    defaults = {**FORM_DVS, "dims": (64, 96), "num_heads": 2, "scale": 1.0, "num_steps": 4}
    return create(MaxFormer, "maxformer_dvs_tiny", pretrained, kwargs, **defaults)
