"""Spiking ResNet-19 for small images: a ResNet whose every ReLU is a neuron, the one after a block's sum too.

Source: Zheng et al. 2021, arXiv:2011.05280 (layers), and Deng et al. 2022 (TET), arXiv:2202.11946 (neuron, plain norm).
Written from the papers' tables; the original of TET is MIT. As the sum is of currents and a neuron follows it, every
convolution but the encoder reads bits.
"""

from functools import partial
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from ..layers.stateless import LinearNeuron, over_time
from ..neurons import NeuronSpec, make_neuron
from ._builder import Origin, create, images, make_default_cfgs
from ._resnet import ResNet, conv3x3, projection

__all__ = ["SpikingResNet"]

NEURON = {"name": "lif", "tau": 2.0, "decay_input": False, "detach_reset": False, "surrogate": "triangle"}


class Block(nn.Module):
    """Two 3x3 convolutions with norms, a neuron between them and one after the sum: [T, N, C, H, W] -> same rank."""

    def __init__(self, in_chans: int, width: int, stride: int, neuron: NeuronSpec) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(in_chans, width, stride), nn.BatchNorm2d(width)
        self.act1 = make_neuron(neuron, width)
        self.conv2, self.bn2 = conv3x3(width, width), nn.BatchNorm2d(width)
        self.downsample = projection(in_chans, width, stride)
        self.act2 = make_neuron(neuron, width)

    def forward(self, x: Tensor) -> Tensor:
        """The neuron's answer to A(x) + shortcut(x)."""
        y = self.act1(over_time(x, self.conv1, self.bn1))
        return self.act2(over_time(y, self.conv2, self.bn2) + over_time(x, self.downsample))


class SpikingResNet(ResNet):
    """A spiking ResNet of basic blocks for small images. Contract and errors: `SpikingModel`.

    Args:
        layers: Blocks per stage; the first block of every stage but the first halves the sides.
        widths: Channels per stage.
        stem_width: Channels of the encoder.
        hidden: Neurons of the fully connected layer before the classifier.
        neuron: Neuron of every layer, in JSON; see `make_neuron`.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C.
        drop_rate: Dropout before the classifier.
    """

    real_inputs = r"^hidden"  # averages over the last map

    def __init__(
        self,
        layers: tuple[int, ...] = (3, 3, 2),
        widths: tuple[int, ...] = (128, 256, 512),
        stem_width: int = 64,
        hidden: int = 256,
        neuron: NeuronSpec = NEURON,
        num_steps: int = 4,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        self.conv1, self.bn1 = conv3x3(in_chans, stem_width), nn.BatchNorm2d(stem_width)
        self.act1 = make_neuron(neuron, stem_width)
        self.feature_info = [{"num_chs": stem_width, "reduction": 1, "module": "act1"}]
        chans = self.add_stages(layers, widths, partial(Block, neuron=neuron), stem_width)
        self.hidden = LinearNeuron(chans, hidden, neuron)
        self.add_head(hidden)

    def pool_features(self, x: Tensor) -> Tensor:
        """Average over the map, then the hidden layer."""
        return self.stage(self.hidden, x.mean((-2, -1)))


ORIGIN = Origin(
    "arXiv:2011.05280",
    kind="convolutional",
    code="MIT",
    title="Going Deeper With Directly-Trained Larger Spiking Neural Networks",
)
cifar = partial(images, 32, 10, min_side=8)
default_cfgs = make_default_cfgs(
    ORIGIN,
    {"spiking_resnet19": cifar(published="94.44 % CIFAR-10, T = 4"), "spiking_resnet_tiny": cifar()},
    first_conv="conv1",
)


@register_model
def spiking_resnet19(pretrained: bool = False, **kwargs: Any) -> SpikingResNet:
    """Spiking ResNet-19 for CIFAR: 12,630,858 parameters for 10 classes, 12,653,988 for 100."""
    return create(SpikingResNet, "spiking_resnet19", pretrained, kwargs, layers=(3, 3, 2))


@register_model
def spiking_resnet_tiny(pretrained: bool = False, **kwargs: Any) -> SpikingResNet:
    """Three stages of one block, 16 to 64 channels, and 48 hidden neurons."""
    defaults = {"layers": (1, 1, 1), "widths": (16, 32, 64), "stem_width": 16, "hidden": 48}
    return create(SpikingResNet, "spiking_resnet_tiny", pretrained, kwargs, **defaults)
