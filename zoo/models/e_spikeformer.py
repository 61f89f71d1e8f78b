"""E-SpikeFormer (Spike-driven Transformer V3): integer-trained, without time. A category of its own.

Source: Yao et al. 2025, arXiv:2411.16061. Written from the paper's tables; the original has no licence. The layout is
that of Meta-SpikeFormer with other blocks. Its unit `integer` has D + 1 levels and no membrane: at T = 1 this is a
network of quantised activations, whose claim to be spiking is that k / D can be sent as k spikes in D binary steps. Do
not rank it among networks of binary spikes. The energy counter counts its operations as multiply-accumulates;
spikes as the paper counts them are `sops` times D.
"""

from functools import partial
from typing import Any, ClassVar

from timm.models import register_model
from torch import Tensor, nn

from ..layers.attention import Block, SpikeAttention, membrane_mlp
from ..layers.stateless import ConvNeuron, ConvNorm, NeuronConv, Residual
from ..neurons import NeuronSpec, make_neuron
from ._builder import Origin, create, images, make_default_cfgs
from .meta_spikeformer import MetaSpikeFormer

__all__ = ["ESpikeFormer"]


def separable_conv(dim: int, kernel_size: int, neuron: NeuronSpec) -> Residual:
    """1x1 to 2 C channels, a convolution of every channel alone, 1x1 back; each has its unit and norm."""
    depthwise = NeuronConv(2 * dim, 2 * dim, neuron, kernel_size, groups=2 * dim)
    return Residual(NeuronConv(dim, 2 * dim, neuron), depthwise, NeuronConv(2 * dim, dim, neuron))


class ExpandedAttention(nn.Module):
    r"""Linear attention branch whose v has four times the channels: [T, N, C, H, W] -> the same shape.

        A = unit(scale / sqrt(d) q (k^T v)),   d = C / heads

    `SpikeAttention` halves the threshold of its neuron; so a scale of 1 is the paper's 2 with the threshold of the
    other units.

    Args:
        dim: Channels C.
        num_heads: Heads.
        scale: Factor on the product.
        neuron: Neuron in JSON.
    """

    def __init__(self, dim: int, num_heads: int, scale: float, neuron: NeuronSpec) -> None:
        super().__init__()
        self.q, self.k = ConvNeuron(dim, dim, neuron), ConvNeuron(dim, dim, neuron)
        self.v = ConvNeuron(dim, 4 * dim, neuron)
        self.attention = SpikeAttention(4 * dim, num_heads, scale * (dim / num_heads) ** -0.5, neuron)
        self.proj = ConvNorm(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Currents of what a unit gave."""
        return self.proj(self.attention(self.q(x), self.k(x), self.v(x)))


class ESpikeFormer(MetaSpikeFormer):
    """An E-SpikeFormer of any width and depth. Errors: `SpikingModel`.

    The classifier reads the average of the last currents, as in the released code, not of a unit's output.

    Args:
        scale: See `ExpandedAttention`.
        neuron: The unit of every layer, in JSON; see `make_neuron`.
        num_steps: Steps T that a still image is shown for.
        **arguments: See `MetaSpikeFormer`.
    """

    real_inputs: ClassVar[str] = r"$^"

    def __init__(
        self, scale: float = 1.0, neuron: NeuronSpec = "integer", num_steps: int = 1, **arguments: Any
    ) -> None:
        super().__init__(scale=scale, neuron=neuron, num_steps=num_steps, **arguments)

    @staticmethod
    def conv_block(dim: int, neuron: NeuronSpec) -> nn.Module:
        """A block of the first three stages: a separable convolution, then two full ones, 4 C channels between them."""
        full = (NeuronConv(dim, 4 * dim, neuron, kernel_size=3), NeuronConv(4 * dim, dim, neuron, kernel_size=3))
        return nn.Sequential(separable_conv(dim, 7, neuron), Residual(*full))

    @staticmethod
    def attn_block(dim: int, num_heads: int, scale: float, neuron: NeuronSpec) -> nn.Module:
        """A block of the last two stages: a separable convolution, the attention, the MLP."""
        attn = Residual(make_neuron(neuron, dim), ExpandedAttention(dim, num_heads, scale, neuron))
        return nn.Sequential(separable_conv(dim, 3, neuron), *Block(attn, membrane_mlp(dim, 4 * dim, neuron)))

    def head_neuron(self, neuron: NeuronSpec) -> nn.Module:
        """None: see the class."""
        return nn.Identity()


ORIGIN = Origin(
    "arXiv:2411.16061",
    kind="transformer, integer-trained",
    code="no licence",
    title="Scaling Spike-driven Transformer with Efficient Spike Firing Approximation Training",
)
imagenet = partial(images, 224, 1000, min_side=112)  # with fewer tokens the attention of a new net may be silent
default_cfgs = make_default_cfgs(
    ORIGIN,
    {
        "e_spikeformer_3m": imagenet(),
        "e_spikeformer_5m": imagenet(),
        "e_spikeformer_10m": imagenet(published="78.5 % ImageNet-1k, 1 x 4 levels"),
        "e_spikeformer_19m": imagenet(published="79.8 % ImageNet-1k, 1 x 4 levels"),
        "e_spikeformer_tiny": images(32, 10, min_side=28),
    },
    first_conv="conv1",
)


@register_model
def e_spikeformer_3m(pretrained: bool = False, **kwargs: Any) -> ESpikeFormer:
    """E-SpikeFormer-T for ImageNet: 2,702,048 parameters."""
    return create(ESpikeFormer, "e_spikeformer_3m", pretrained, kwargs, dims=(24, 48, 96, 128))


@register_model
def e_spikeformer_5m(pretrained: bool = False, **kwargs: Any) -> ESpikeFormer:
    """E-SpikeFormer-S for ImageNet: 5,105,608 parameters."""
    return create(ESpikeFormer, "e_spikeformer_5m", pretrained, kwargs, dims=(32, 64, 128, 192))


@register_model
def e_spikeformer_10m(pretrained: bool = False, **kwargs: Any) -> ESpikeFormer:
    """E-SpikeFormer-M for ImageNet: 10,023,112 parameters."""
    return create(ESpikeFormer, "e_spikeformer_10m", pretrained, kwargs, dims=(48, 96, 192, 240))


@register_model
def e_spikeformer_19m(pretrained: bool = False, **kwargs: Any) -> ESpikeFormer:
    """E-SpikeFormer-L for ImageNet: 18,987,504 parameters."""
    return create(ESpikeFormer, "e_spikeformer_19m", pretrained, kwargs, dims=(64, 128, 256, 360))


@register_model
def e_spikeformer_tiny(pretrained: bool = False, **kwargs: Any) -> ESpikeFormer:
    """One block per stage, 8 to 48 channels, two heads; for tests and images of 28 to 64 pixels.

    With few tokens the products of the attention are small; its scale is 4.
    """
    defaults = {"dims": (16, 24, 32, 48), "depths": (1, 1, 1, 1, 1), "num_heads": 2, "scale": 4.0}
    return create(ESpikeFormer, "e_spikeformer_tiny", pretrained, kwargs, **defaults)
