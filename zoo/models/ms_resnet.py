"""MS-ResNet: residual networks that add membrane potentials, not spikes.

Source: Hu et al., arXiv:2112.08954. Written from the paper's tables; the original code has no licence. A block begins
with a neuron and nothing follows its sum, so every 3x3 convolution of a block reads bits. The 1x1 convolution of a
shortcut that changes the shape reads the potential itself: a real number.

The norm is tdBN (Zheng et al. 2021, arXiv:2011.05280): statistics over time and batch together, and weights that start
at the threshold of the neuron that reads them. The last norm of a block starts at 0: at first a block is its shortcut.
"""

from functools import partial
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from ..errors import unknown
from ..layers.stateless import over_time
from ..neurons import NeuronSpec, make_neuron
from ._builder import Origin, create, images, make_default_cfgs
from ._resnet import PotentialResNet, conv3x3

__all__ = ["MSResNet"]

NEURON = {  # the original's V <- V (1 - S) / 4 + X
    "name": "lif",
    "tau": 4 / 3,
    "decay_input": False,
    "v_threshold": 0.5,
    "surrogate": {"name": "rectangle", "width": 1.0},
}
STEMS = ("imagenet", "deep", "small")
SHORTCUTS = ("conv", "pool")


def make_norm(chans: int, weight: float) -> nn.BatchNorm2d:
    """tdBN; time is folded into the batch, so that its statistics are over both."""
    norm = nn.BatchNorm2d(chans)
    nn.init.constant_(norm.weight, weight)
    return norm


def make_stem(stem: str, in_chans: int, width: int) -> nn.Module:
    """The convolutions that read the image: no norm or neuron between them."""
    if stem == "imagenet":
        return nn.Conv2d(in_chans, width, 7, 2, padding=3, bias=False)
    if stem == "small":
        return conv3x3(in_chans, width)
    return nn.Sequential(
        nn.Conv2d(in_chans, width, 3, 2, padding=1),
        nn.Conv2d(width, width, 3, padding=1),
        nn.Conv2d(width, width, 3, padding=1),
    )


class Shortcut(nn.Sequential):
    """1x1 convolution and norm of the potential, where the shape changes."""

    def __init__(self, in_chans: int, width: int, stride: int, shortcut: str, threshold: float) -> None:
        super().__init__()
        if shortcut == "pool" and stride > 1:
            self.pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)  # odd sides, too
            stride = 1
        self.conv = nn.Conv2d(in_chans, width, 1, stride, bias=False)
        self.bn = make_norm(width, threshold)


