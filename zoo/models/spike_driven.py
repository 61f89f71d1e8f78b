"""Spike-driven Transformer: attention that masks and adds, without a product of matrices.

Source: Yao et al. 2023, Spike-driven Transformer, NeurIPS, arXiv:2307.01694. Written from the paper's tables; the
original code is Apache-2.0. An 8 x 8 convolution between the heads of every block of it never runs (64 parameters a
block) and is not built here.
"""

from collections.abc import Iterator
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from ..layers.attention import (
    LIF_OF_SPIKFORMER,
    Block,
    attention_neuron,
    init_transformer,
    membrane_mlp,
    stem_units,
    token_features,
)
from ..layers.stateless import ConvNeuron, ConvNorm, NeuronConv, Residual, SequenceDropout, make_classifier, over_time
from ..model import SpikingModel, TimeMeanFeatures
from ..neurons import NeuronSpec, make_neuron

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


class SpikeDrivenTransformer(SpikingModel):
    """A Spike-driven Transformer (version 1) of any depth and width. Contract and errors: `SpikingModel`.

        stem     3 x [conv3x3, norm, neuron, max-pool 3x3 if it pools], conv3x3, norm, max-pool 3x3 if it pools;
                 x + norm(conv3x3(neuron(x)))
        block    x + attention(neuron(x));  x + mlp(neuron(x))
        head     mean over tokens, neuron, classifier

    The features are the tokens after the stem and after every block, as maps [T, N, dim, H, W] of potentials.

    Args:
        dim: Channels of a token, a multiple of 8.
        depth: Blocks.
        mlp_ratio: Hidden channels of an MLP per channel.
        pools: Of each of the stem's four units, whether it pools.
        dilate: Whether the attention widens its spikes; see `SpikeDrivenAttention`.
        neuron: Neuron of every layer, in JSON; see `make_neuron`. Those of the attention take the threshold 0.5.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C.
        drop_rate: Dropout before the classifier.
    """

    def __init__(
        self,
        dim: int = 384,
        depth: int = 8,
        mlp_ratio: int = 4,
        pools: tuple[bool, ...] = (True, True, True, True),
        dilate: bool = False,
        neuron: NeuronSpec = LIF_OF_SPIKFORMER,
        num_steps: int = 4,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        self.encoder, units = stem_units(in_chans, dim, pools, neuron, last_fires=False)
        self.stem = nn.Sequential(*units, Residual(NeuronConv(dim, dim, neuron, 3)))
        self.blocks = nn.Sequential()
        for _ in range(depth):
            attention = Residual(make_neuron(neuron, dim), SpikeDrivenAttention(dim, neuron, dilate))
            self.blocks.append(Block(attention, membrane_mlp(dim, dim * mlp_ratio, neuron)))
        self.feature_info = token_features(dim, depth, pools)
        self.num_features = dim
        self.head_act = make_neuron(neuron, dim)
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
        """Mean over the tokens, neuron, dropout, classifier: [T, N, C, H, W] -> [T, N, K]."""
        x = self.head_drop(self.head_act(x.mean((-2, -1))))
        return x if pre_logits else self.fc(x)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """See `SpikingModel`."""
        last = (99999,)  # timm: with the group before
        return {"stem": r"^encoder|stem", "blocks": [(r"^blocks\.(\d+)", None), (r"^head_act", last)]}


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
        "paper_ids": "arXiv:2307.01694",
        "notes": ("kind: transformer", "original code: Apache-2.0"),
        "paper_name": "Spike-driven Transformer",
        **changes,
    }


def _cifar_cfg(**changes: Any) -> dict[str, Any]:
    return _cfg(**{"num_classes": 10, "input_size": (3, 32, 32), "min_input_size": (3, 32, 32), **changes})


def _dvs_cfg(side: int, **changes: Any) -> dict[str, Any]:
    shapes = {"input_size": (2, side, side), "min_input_size": (2, side, side)}
    return _cfg(**{"num_classes": 10, **shapes, "mean": (0.0, 0.0), "std": (1.0, 1.0), **changes})


default_cfgs = generate_default_cfgs(
    {
        "spike_driven_8_384": _cfg(description="72.28 % ImageNet-1k, T = 4"),
        "spike_driven_6_512": _cfg(description="74.11 % ImageNet-1k, T = 4"),
        "spike_driven_8_512": _cfg(description="74.57 % ImageNet-1k, T = 4"),
        "spike_driven_10_512": _cfg(description="74.66 % ImageNet-1k, T = 4"),
        "spike_driven_8_768": _cfg(description="76.32 % ImageNet-1k, T = 4"),
        "spike_driven_tiny": _cfg(num_classes=10, min_input_size=(3, 64, 64)),
        "spike_driven_cifar_2_256": _cifar_cfg(),
        "spike_driven_cifar_2_512": _cifar_cfg(description="95.6 % CIFAR-10, T = 4"),
        "spike_driven_cifar_tiny": _cifar_cfg(min_input_size=(3, 16, 16)),
        "spike_driven_cifar10dvs_2_256": _dvs_cfg(64, description="80.0 % CIFAR10-DVS, T = 16"),
        "spike_driven_dvsgesture_2_256": _dvs_cfg(128, num_classes=11, description="99.3 % DVS128 Gesture, T = 16"),
        "spike_driven_dvs_tiny": _dvs_cfg(64, min_input_size=(2, 32, 32)),
    }
)

