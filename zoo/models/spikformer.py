"""Spikformer: the first transformer of spikes, whose attention has no softmax.

Source: Zhou et al. 2023, Spikformer: When Spiking Neural Network Meets Transformer, ICLR, arXiv:2209.15425. Written
from the paper's tables; the original code is MIT. Two LayerNorms in every block of it never run (4 dim parameters a
block), nor do the position embedding and the norm of its net for events (66 dim at 128 x 128): none of them is built
here. Shortcuts add spikes, so that the first convolutions of a branch read small integers (see `zoo/energy.py`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from timm.models import register_model
from torch import nn

from ..layers.attention import Block, SpikingSelfAttention, stem_units
from ..layers.stateless import ConvNeuron, ConvNorm, Residual
from ..neurons import NeuronSpec, make_neuron
from ._builder import Origin, create, frames, images, make_default_cfgs
from ._token_transformer import CIFAR_POOLS, TokenTransformer

__all__ = ["Spikformer"]


class Spikformer(TokenTransformer):
    """A Spikformer of any depth and width. Features and errors: `TokenTransformer`.

        stem     4 x [conv3x3, norm, neuron, max-pool 3x3 if it pools];  x + neuron(norm(conv3x3(x)))
        block    x + neuron(attention(x));  x + neuron(mlp(x))
        head     mean over tokens, classifier

    Args:
        heads: Heads of the attention; see `SpikeAttention`.
        scale: Factor on the product of the attention.
        qkv_bias: Whether the convolutions of q, k and v have biases.
        **arguments: See `TokenTransformer`.
    """

    integer_inputs = r"^blocks\.\d+\.(attn\.0\.(q|k|v)|mlp\.0)\.conv$"

    def __init__(self, heads: int = 8, scale: float = 0.125, qkv_bias: bool = False, **arguments: Any) -> None:
        super().__init__(partial(SpikingSelfAttention, heads=heads, scale=scale, qkv_bias=qkv_bias), **arguments)

    @staticmethod
    def make_stem(
        in_chans: int, dim: int, pools: Sequence[bool], neuron: NeuronSpec
    ) -> tuple[ConvNeuron, nn.Sequential]:
        """Four units, and a convolution beside a shortcut."""
        encoder, units = stem_units(in_chans, dim, pools, neuron)
        return encoder, nn.Sequential(*units, Residual(ConvNorm(dim, dim, 3), make_neuron(neuron, dim)))

    @staticmethod
    def make_block(dim: int, hidden: int, neuron: NeuronSpec, attention: Callable[..., nn.Module]) -> Block:
        """Shortcuts of spikes: the neuron follows each branch."""
        attn = Residual(attention(dim=dim, neuron=neuron), make_neuron(neuron, dim))
        mlp = ConvNeuron(dim, hidden, neuron, bias=True), ConvNorm(hidden, dim, bias=True)
        return Block(attn, Residual(*mlp, make_neuron(neuron, dim)))


ORIGIN = Origin(
    "arXiv:2209.15425",
    kind="transformer",
    code="MIT",
    title="Spikformer: When Spiking Neural Network Meets Transformer",
)
imagenet = partial(images, 224, 1000, min_side=112)  # with fewer tokens the attention of a new net may be silent
cifar = partial(images, 32, 10)
default_cfgs = make_default_cfgs(
    ORIGIN,
    {
        "spikformer_8_384": imagenet(published="70.24 % ImageNet-1k, T = 4"),
        "spikformer_6_512": imagenet(published="72.46 % ImageNet-1k, T = 4"),
        "spikformer_8_512": imagenet(published="73.38 % ImageNet-1k, T = 4"),
        "spikformer_10_512": imagenet(published="73.68 % ImageNet-1k, T = 4"),
        "spikformer_8_768": imagenet(published="74.81 % ImageNet-1k, T = 4"),
        "spikformer_tiny": images(224, 10, min_side=32),
        "spikformer_cifar_4_384": cifar(min_side=32, published="95.19 % CIFAR-10, T = 4"),
        "spikformer_cifar_4_256": cifar(min_side=32, published="93.94 % CIFAR-10, T = 4"),
        "spikformer_cifar_2_384": cifar(min_side=32, published="94.80 % CIFAR-10, T = 4"),
        "spikformer_cifar_tiny": cifar(min_side=16),
        "spikformer_dvs_2_256": frames(128, 10, published="80.9 % CIFAR10-DVS, T = 16"),
        "spikformer_dvs_tiny": frames(128, 10, min_side=32),
    },
    first_conv="encoder.conv",
)

CIFAR: dict[str, Any] = {"pools": CIFAR_POOLS, "qkv_bias": True}
DVS: dict[str, Any] = {"scale": 0.25, "num_steps": 16}
TINY: dict[str, Any] = {"dim": 64, "depth": 2, "heads": 2, "scale": 1.0, "num_steps": 4}


@register_model
def spikformer_8_384(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """8 blocks of 384 channels for ImageNet: 16,816,024 parameters (the original: 12,288 more that never run)."""
    return create(Spikformer, "spikformer_8_384", pretrained, kwargs, dim=384, depth=8)


@register_model
def spikformer_6_512(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """6 blocks of 512 channels for ImageNet: 23,373,352 parameters (the original: 12,288 more that never run)."""
    return create(Spikformer, "spikformer_6_512", pretrained, kwargs, dim=512, depth=6)


@register_model
def spikformer_8_512(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """8 blocks of 512 channels for ImageNet: 29,689,384 parameters (the original: 16,384 more that never run)."""
    return create(Spikformer, "spikformer_8_512", pretrained, kwargs, dim=512, depth=8)


@register_model
def spikformer_10_512(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """10 blocks of 512 channels for ImageNet: 36,005,416 parameters (the original: 20,480 more that never run)."""
    return create(Spikformer, "spikformer_10_512", pretrained, kwargs, dim=512, depth=10)


@register_model
def spikformer_8_768(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """8 blocks of 768 channels for ImageNet: 66,338,632 parameters (the original: 24,576 more that never run)."""
    return create(Spikformer, "spikformer_8_768", pretrained, kwargs, dim=768, depth=8)


@register_model
def spikformer_tiny(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """The form for ImageNet with 2 blocks of 64 channels, for images of 32 to 64 pixels: 163,666 parameters.

    With few tokens the products of the attention are small; its scale is 1.
    """
    return create(Spikformer, "spikformer_tiny", pretrained, kwargs, **TINY)


@register_model
def spikformer_cifar_4_384(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """4 blocks of 384 channels for CIFAR: 9,324,730 parameters (the original: 6,144 more that never run)."""
    return create(Spikformer, "spikformer_cifar_4_384", pretrained, kwargs, **CIFAR, dim=384, depth=4, heads=12)


@register_model
def spikformer_cifar_4_256(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """4 blocks of 256 channels for CIFAR: 4,155,178 parameters (the original: 4,096 more that never run).

    The paper's 12 heads do not divide 256 channels; 8 do, of the 32 channels that a head of the wider nets has.
    """
    return create(Spikformer, "spikformer_cifar_4_256", pretrained, kwargs, **CIFAR, dim=256, depth=4, heads=8)


@register_model
def spikformer_cifar_2_384(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """2 blocks of 384 channels for CIFAR: 5,765,050 parameters (the original: 3,072 more that never run)."""
    return create(Spikformer, "spikformer_cifar_2_384", pretrained, kwargs, **CIFAR, dim=384, depth=2, heads=12)


@register_model
def spikformer_cifar_tiny(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """The form for CIFAR with 2 blocks of 64 channels, for images of 16 to 32 pixels: 164,050 parameters."""
    return create(Spikformer, "spikformer_cifar_tiny", pretrained, kwargs, **TINY, **CIFAR)


@register_model
def spikformer_dvs_2_256(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """2 blocks of 256 channels for events, 128 x 128: 2,566,666 parameters (the original: 18,944 more that never run).

    Made for CIFAR10-DVS, with 16 heads; the paper's net for DVS128 Gesture has 11 classes.
    """
    return create(Spikformer, "spikformer_dvs_2_256", pretrained, kwargs, **DVS, dim=256, depth=2, heads=16)


@register_model
def spikformer_dvs_tiny(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """The form for events with 2 blocks of 64 channels, for frames of 32 to 64 pixels: 163,594 parameters."""
    return create(Spikformer, "spikformer_dvs_tiny", pretrained, kwargs, **{**DVS, **TINY})
