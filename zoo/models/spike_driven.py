"""Spike-driven Transformer: attention that masks and adds, without a product of matrices.

Source: Yao et al. 2023, Spike-driven Transformer, NeurIPS, arXiv:2307.01694. Written from the paper's tables; the
original code is Apache-2.0. An 8 x 8 convolution between the heads of every block of it never runs (64 parameters a
block) and is not built here.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from ..layers.attention import Block, attention_neuron, membrane_mlp, stem_units
from ..layers.stateless import ConvNeuron, ConvNorm, NeuronConv, Residual, over_time
from ..neurons import NeuronSpec, make_neuron
from ._builder import Origin, create, frames, images, make_default_cfgs
from ._token_transformer import CIFAR_POOLS, TokenTransformer

__all__ = ["SpikeDrivenTransformer"]


class SpikeDrivenAttention(nn.Module):
    r"""The branch of spike-driven self-attention: the channels in which keys and values meet are let through.

        m = neuron(sum over tokens of k * v)  [dim],   o = q * m  [H W, dim],   a 1x1 unit reads o

    All products are of spikes, element by element, so that they are masks; the cost is linear in the tokens. Heads, of
    which the paper speaks, change nothing: every channel is on its own.

    Args:
        dim: Channels.
        neuron: In JSON; that of m takes the threshold 0.5.
        dilate: Whether k, v, k * v and q * m each go through a 3x3 max-pool of stride 1, as in the nets for events,
            here all four over the pixels of the map (not compared with the released code).
    """

    def __init__(self, dim: int, neuron: NeuronSpec, dilate: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v = (ConvNeuron(dim, dim, neuron) for _ in range(3))
        self.act = attention_neuron(neuron, dim)
        self.pool = nn.MaxPool2d(3, 1, padding=1) if dilate else nn.Identity()
        self.proj = ConvNorm(dim, dim, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Current of the spikes x, [T, N, C, H, W] both."""
        q, k, v = self.q(x), self.dilated(self.k(x)), self.dilated(self.v(x))
        mask = self.act(self.dilated(k * v).sum((-2, -1), keepdim=True))  # [T, N, C, 1, 1]
        return self.proj(self.dilated(q * mask))

    def dilated(self, x: Tensor) -> Tensor:
        """The map of spikes after the max-pool, if there is one."""
        return over_time(x, self.pool)


class SpikeDrivenTransformer(TokenTransformer):
    """A Spike-driven Transformer (version 1). Errors: `TokenTransformer`. The features are potentials.

        stem     3 x [conv3x3, norm, neuron, max-pool 3x3 if it pools], conv3x3, norm, max-pool 3x3 if it pools;
                 x + norm(conv3x3(neuron(x)))
        block    x + attention(neuron(x));  x + mlp(neuron(x))
        head     mean over tokens, neuron, classifier

    Args:
        dilate: Whether the attention widens its spikes; see `SpikeDrivenAttention`.
        **arguments: See `TokenTransformer`.
    """

    def __init__(self, dilate: bool = False, **arguments: Any) -> None:
        super().__init__(partial(SpikeDrivenAttention, dilate=dilate), **arguments)

    @staticmethod
    def make_stem(
        in_chans: int, dim: int, pools: Sequence[bool], neuron: NeuronSpec
    ) -> tuple[ConvNeuron, nn.Sequential]:
        """Four units, the last without a neuron, and a convolution beside a shortcut."""
        encoder, units = stem_units(in_chans, dim, pools, neuron, last_fires=False)
        return encoder, nn.Sequential(*units, Residual(NeuronConv(dim, dim, neuron, 3)))

    @staticmethod
    def make_block(dim: int, hidden: int, neuron: NeuronSpec, attention: Callable[..., nn.Module]) -> Block:
        """Shortcuts of potentials: the neuron precedes each branch."""
        attn = Residual(make_neuron(neuron, dim), attention(dim=dim, neuron=neuron))
        return Block(attn, membrane_mlp(dim, hidden, neuron))

    @staticmethod
    def make_head_neuron(dim: int, neuron: NeuronSpec) -> nn.Module:
        """A neuron like the others."""
        return make_neuron(neuron, dim)