class Block(nn.Module):
    """Twice neuron, 3x3 convolution, norm; plus the shortcut: potentials [T, N, C, H, W] -> same rank."""

    def __init__(
        self, in_chans: int, width: int, stride: int, shortcut: str, neuron: NeuronSpec, zero_init_last: bool
    ) -> None:
        super().__init__()
        self.act1 = make_neuron(neuron, in_chans)
        self.conv1 = conv3x3(in_chans, width, stride)
        self.act2 = make_neuron(neuron, width)
        threshold = float(self.act2.v_threshold)
        self.bn1 = make_norm(width, threshold)
        self.conv2 = conv3x3(width, width)
        self.bn2 = make_norm(width, 0.0 if zero_init_last else threshold)
        self.downsample = (
            Shortcut(in_chans, width, stride, shortcut, threshold)
            if stride != 1 or in_chans != width
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """A(x) + shortcut(x)."""
        y = over_time(self.act1(x), self.conv1, self.bn1)
        y = over_time(self.act2(y), self.conv2, self.bn2)
        return y + over_time(x, self.downsample)


class MSResNet(PotentialResNet):
    """An MS-ResNet of any depth and width. Contract and errors: `SpikingModel`.

    The features are potentials. The first block of every stage halves the sides, that of the first stage too, in place
    of a max-pool; not so behind the "small" stem.

    Args:
        layers: Blocks per stage.
        widths: Channels per stage.
        stem: "imagenet" (7x7 stride 2), "deep" (three 3x3 with bias, the first of stride 2) or "small" (3x3 stride 1,
            for 8 to 64 pixels).
        shortcut: Where the shape changes: "conv" (1x1 with the stride) or "pool" (2x2 average, then 1x1).
        neuron: Neuron of every layer, in JSON; see `make_neuron`.
        zero_init_last: Whether the last norm of a block starts at 0.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C.
        drop_rate: Dropout before the classifier.
    """

    real_inputs = r"downsample|conv1\.[12]$"

    def __init__(
        self,
        layers: tuple[int, ...] = (2, 2, 2, 2),
        widths: tuple[int, ...] = (64, 128, 256, 512),
        stem: str = "imagenet",
        shortcut: str = "conv",
        neuron: NeuronSpec = NEURON,
        zero_init_last: bool = True,
        num_steps: int = 6,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        for what, name, accepted in (("stem", stem, STEMS), ("shortcut", shortcut, SHORTCUTS)):
            if name not in accepted:
                raise ValueError(unknown(f"{what} of MSResNet", name, accepted))

        self.conv1 = make_stem(stem, in_chans, widths[0])
        self.bn1 = make_norm(widths[0], float(make_neuron(neuron, widths[0]).v_threshold))
        reduction = 1 if stem == "small" else 2
        self.feature_info = [{"num_chs": widths[0], "reduction": reduction, "module": "bn1"}]

        def make_block(chans: int, width: int, stride: int) -> nn.Module:
            return Block(chans, width, stride, shortcut, neuron, zero_init_last)

        stride = 1 if stem == "small" else 2
        chans = self.add_stages(layers, widths, make_block, widths[0], reduction, first_stride=stride)
        self.add_head_neuron(chans, neuron)


ORIGIN = Origin(
    "arXiv:2112.08954",
    kind="convolutional",
    code="no licence",
    title="Advancing Spiking Neural Networks towards Deep Residual Learning",
)
imagenet = partial(images, 224, 1000, min_side=32, pool_size=(7, 7))
small = partial(images, 32, 10, min_side=8)
default_cfgs = make_default_cfgs(
    ORIGIN,
    {
        "ms_resnet18": imagenet(published="63.10 % ImageNet-1k, T = 6"),
        "ms_resnet34": imagenet(published="69.42 % ImageNet-1k, T = 6"),
        "ms_resnet104": imagenet(first_conv="conv1.0", published="74.21 % ImageNet-1k, T = 5"),
        "ms_resnet18_small": small(),
        "ms_resnet_tiny": small(),
        "ms_resnet_deep_tiny": images(32, 10, min_side=16, first_conv="conv1.0"),
    },
    first_conv="conv1",
)


@register_model
def ms_resnet18(pretrained: bool = False, **kwargs: Any) -> MSResNet:
    """MS-ResNet-18 for ImageNet: 11,693,736 parameters."""
    return create(MSResNet, "ms_resnet18", pretrained, kwargs, layers=(2, 2, 2, 2))


@register_model
def ms_resnet34(pretrained: bool = False, **kwargs: Any) -> MSResNet:
    """MS-ResNet-34 for ImageNet: 21,801,896 parameters."""
    return create(MSResNet, "ms_resnet34", pretrained, kwargs, layers=(3, 4, 6, 3))


@register_model
def ms_resnet104(pretrained: bool = False, **kwargs: Any) -> MSResNet:
    """MS-ResNet-104 for ImageNet, of basic blocks like the others: 77,350,504 parameters; 5 steps."""
    defaults = {"layers": (3, 8, 32, 8), "stem": "deep", "shortcut": "pool", "num_steps": 5, "drop_rate": 0.2}
    return create(MSResNet, "ms_resnet104", pretrained, kwargs, **defaults)


@register_model
def ms_resnet18_small(pretrained: bool = False, **kwargs: Any) -> MSResNet:
    """MS-ResNet-18 with the 3x3 stem, for images of 8 to 64 pixels: 11,173,962 parameters for 10 classes."""
    return create(MSResNet, "ms_resnet18_small", pretrained, kwargs, layers=(2, 2, 2, 2), stem="small")


@register_model
def ms_resnet_tiny(pretrained: bool = False, **kwargs: Any) -> MSResNet:
    """Three stages of one block, 16 to 64 channels, for small images; no norm starts at 0: all learn at once."""
    defaults = {"layers": (1, 1, 1), "widths": (16, 32, 64), "stem": "small", "zero_init_last": False, "num_steps": 4}
    return create(MSResNet, "ms_resnet_tiny", pretrained, kwargs, **defaults)


@register_model
def ms_resnet_deep_tiny(pretrained: bool = False, **kwargs: Any) -> MSResNet:
    """`ms_resnet_tiny` with the stem and the shortcut of MS-ResNet-104."""
    defaults = {
        "layers": (1, 1, 1),
        "widths": (16, 32, 64),
        "stem": "deep",
        "shortcut": "pool",
        "zero_init_last": False,
        "num_steps": 4,
    }
    return create(MSResNet, "ms_resnet_deep_tiny", pretrained, kwargs, **defaults)
