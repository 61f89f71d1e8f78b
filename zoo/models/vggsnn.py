"""VGGSNN: the spiking VGG of CIFAR10-DVS, with average pools and one fully connected layer.

Source: Deng et al. 2022 (TET), arXiv:2202.11946. Written from the paper's tables; the original is MIT. Its reset is not
detached, as there. A convolution behind a pool reads averages of spikes, real numbers: multiply-accumulates.
"""

from typing import Any

from timm.layers.helpers import to_2tuple
from timm.models import register_model
from torch import Tensor, nn

from ..layers.stateless import (
    SequenceDropout,
    check_halvings,
    init_convolutions,
    make_classifier,
)
from ..neurons import NeuronSpec
from ._builder import Origin, create, frames, make_default_cfgs
from ._vgg import VGG

__all__ = ["VGGSNN"]

NEURON = {"name": "lif", "tau": 2.0, "decay_input": False, "detach_reset": False, "surrogate": "triangle"}


class VGGSNN(VGG):
    """Stages of 3x3 convolutions with a 2x2 average pool after each. Contract and errors: `SpikingModel`.

    A feature is the output of a stage before its pool; the last pool belongs to the head.

    Args:
        stages: Output channels of the convolutions of each stage.
        img_size: Sides H, W in pixels (one number for both), which the classifier needs to know.
        neuron: Neuron of every layer, in JSON; see `make_neuron`.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C, two polarities.
        drop_rate: Dropout before the classifier.

    Raises:
        ValueError: If img_size cannot be halved by every stage.
    """

    real_inputs = r"^stages\.[1-9]\d*\.0\."

    def __init__(
        self,
        stages: tuple[tuple[int, ...], ...] = ((64, 128), (256, 256), (512, 512), (512, 512)),
        img_size: int | tuple[int, int] = 48,
        neuron: NeuronSpec = NEURON,
        num_steps: int = 10,
        num_classes: int = 10,
        in_chans: int = 2,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        self.img_size = to_2tuple(img_size)
        check_halvings(self.img_size, len(stages))
        self.add_stages(stages, in_chans, neuron, nn.AvgPool2d(2))
        height, width = (side // 2 ** len(stages) for side in self.img_size)
        self.num_features = stages[-1][-1] * height * width
        self.head_drop = SequenceDropout(drop_rate)
        self.fc = make_classifier(self.num_features, num_classes)
        init_convolutions(self)

    def pool_features(self, x: Tensor) -> Tensor:
        """Average pool; then all that is left: [T, N, C, H, W] -> [T, N, F]."""
        return self.stage(self.downsample, x).flatten(2)


ORIGIN = Origin(
    "arXiv:2202.11946",
    kind="convolutional",
    code="MIT",
    title="Temporal Efficient Training of Spiking Neural Network via Gradient Re-weighting",
)
default_cfgs = make_default_cfgs(
    ORIGIN,
    {"vggsnn": frames(48, 10, published="83.17 % CIFAR10-DVS, T = 10, augmented"), "vggsnn_tiny": frames(16, 10)},
    first_conv="encoder.conv",
    fixed_input_size=True,
)


@register_model
def vggsnn(pretrained: bool = False, **kwargs: Any) -> VGGSNN:
    """VGGSNN for CIFAR10-DVS, frames of 48x48 pixels: 9,271,498 parameters for 10 classes."""
    return create(VGGSNN, "vggsnn", pretrained, kwargs, stages=((64, 128), (256, 256), (512, 512), (512, 512)))


@register_model
def vggsnn_tiny(pretrained: bool = False, **kwargs: Any) -> VGGSNN:
    """Four convolutions in two stages, 16 to 32 channels, for frames of 16x16 pixels; 4 steps of a still image."""
    return create(VGGSNN, "vggsnn_tiny", pretrained, kwargs, stages=((16, 16), (32, 32)), num_steps=4)
