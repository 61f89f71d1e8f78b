"""Spikformer: the first transformer of spikes, whose attention has no softmax.

Source: Zhou et al. 2023, Spikformer: When Spiking Neural Network Meets Transformer, ICLR, arXiv:2209.15425. Written
from the paper's tables; the original code is MIT. Two LayerNorms in every block of it never run (4 dim parameters a
block), nor do the position embedding and the norm of its net for events (66 dim at 128 x 128): none of them is built
here. Shortcuts add spikes, so that the first convolutions of a branch read small integers (see `zoo/energy.py`).
"""

from collections.abc import Iterator
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from ..layers.attention import (
    LIF_OF_SPIKFORMER,
    Block,
    SpikingSelfAttention,
    init_transformer,
    stem_units,
    token_features,
)
from ..layers.stateless import ConvNeuron, ConvNorm, Residual, SequenceDropout, make_classifier
from ..model import SpikingModel, TimeMeanFeatures
from ..neurons import NeuronSpec, make_neuron

__all__ = ["Spikformer"]


class Spikformer(SpikingModel):
    """A Spikformer of any depth and width. Contract and errors: `SpikingModel`.

        stem     4 x [conv3x3, norm, neuron, max-pool 3x3 if it pools];  x + neuron(norm(conv3x3(x)))
        block    x + neuron(attention(x));  x + neuron(mlp(x))
        head     mean over tokens, classifier

    The features are the tokens after the stem and after every block, as maps [T, N, dim, H, W].

    Args:
        dim: Channels of a token, a multiple of 8 and of the heads.
        depth: Blocks.
        heads: Heads of the attention; see `SpikeAttention`.
        scale: Factor on the product of the attention.
        mlp_ratio: Hidden channels of an MLP per channel.
        pools: Of each of the stem's four units, whether it pools.
        qkv_bias: Whether the convolutions of q, k and v have biases.
        neuron: Neuron of every layer, in JSON; see `make_neuron`. Those of the attention take the threshold 0.5.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C.
        drop_rate: Dropout before the classifier.
    """

    integer_inputs = r"^blocks\.\d+\.(attn\.0\.(q|k|v)|mlp\.0)\.conv$"

    def __init__(
        self,
        dim: int = 384,
        depth: int = 8,
        heads: int = 8,
        scale: float = 0.125,
        mlp_ratio: int = 4,
        pools: tuple[bool, ...] = (True, True, True, True),
        qkv_bias: bool = False,
        neuron: NeuronSpec = LIF_OF_SPIKFORMER,
        num_steps: int = 4,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        self.encoder, units = stem_units(in_chans, dim, pools, neuron)
        self.stem = nn.Sequential(*units, Residual(ConvNorm(dim, dim, 3), make_neuron(neuron, dim)))
        self.blocks = nn.Sequential()
        for _ in range(depth):
            attention = SpikingSelfAttention(dim, heads, scale, neuron, qkv_bias)
            hidden = dim * mlp_ratio
            mlp = ConvNeuron(dim, hidden, neuron, bias=True), ConvNorm(hidden, dim, bias=True)
            self.blocks.append(
                Block(Residual(attention, make_neuron(neuron, dim)), Residual(*mlp, make_neuron(neuron, dim)))
            )
        self.feature_info = token_features(dim, depth, pools)
        self.num_features = dim
        self.head_drop = SequenceDropout(drop_rate)
        self.fc = make_classifier(dim, num_classes)
        init_transformer(self)

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The tokens after the stem, then after every block."""
        x = self.stage(self.stem, self.stage(self.encode, x))
        yield x
        for block in self.blocks:
            x = self.stage(block, x)
            yield x

    def encode(self, x: Tensor) -> Tensor:
        """The first unit, whose convolution sees a still image once."""
        return self.encoder.fire(self.repeat_still(self.encoder.current(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Mean over the tokens, dropout, classifier: [T, N, C, H, W] -> [T, N, K]."""
        x = self.head_drop(x.mean((-2, -1)))
        return x if pre_logits else self.fc(x)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """See `SpikingModel`."""
        return {"stem": r"^encoder|stem", "blocks": r"^blocks\.(\d+)"}


def _cfg(**changes: Any) -> dict[str, Any]:
    return {
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "min_input_size": (3, 112, 112),  # with fewer tokens the attention of a new net may be silent
        "interpolation": "bicubic",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "first_conv": "encoder.conv",
        "classifier": "fc",
        "paper_ids": "arXiv:2209.15425",
        "notes": ("kind: transformer", "original code: MIT"),
        "paper_name": "Spikformer: When Spiking Neural Network Meets Transformer",
        **changes,
    }


def _cifar_cfg(**changes: Any) -> dict[str, Any]:
    return _cfg(**{"num_classes": 10, "input_size": (3, 32, 32), "min_input_size": (3, 32, 32), **changes})


def _dvs_cfg(**changes: Any) -> dict[str, Any]:
    shapes = {"num_classes": 10, "input_size": (2, 128, 128), "min_input_size": (2, 128, 128)}
    return _cfg(**{**shapes, "mean": (0.0, 0.0), "std": (1.0, 1.0), **changes})


default_cfgs = generate_default_cfgs(
    {
        "spikformer_8_384": _cfg(description="70.24 % ImageNet-1k, T = 4"),
        "spikformer_6_512": _cfg(description="72.46 % ImageNet-1k, T = 4"),
        "spikformer_8_512": _cfg(description="73.38 % ImageNet-1k, T = 4"),
        "spikformer_10_512": _cfg(description="73.68 % ImageNet-1k, T = 4"),
        "spikformer_8_768": _cfg(description="74.81 % ImageNet-1k, T = 4"),
        "spikformer_tiny": _cfg(num_classes=10, min_input_size=(3, 32, 32)),
        "spikformer_cifar_4_384": _cifar_cfg(description="95.19 % CIFAR-10, T = 4"),
        "spikformer_cifar_4_256": _cifar_cfg(description="93.94 % CIFAR-10, T = 4"),
        "spikformer_cifar_2_384": _cifar_cfg(description="94.80 % CIFAR-10, T = 4"),
        "spikformer_cifar_tiny": _cifar_cfg(min_input_size=(3, 16, 16)),
        "spikformer_dvs_2_256": _dvs_cfg(description="80.9 % CIFAR10-DVS, T = 16"),
        "spikformer_dvs_tiny": _dvs_cfg(min_input_size=(2, 32, 32)),
    }
)

CIFAR: dict[str, Any] = {"pools": (False, False, True, True), "qkv_bias": True}
DVS: dict[str, Any] = {"scale": 0.25, "num_steps": 16}
TINY: dict[str, Any] = {"dim": 64, "depth": 2, "heads": 2, "scale": 1.0, "num_steps": 4}


def _create(variant: str, pretrained: bool, defaults: dict[str, Any], kwargs: dict[str, Any]) -> Spikformer:
    kwargs = {**defaults, **kwargs}
    feature_cfg = {"feature_cls": TimeMeanFeatures, "out_indices": tuple(range(kwargs["depth"] + 1))}
    return build_model_with_cfg(Spikformer, variant, pretrained, feature_cfg=feature_cfg, **kwargs)


@register_model
def spikformer_8_384(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """8 blocks of 384 channels for ImageNet: 16,816,024 parameters (the original: 12,288 more that never run)."""
    return _create("spikformer_8_384", pretrained, {"dim": 384, "depth": 8}, kwargs)


@register_model
def spikformer_6_512(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """6 blocks of 512 channels for ImageNet: 23,373,352 parameters (the original: 12,288 more that never run)."""
    return _create("spikformer_6_512", pretrained, {"dim": 512, "depth": 6}, kwargs)


@register_model
def spikformer_8_512(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """8 blocks of 512 channels for ImageNet: 29,689,384 parameters (the original: 16,384 more that never run)."""
    return _create("spikformer_8_512", pretrained, {"dim": 512, "depth": 8}, kwargs)


@register_model
def spikformer_10_512(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """10 blocks of 512 channels for ImageNet: 36,005,416 parameters (the original: 20,480 more that never run)."""
    return _create("spikformer_10_512", pretrained, {"dim": 512, "depth": 10}, kwargs)


@register_model
def spikformer_8_768(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """8 blocks of 768 channels for ImageNet: 66,338,632 parameters (the original: 24,576 more that never run)."""
    return _create("spikformer_8_768", pretrained, {"dim": 768, "depth": 8}, kwargs)


@register_model
def spikformer_tiny(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """The form for ImageNet with 2 blocks of 64 channels, for images of 32 to 64 pixels: 163,666 parameters.

    With few tokens the products of the attention are small; its scale is 1.
    """
    return _create("spikformer_tiny", pretrained, TINY, kwargs)


@register_model
def spikformer_cifar_4_384(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """4 blocks of 384 channels for CIFAR: 9,324,730 parameters (the original: 6,144 more that never run)."""
    return _create("spikformer_cifar_4_384", pretrained, {**CIFAR, "dim": 384, "depth": 4, "heads": 12}, kwargs)


@register_model
def spikformer_cifar_4_256(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """4 blocks of 256 channels for CIFAR: 4,155,178 parameters (the original: 4,096 more that never run).

    The paper's 12 heads do not divide 256 channels; 8 do, of the 32 channels that a head of the wider nets has.
    """
    return _create("spikformer_cifar_4_256", pretrained, {**CIFAR, "dim": 256, "depth": 4, "heads": 8}, kwargs)


@register_model
def spikformer_cifar_2_384(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """2 blocks of 384 channels for CIFAR: 5,765,050 parameters (the original: 3,072 more that never run)."""
    return _create("spikformer_cifar_2_384", pretrained, {**CIFAR, "dim": 384, "depth": 2, "heads": 12}, kwargs)


@register_model
def spikformer_cifar_tiny(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """The form for CIFAR with 2 blocks of 64 channels, for images of 16 to 32 pixels: 164,050 parameters."""
    return _create("spikformer_cifar_tiny", pretrained, {**TINY, **CIFAR}, kwargs)


@register_model
def spikformer_dvs_2_256(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """2 blocks of 256 channels for events, 128 x 128: 2,566,666 parameters (the original: 18,944 more that never run).

    Made for CIFAR10-DVS, with 16 heads; the paper's net for DVS128 Gesture has 11 classes.
    """
    return _create("spikformer_dvs_2_256", pretrained, {**DVS, "dim": 256, "depth": 2, "heads": 16}, kwargs)


@register_model
def spikformer_dvs_tiny(pretrained: bool = False, **kwargs: Any) -> Spikformer:
    """The form for events with 2 blocks of 64 channels, for frames of 32 to 64 pixels: 163,594 parameters."""
    return _create("spikformer_dvs_tiny", pretrained, {**DVS, **TINY}, kwargs)
