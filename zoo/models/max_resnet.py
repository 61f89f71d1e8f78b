"""Max-ResNet: a membrane-shortcut ResNet for small images that halves its maps by max-pooling.

Source: Fang et al. 2025 (Max-Former), arXiv:2505.18608. Written from the paper's tables; the original code has no
licence. Its thesis: a spiking neuron is a low-pass filter, so let a max-pool, which keeps the high frequencies, do what
a strided convolution does elsewhere. As in `ms_resnet.py` a sum is of potentials, and only the 1x1 convolution of a
shortcut reads them; every other convolution reads bits.
"""

from functools import partial
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from ..layers.attention import LIF_OF_SPIKFORMER
from ..layers.stateless import over_time
from ..neurons import NeuronSpec, make_neuron
from ._builder import Origin, create, images, make_default_cfgs
from ._resnet import PotentialResNet, conv3x3, projection

__all__ = ["MaxResNet"]


class Block(nn.Module):
    """Twice neuron, convolution, norm, the first followed by the max-pool; plus the shortcut: [T, N, C, H, W]."""

    def __init__(self, in_chans: int, width: int, stride: int, neuron: NeuronSpec) -> None:
        super().__init__()
        self.act1 = make_neuron(neuron, in_chans)
        self.conv1, self.bn1 = conv3x3(in_chans, width), nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, stride, padding=1) if stride > 1 else nn.Identity()
        self.act2 = make_neuron(neuron, width)
        self.conv2, self.bn2 = conv3x3(width, width), nn.BatchNorm2d(width)
        self.downsample = projection(in_chans, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """A(x) + shortcut(x)."""
        y = over_time(self.act1(x), self.conv1, self.bn1, self.pool)
        y = over_time(self.act2(y), self.conv2, self.bn2)
        return y + over_time(x, self.downsample)


class MaxResNet(PotentialResNet):
    """A Max-ResNet of any depth and width. Contract and errors: `SpikingModel`.

    The features are potentials. The first block of every stage but the first halves the sides.

    Args:
        layers: Blocks per stage.
        widths: Channels per stage.
        stem_width: Channels of the encoder.
        neuron: Neuron of every layer, in JSON; see `make_neuron`.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C.
        drop_rate: Dropout before the classifier.
    """

    real_inputs = r"downsample"

    def __init__(
        self,
        layers: tuple[int, ...] = (3, 3, 2),
        widths: tuple[int, ...] = (128, 256, 512),
        stem_width: int = 64,
        neuron: NeuronSpec = LIF_OF_SPIKFORMER,
        num_steps: int = 4,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        self.conv1, self.bn1 = conv3x3(in_chans, stem_width), nn.BatchNorm2d(stem_width)
        self.feature_info = [{"num_chs": stem_width, "reduction": 1, "module": "bn1"}]
        chans = self.add_stages(layers, widths, partial(Block, neuron=neuron), stem_width)
        self.add_head_neuron(chans, neuron)


ORIGIN = Origin(
    "arXiv:2505.18608",
    kind="convolutional",
    code="no licence",
    title="Spiking Neural Networks Need High Frequency Information",
)
cifar = partial(images, 32, 10, min_side=8)
default_cfgs = make_default_cfgs(
    ORIGIN,
    {"max_resnet18": cifar(published="97.17 % CIFAR-10, T = 4"), "max_resnet_tiny": cifar()},
    first_conv="conv1",
)


@register_model
def max_resnet18(pretrained: bool = False, **kwargs: Any) -> MaxResNet:
    """Max-ResNet-18 for CIFAR: 12,502,090 parameters for 10 classes, 12,548,260 for 100."""
    return create(MaxResNet, "max_resnet18", pretrained, kwargs, layers=(3, 3, 2))


@register_model
def max_resnet_tiny(pretrained: bool = False, **kwargs: Any) -> MaxResNet:
    """Three stages of one block, 16 to 64 channels."""
    defaults = {"layers": (1, 1, 1), "widths": (16, 32, 64), "stem_width": 16}
    return create(MaxResNet, "max_resnet_tiny", pretrained, kwargs, **defaults)