CIFAR: dict[str, Any] = {"pools": (False, False, True, True)}
CIFAR10_DVS: dict[str, Any] = {"pools": (False, False, True, True), "dilate": True, "num_steps": 16}
GESTURE: dict[str, Any] = {"pools": (False, True, True, True), "dilate": True, "num_steps": 16}
TINY: dict[str, Any] = {"dim": 64, "depth": 2, "num_steps": 4}


def _create(variant: str, pretrained: bool, defaults: dict[str, Any], kwargs: dict[str, Any]) -> SpikeDrivenTransformer:
    kwargs = {**defaults, **kwargs}
    feature_cfg = {"feature_cls": TimeMeanFeatures, "out_indices": tuple(range(kwargs["depth"] + 1))}
    return build_model_with_cfg(SpikeDrivenTransformer, variant, pretrained, feature_cfg=feature_cfg, **kwargs)


@register_model
def spike_driven_8_384(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """8 blocks of 384 channels for ImageNet: 16,816,024 parameters (the original: 512 more that never run)."""
    return _create("spike_driven_8_384", pretrained, {"dim": 384, "depth": 8}, kwargs)


@register_model
def spike_driven_6_512(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """6 blocks of 512 channels for ImageNet: 23,373,352 parameters (the original: 384 more that never run)."""
    return _create("spike_driven_6_512", pretrained, {"dim": 512, "depth": 6}, kwargs)


@register_model
def spike_driven_8_512(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """8 blocks of 512 channels for ImageNet: 29,689,384 parameters (the original: 512 more that never run)."""
    return _create("spike_driven_8_512", pretrained, {"dim": 512, "depth": 8}, kwargs)


@register_model
def spike_driven_10_512(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """10 blocks of 512 channels for ImageNet: 36,005,416 parameters (the original: 640 more that never run)."""
    return _create("spike_driven_10_512", pretrained, {"dim": 512, "depth": 10}, kwargs)


@register_model
def spike_driven_8_768(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """8 blocks of 768 channels for ImageNet: 66,338,632 parameters (the original: 512 more that never run)."""
    return _create("spike_driven_8_768", pretrained, {"dim": 768, "depth": 8}, kwargs)


@register_model
def spike_driven_tiny(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """The form for ImageNet with 2 blocks of 64 channels, for images from 64 pixels: 163,666 parameters."""
    return _create("spike_driven_tiny", pretrained, TINY, kwargs)


@register_model
def spike_driven_cifar_2_256(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """2 blocks of 256 channels for CIFAR: 2,566,954 parameters (the original: 128 more that never run)."""
    return _create("spike_driven_cifar_2_256", pretrained, {**CIFAR, "dim": 256, "depth": 2}, kwargs)


@register_model
def spike_driven_cifar_2_512(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """2 blocks of 512 channels for CIFAR: 10,233,418 parameters (the original: 128 more that never run)."""
    return _create("spike_driven_cifar_2_512", pretrained, {**CIFAR, "dim": 512, "depth": 2}, kwargs)


@register_model
def spike_driven_cifar_tiny(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """The form for CIFAR with 2 blocks of 64 channels, for images of 16 to 32 pixels: 163,666 parameters."""
    return _create("spike_driven_cifar_tiny", pretrained, {**TINY, **CIFAR}, kwargs)


@register_model
def spike_driven_cifar10dvs_2_256(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """2 blocks of 256 channels for CIFAR10-DVS, frames of 64 x 64: 2,566,666 parameters."""
    return _create("spike_driven_cifar10dvs_2_256", pretrained, {**CIFAR10_DVS, "dim": 256, "depth": 2}, kwargs)


@register_model
def spike_driven_dvsgesture_2_256(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """2 blocks of 256 channels for DVS128 Gesture: 2,566,923 parameters (the original: 128 more that never run)."""
    return _create("spike_driven_dvsgesture_2_256", pretrained, {**GESTURE, "dim": 256, "depth": 2}, kwargs)


@register_model
def spike_driven_dvs_tiny(pretrained: bool = False, **kwargs: Any) -> SpikeDrivenTransformer:
    """The form for DVS128 Gesture with 2 blocks of 64 channels, for frames of 32 to 64 pixels: 163,594 parameters."""
    return _create("spike_driven_dvs_tiny", pretrained, {**GESTURE, **TINY}, kwargs)
