"""Spiking VGG with batch norm, and a head of one layer or of VGG's own three.

Layer table: Simonyan and Zisserman 2015, arXiv:1409.1556; with spiking neurons: Sengupta et al. 2019, arXiv:1802.02627.
The small head is an average pool and one linear layer: in VGG's own large head sit about nine parameters in ten.
Written from the tables. Max-pooling keeps spikes binary. Behind an average pool (`pool="avg"`), which a conversion from
an ANN needs (`zoo.convert`), a convolution reads quarters.
"""

from functools import partial
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from ..errors import unknown
from ..layers.stateless import (
    LinearNeuron,
    SequenceDropout,
    init_convolutions,
    make_classifier,
    over_time,
)
from ..neurons import NeuronSpec
from ._builder import Origin, create, images, make_default_cfgs
from ._vgg import VGG

__all__ = ["SpikingVGG"]


HEADS = ("small", "large")
POOLS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


class SpikingVGG(VGG):
    """A spiking VGG of any depth. Contract and errors: `SpikingModel`.

    A feature is the output of a stage before its 2x2 pool; the last pool belongs to the head.

    Args:
        stages: Output channels of the convolutions of each stage.
        head: "small" (global average pool, then the classifier) or "large" (average pool to 7x7 pixels, two hidden
            layers of neurons, each with dropout behind it, then the classifier).
        hidden: Neurons of each hidden layer of the large head.
        pool: "max", which keeps spikes binary, or "avg".
        neuron: Neuron of every layer, in JSON; see `make_neuron`.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C.
        drop_rate: Dropout before the classifier.
    """

    real_inputs = r"^hidden\.0|^stages\.[1-9]\d*\.0\."  # averages, if the map is not of 7x7 pixels; with pool="avg"

    def __init__(
        self,
        stages: tuple[tuple[int, ...], ...] = ((64,), (128,), (256, 256), (512, 512), (512, 512)),
        head: str = "small",
        hidden: int = 4096,
        pool: str = "max",
        neuron: NeuronSpec = "lif",
        num_steps: int = 4,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        if head not in HEADS:
            raise ValueError(unknown("head of SpikingVGG", head, HEADS))
        if pool not in POOLS:
            raise ValueError(unknown("pool of SpikingVGG", pool, POOLS))
        self.add_stages(stages, in_chans, neuron, POOLS[pool](2))
        chans = stages[-1][-1]
        self.global_pool = nn.AdaptiveAvgPool2d(7 if head == "large" else 1)
        self.hidden = nn.Sequential()
        if head == "large":
            self.hidden.append(LinearNeuron(chans * 7 * 7, hidden, neuron))
            self.hidden.append(SequenceDropout(drop_rate))
            self.hidden.append(LinearNeuron(hidden, hidden, neuron))
        self.num_features = hidden if head == "large" else chans
        self.head_drop = SequenceDropout(drop_rate)
        self.fc = make_classifier(self.num_features, num_classes)
        init_convolutions(self)

    def pool_features(self, x: Tensor) -> Tensor:
        """2x2 pool, average pool, hidden layers: [T, N, C, H, W] -> [T, N, F]."""
        return self.stage(self.hidden, over_time(self.stage(self.downsample, x), self.global_pool).flatten(2))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters grouped by depth."""
        return {**super().group_matcher(coarse), "hidden": r"^hidden\.(\d+)"}


cifar, imagenet = partial(images, 32, 10), partial(images, 224, 1000)
default_cfgs = make_default_cfgs(
    Origin("arXiv:1409.1556", kind="convolutional", code="no one original"),
    {
        "spiking_vgg11": cifar(min_side=32),
        "spiking_vgg16": cifar(min_side=32),
        "spiking_vgg11_large": imagenet(min_side=32),
        "spiking_vgg16_large": imagenet(min_side=32),
        "spiking_vgg_tiny": cifar(min_side=8),
        "spiking_vgg_large_tiny": cifar(min_side=8),
    },
    first_conv="encoder.conv",
)


VGG11 = ((64,), (128,), (256, 256), (512, 512), (512, 512))
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
LARGE = {"head": "large", "drop_rate": 0.5}


@register_model
def spiking_vgg11(pretrained: bool = False, **kwargs: Any) -> SpikingVGG:
    """Spiking VGG-11 with the single-layer head: 9,231,114 parameters for 10 classes."""
    return create(SpikingVGG, "spiking_vgg11", pretrained, kwargs, stages=VGG11)


@register_model
def spiking_vgg16(pretrained: bool = False, **kwargs: Any) -> SpikingVGG:
    """Spiking VGG-16 with the single-layer head: 14,728,266 parameters for 10 classes."""
    return create(SpikingVGG, "spiking_vgg16", pretrained, kwargs, stages=VGG16)


@register_model
def spiking_vgg11_large(pretrained: bool = False, **kwargs: Any) -> SpikingVGG:
    """Spiking VGG-11 with VGG's own head, for ImageNet: 132,868,840 parameters; 128,812,810 for 10 classes."""
    return create(SpikingVGG, "spiking_vgg11_large", pretrained, kwargs, stages=VGG11, **LARGE)


@register_model
def spiking_vgg16_large(pretrained: bool = False, **kwargs: Any) -> SpikingVGG:
    """Spiking VGG-16 with VGG's own head, for ImageNet: 138,365,992 parameters; 134,309,962 for 10 classes."""
    return create(SpikingVGG, "spiking_vgg16_large", pretrained, kwargs, stages=VGG16, **LARGE)


@register_model
def spiking_vgg_tiny(pretrained: bool = False, **kwargs: Any) -> SpikingVGG:
    """Four convolutions in three stages, 32 to 128 channels, for images of 8 to 32 pixels."""
    return create(SpikingVGG, "spiking_vgg_tiny", pretrained, kwargs, stages=((32,), (64,), (128, 128)))


@register_model
def spiking_vgg_large_tiny(pretrained: bool = False, **kwargs: Any) -> SpikingVGG:
    """Three convolutions, 16 to 32 channels, and the large head with 64 neurons a layer, for images from 8 pixels."""
    defaults = {"stages": ((16,), (32,), (32,)), "head": "large", "hidden": 64}
    return create(SpikingVGG, "spiking_vgg_large_tiny", pretrained, kwargs, **defaults)