ORIGIN = Origin("arXiv:2307.01694", kind="transformer", code="Apache-2.0", title="Spike-driven Transformer")
imagenet = partial(images, 224, 1000, min_side=112)  # with fewer tokens the attention of a new net may be silent
cifar = partial(images, 32, 10)
default_cfgs = make_default_cfgs(
    ORIGIN,
    {
        "spike_driven_8_384": imagenet(published="72.28 % ImageNet-1k, T = 4"),
        "spike_driven_6_512": imagenet(published="74.11 % ImageNet-1k, T = 4"),
        "spike_driven_8_512": imagenet(published="74.57 % ImageNet-1k, T = 4"),
        "spike_driven_10_512": imagenet(published="74.66 % ImageNet-1k, T = 4"),
        "spike_driven_8_768": imagenet(published="76.32 % ImageNet-1k, T = 4"),
        "spike_driven_tiny": images(224, 10, min_side=64),
        "spike_driven_cifar_2_256": cifar(min_side=32),
        "spike_driven_cifar_2_512": cifar(min_side=32, published="95.6 % CIFAR-10, T = 4"),
        "spike_driven_cifar_tiny": cifar(min_side=16),
        "spike_driven_cifar10dvs_2_256": frames(64, 10, published="80.0 % CIFAR10-DVS, T = 16"),
        "spike_driven_dvsgesture_2_256": frames(128, 11, published="99.3 % DVS128 Gesture, T = 16"),
        "spike_driven_dvs_tiny": frames(64, 10, min_side=32),
    },
    first_conv="encoder.conv",
)

CIFAR: dict[str, Any] = {"pools": CIFAR_POOLS}
CIFAR10_DVS: dict[str, Any] = {"pools": CIFAR_POOLS, "dilate": True, "num_steps": 16}
GESTURE: dict[str, Any] = {"pools": (False, True, True, True), "dilate": True, "num_steps": 16}
TINY: dict[str, Any] = {"dim": 64, "depth": 2, "num_steps": 4}


@register_model
def spike_driven_8_384(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """8 blocks of 384 channels for ImageNet: 16,816,024 parameters (the original: 512 more that never run)."""
    return create(SpikeDrivenTransformer, "spike_driven_8_384", pretrained, kwargs, dim=384, depth=8)


@register_model
def spike_driven_6_512(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """6 blocks of 512 channels for ImageNet: 23,373,352 parameters (the original: 384 more that never run)."""
    return create(SpikeDrivenTransformer, "spike_driven_6_512", pretrained, kwargs, dim=512, depth=6)


@register_model
def spike_driven_8_512(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """8 blocks of 512 channels for ImageNet: 29,689,384 parameters (the original: 512 more that never run)."""
    return create(SpikeDrivenTransformer, "spike_driven_8_512", pretrained, kwargs, dim=512, depth=8)


@register_model
def spike_driven_10_512(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """10 blocks of 512 channels for ImageNet: 36,005,416 parameters (the original: 640 more that never run)."""
    return create(SpikeDrivenTransformer, "spike_driven_10_512", pretrained, kwargs, dim=512, depth=10)


@register_model
def spike_driven_8_768(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """8 blocks of 768 channels for ImageNet: 66,338,632 parameters (the original: 512 more that never run)."""
    return create(SpikeDrivenTransformer, "spike_driven_8_768", pretrained, kwargs, dim=768, depth=8)


@register_model
def spike_driven_tiny(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """The form for ImageNet with 2 blocks of 64 channels, for images from 64 pixels: 163,666 parameters."""
    return create(SpikeDrivenTransformer, "spike_driven_tiny", pretrained, kwargs, **TINY)


@register_model
def spike_driven_cifar_2_256(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """2 blocks of 256 channels for CIFAR: 2,566,954 parameters (the original: 128 more that never run)."""
    return create(SpikeDrivenTransformer, "spike_driven_cifar_2_256", pretrained, kwargs, **CIFAR, dim=256, depth=2)


@register_model
def spike_driven_cifar_2_512(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """2 blocks of 512 channels for CIFAR: 10,233,418 parameters (the original: 128 more that never run)."""
    return create(SpikeDrivenTransformer, "spike_driven_cifar_2_512", pretrained, kwargs, **CIFAR, dim=512, depth=2)


@register_model
def spike_driven_cifar_tiny(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """The form for CIFAR with 2 blocks of 64 channels, for images of 16 to 32 pixels: 163,666 parameters."""
    return create(SpikeDrivenTransformer, "spike_driven_cifar_tiny", pretrained, kwargs, **TINY, **CIFAR)


@register_model
def spike_driven_cifar10dvs_2_256(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """2 blocks of 256 channels for CIFAR10-DVS, frames of 64 x 64: 2,566,666 parameters."""
    defaults = {**CIFAR10_DVS, "dim": 256, "depth": 2}
    return create(SpikeDrivenTransformer, "spike_driven_cifar10dvs_2_256", pretrained, kwargs, **defaults)


@register_model
def spike_driven_dvsgesture_2_256(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """2 blocks of 256 channels for DVS128 Gesture: 2,566,923 parameters (the original: 128 more that never run)."""
    defaults = {**GESTURE, "dim": 256, "depth": 2}
    return create(SpikeDrivenTransformer, "spike_driven_dvsgesture_2_256", pretrained, kwargs, **defaults)


@register_model
def spike_driven_dvs_tiny(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """The form for DVS128 Gesture with 2 blocks of 64 channels, for frames of 32 to 64 pixels: 163,594 parameters."""
    return create(SpikeDrivenTransformer, "spike_driven_dvs_tiny", pretrained, kwargs, **{**GESTURE, **TINY})
