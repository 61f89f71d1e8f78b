"""Spikingformer: Spikformer with membrane shortcuts, so that every convolution but the first reads spikes.

Source: Zhou et al. 2023, Spikingformer: Spike-driven Residual Learning for Transformer-based Spiking Neural Network,
arXiv:2304.11954. Written from the paper's tables; the original code is Apache-2.0. Two LayerNorms in every block of it
never run (4 dim parameters a block) and are not built here. The head reads membranes: it has no neuron.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from timm.models import register_model
from torch import nn

from ..layers.attention import LIF_OF_SPIKFORMER, Block, SpikingSelfAttention, membrane_mlp, stem_units
from ..layers.stateless import ConvNeuron, ConvNorm, Residual
from ..neurons import NeuronSpec, make_neuron
from ._builder import Origin, create, frames, images, make_default_cfgs
from ._token_transformer import CIFAR_POOLS, TokenTransformer

__all__ = ["Spikingformer"]


class Spikingformer(TokenTransformer):
    """A Spikingformer of any depth and width. Errors: `TokenTransformer`. The features are potentials.

        stem     4 x [conv3x3, norm, neuron, max-pool 3x3 if it pools], conv3x3, norm
        block    x + attention(neuron(x));  x + mlp(neuron(x))
        head     mean over tokens, classifier

    Args:
        heads: Heads of the attention; see `SpikeAttention`.
        scale: Factor on the product of the attention.
        **arguments: See `TokenTransformer`.
    """

    def __init__(self, heads: int = 8, scale: float = 0.125, **arguments: Any) -> None:
        super().__init__(partial(SpikingSelfAttention, heads=heads, scale=scale), **arguments)

    @staticmethod
    def make_stem(
        in_chans: int, dim: int, pools: Sequence[bool], neuron: NeuronSpec
    ) -> tuple[ConvNeuron, nn.Sequential]:
        """Four units, a convolution and a norm."""
        encoder, units = stem_units(in_chans, dim, pools, neuron)
        return encoder, nn.Sequential(*units, ConvNorm(dim, dim, 3))

    @staticmethod
    def make_block(dim: int, hidden: int, neuron: NeuronSpec, attention: Callable[..., nn.Module]) -> Block:
        """Shortcuts of potentials: the neuron precedes each branch."""
        attn = Residual(make_neuron(neuron, dim), attention(dim=dim, neuron=neuron))
        return Block(attn, membrane_mlp(dim, hidden, neuron))


ORIGIN = Origin(
    "arXiv:2304.11954",
    kind="transformer",
    code="Apache-2.0",
    title="Spikingformer: Spike-driven Residual Learning for Transformer-based Spiking Neural Network",
)
imagenet = partial(images, 224, 1000, min_side=112)  # with fewer tokens the attention of a new net may be silent
cifar = partial(images, 32, 10)
default_cfgs = make_default_cfgs(
    ORIGIN,
    {
        "spikingformer_8_384": imagenet(published="72.45 % ImageNet-1k, T = 4"),
        "spikingformer_8_512": imagenet(published="74.79 % ImageNet-1k, T = 4"),
        "spikingformer_8_768": imagenet(published="75.85 % ImageNet-1k, T = 4"),
        "spikingformer_tiny": images(224, 10, min_side=32),
        "spikingformer_cifar_4_384": cifar(min_side=32, published="95.61 % CIFAR-10, T = 4"),
        "spikingformer_cifar_4_256": cifar(min_side=32),
        "spikingformer_cifar_2_384": cifar(min_side=32),
        "spikingformer_cifar_tiny": cifar(min_side=16),
        "spikingformer_dvs_2_256": frames(128, 10, published="81.3 % CIFAR10-DVS, T = 16"),
        "spikingformer_dvs_tiny": frames(128, 10, min_side=32),
    },
    first_conv="encoder.conv",
    crop_pct=1.0,
)

CIFAR: dict[str, Any] = {"pools": CIFAR_POOLS}
DVS: dict[str, Any] = {"neuron": {**LIF_OF_SPIKFORMER, "tau": 1.5}, "num_steps": 16}
TINY: dict[str, Any] = {"dim": 64, "depth": 2, "heads": 2, "scale": 1.0, "num_steps": 4}


@register_model
def spikingformer_8_384(pretrained: bool = False, **kwargs: Any) -> Spikingformer:
    """8 blocks of 384 channels for ImageNet: 16,816,024 parameters (the original: 12,288 more that never run)."""
    return create(Spikingformer, "spikingformer_8_384", pretrained, kwargs, dim=384, depth=8)


@register_model
def spikingformer_8_512(pretrained: bool = False, **kwargs: Any) -> Spikingformer:
    """8 blocks of 512 channels for ImageNet: 29,689,384 parameters (the original: 16,384 more that never run)."""
    return create(Spikingformer, "spikingformer_8_512", pretrained, kwargs, dim=512, depth=8)


@register_model
def spikingformer_8_768(pretrained: bool = False, **kwargs: Any) -> Spikingformer:
    """8 blocks of 768 channels for ImageNet: 66,338,632 parameters (the original: 24,576 more that never run)."""
    return create(Spikingformer, "spikingformer_8_768", pretrained, kwargs, dim=768, depth=8)


@register_model
def spikingformer_tiny(pretrained: bool = False, **kwargs: Any) -> Spikingformer:
    """The form for ImageNet with 2 blocks of 64 channels, for images of 32 to 64 pixels: 163,666 parameters.

    With few tokens the products of the attention are small; its scale is 1.
    """
    return create(Spikingformer, "spikingformer_tiny", pretrained, kwargs, **TINY)


@register_model
def spikingformer_cifar_4_384(pretrained: bool = False, **kwargs: Any) -> Spikingformer:
    """4 blocks of 384 channels for CIFAR: 9,320,122 parameters (the original: 6,144 more that never run)."""
    return create(Spikingformer, "spikingformer_cifar_4_384", pretrained, kwargs, **CIFAR, dim=384, depth=4, heads=12)


@register_model
def spikingformer_cifar_4_256(pretrained: bool = False, **kwargs: Any) -> Spikingformer:
    """4 blocks of 256 channels for CIFAR: 4,152,106 parameters (the original: 4,096 more that never run).

    The paper's 12 heads do not divide 256 channels; 8 do, of the 32 channels that a head of the wider nets has.
    """
    return create(Spikingformer, "spikingformer_cifar_4_256", pretrained, kwargs, **CIFAR, dim=256, depth=4, heads=8)


@register_model
def spikingformer_cifar_2_384(pretrained: bool = False, **kwargs: Any) -> Spikingformer:
    """2 blocks of 384 channels for CIFAR: 5,762,746 parameters (the original: 3,072 more that never run)."""
    return create(Spikingformer, "spikingformer_cifar_2_384", pretrained, kwargs, **CIFAR, dim=384, depth=2, heads=12)


@register_model
def spikingformer_cifar_tiny(pretrained: bool = False, **kwargs: Any) -> Spikingformer:
    """The form for CIFAR with 2 blocks of 64 channels, for images of 16 to 32 pixels: 163,666 parameters."""
    return create(Spikingformer, "spikingformer_cifar_tiny", pretrained, kwargs, **TINY, **CIFAR)


@register_model
def spikingformer_dvs_2_256(pretrained: bool = False, **kwargs: Any) -> Spikingformer:
    """2 blocks of 256 channels for events of 128 x 128: 2,566,666 parameters (the original: 2,048 more that never run).

    The released recipe for events has tau 1.5.
    """
    return create(Spikingformer, "spikingformer_dvs_2_256", pretrained, kwargs, **DVS, dim=256, depth=2, heads=16)


@register_model
def spikingformer_dvs_tiny(pretrained: bool = False, **kwargs: Any) -> Spikingformer:
    """The form for events with 2 blocks of 64 channels, for frames of 32 to 64 pixels: 163,594 parameters."""
    return create(Spikingformer, "spikingformer_dvs_tiny", pretrained, kwargs, **{**DVS, **TINY})
