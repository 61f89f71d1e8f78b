"""Spiking VGG with batch norm and a single-layer head.

Layer table: Simonyan and Zisserman 2015, arXiv:1409.1556; with spiking neurons: Sengupta et al. 2019, arXiv:1802.02627.
The head is an average pool and one linear layer: with VGG's own three-layer head about nine parameters in ten would
sit in the classifier. Written from the tables. Max-pooling keeps spikes binary.
"""

from collections.abc import Iterator
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from ..layers import SequenceDropout, init_convolutions, make_classifier, over_time
from ..model import SpikingModel, TimeMeanFeatures
from ..neurons import NeuronSpec, make_neuron

__all__ = ["SpikingVGG"]


class ConvNeuron(nn.Module):
    """3x3 convolution with bias, norm, neuron: [T, N, C, H, W] -> [T, N, C', H, W]."""

    def __init__(self, in_chans: int, out_chans: int, neuron: NeuronSpec) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_chans, 3, padding=1)
        self.bn = nn.BatchNorm2d(out_chans)
        self.act = make_neuron(neuron, out_chans)

    def current(self, x: Tensor) -> Tensor:
        """What the neuron integrates."""
        return over_time(x, self.conv, self.bn)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes."""
        return self.act(self.current(x))


class SpikingVGG(SpikingModel):
    """A spiking VGG of any depth. Contract and errors: `SpikingModel`.

    A feature is the output of a stage before its 2x2 max-pool; the last pool belongs to the head.

    Args:
        stages: Output channels of the convolutions of each stage.
        neuron: Neuron of every layer, in JSON; see `make_neuron`.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C.
        drop_rate: Dropout before the classifier.
    """

    def __init__(
        self,
        stages: tuple[tuple[int, ...], ...] = ((64,), (128,), (256, 256), (512, 512), (512, 512)),
        neuron: NeuronSpec = "lif",
        num_steps: int = 4,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        self.encoder = ConvNeuron(in_chans, stages[0][0], neuron)
        self.stages = nn.ModuleList()
        self.feature_info = []
        chans = stages[0][0]
        for index, widths in enumerate(stages):
            layers = []
            for width in widths[1:] if index == 0 else widths:  # the encoder is the first layer of stage 0
                layers.append(ConvNeuron(chans, width, neuron))
                chans = width
            self.stages.append(nn.Sequential(*layers))
            self.feature_info.append({"num_chs": chans, "reduction": 2**index, "module": f"stages.{index}"})
        self.pool = nn.MaxPool2d(2)
        self.num_features = chans
        self.head_drop = SequenceDropout(drop_rate)
        self.fc = make_classifier(chans, num_classes)
        init_convolutions(self)

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The output of every stage, before its pool."""
        x = self.stage(self.stem, x)
        for index, layers in enumerate(self.stages):
            x = self.stage(layers, self.stage(self.downsample, x) if index else x)
            yield x

    def stem(self, x: Tensor) -> Tensor:
        """The encoder, whose convolution sees a still image once."""
        return self.encoder.act(self.repeat_still(self.encoder.current(x)))

    def downsample(self, x: Tensor) -> Tensor:
        """2x2 max-pool."""
        return over_time(x, self.pool)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Max-pool, global average pool, dropout, classifier: [T, N, C, H, W] -> [T, N, K]."""
        x = self.head_drop(self.stage(self.downsample, x).mean((-2, -1)))
        return x if pre_logits else self.fc(x)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """See `SpikingModel`."""
        return {"stem": r"^encoder", "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"}


def _cfg(**changes: Any) -> dict[str, Any]:
    return {
        "num_classes": 10,
        "input_size": (3, 32, 32),
        "min_input_size": (3, 32, 32),
        "interpolation": "bicubic",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "first_conv": "encoder.conv",
        "classifier": "fc",
        "paper_ids": "arXiv:1409.1556",
        **changes,
    }


default_cfgs = generate_default_cfgs(
    {
        "spiking_vgg11": _cfg(),
        "spiking_vgg16": _cfg(),
        "spiking_vgg_tiny": _cfg(min_input_size=(3, 8, 8)),
    }
)


def _create(variant: str, pretrained: bool, defaults: dict[str, Any], kwargs: dict[str, Any]) -> SpikingVGG:
    kwargs = {**defaults, **kwargs}
    feature_cfg = {"feature_cls": TimeMeanFeatures, "out_indices": tuple(range(len(kwargs["stages"])))}
    return build_model_with_cfg(SpikingVGG, variant, pretrained, feature_cfg=feature_cfg, **kwargs)


@register_model
def spiking_vgg11(pretrained: bool = False, **kwargs: Any) -> SpikingVGG:
    """Spiking VGG-11 with the single-layer head: 9,231,114 parameters for 10 classes."""
    stages = ((64,), (128,), (256, 256), (512, 512), (512, 512))
    return _create("spiking_vgg11", pretrained, {"stages": stages}, kwargs)


@register_model
def spiking_vgg16(pretrained: bool = False, **kwargs: Any) -> SpikingVGG:
    """Spiking VGG-16 with the single-layer head: 14,728,266 parameters for 10 classes."""
    stages = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
    return _create("spiking_vgg16", pretrained, {"stages": stages}, kwargs)


@register_model
def spiking_vgg_tiny(pretrained: bool = False, **kwargs: Any) -> SpikingVGG:
    """Four convolutions in three stages, 32 to 128 channels, for images of 8 to 32 pixels."""
    return _create("spiking_vgg_tiny", pretrained, {"stages": ((32,), (64,), (128, 128))}, kwargs)
