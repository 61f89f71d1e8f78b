"""SEW-ResNet: spike-element-wise residual networks.

Source: Fang et al. 2021, arXiv:2102.04159. Written from the paper's tables; parameter names equal those of timm's
ResNets, so that their weights map one to one. A block adds spikes to spikes: with `connect="add"` a stage gives small
integers, not bits, and the convolution that reads it counts as multiply-accumulate (see `zoo/energy.py`).
"""

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from ..errors import unknown
from ..layers.stateless import over_time
from ..neurons import NeuronSpec, make_neuron
from ._builder import Origin, create, images, make_default_cfgs
from ._resnet import ResNet, conv3x3, projection

__all__ = ["SEWResNet"]


def iand(branch: Tensor, shortcut: Tensor) -> Tensor:
    """(NOT branch) AND shortcut."""
    return shortcut * (1 - branch)


CONNECT = {"add": operator.add, "and": operator.mul, "iand": iand}  # named functions: a model can be pickled


class Block(nn.Module):
    """What both blocks share: g(A(x), shortcut(x)) of x [T, N, C, H, W], where g is `connect`.

    The neuron of a shortcut with a convolution is the block's, so that the keys stay timm's.
    """

    expansion: int
    connect: Callable[[Tensor, Tensor], Tensor]
    conv1: nn.Module
    bn1: nn.Module
    act1: nn.Module
    conv2: nn.Module
    bn2: nn.Module
    act2: nn.Module

    def add_shortcut(self, in_chans: int, out_chans: int, stride: int, neuron: NeuronSpec) -> None:
        """Add the shortcut."""
        self.downsample = projection(in_chans, out_chans, stride)
        self.downsample_act = make_neuron(neuron, out_chans) if len(self.downsample) else nn.Identity()

    def branch(self, x: Tensor) -> Tensor:
        """A(x)."""
        y = self.act1(over_time(x, self.conv1, self.bn1))
        return self.act2(over_time(y, self.conv2, self.bn2))

    def forward(self, x: Tensor) -> Tensor:
        """g(A(x), shortcut(x))."""
        shortcut = self.downsample_act(over_time(x, self.downsample)) if len(self.downsample) else x
        return self.connect(self.branch(x), shortcut)


class BasicBlock(Block):
    """Two 3x3 convolutions, each with norm and neuron."""

    expansion = 1

    def __init__(self, in_chans: int, width: int, stride: int, connect: str, neuron: NeuronSpec) -> None:
        super().__init__()
        self.connect = CONNECT[connect]
        self.conv1, self.bn1 = conv3x3(in_chans, width, stride), nn.BatchNorm2d(width)
        self.act1 = make_neuron(neuron, width)
        self.conv2, self.bn2 = conv3x3(width, width), nn.BatchNorm2d(width)
        self.act2 = make_neuron(neuron, width)
        self.add_shortcut(in_chans, width, stride, neuron)


class Bottleneck(Block):
    """1x1, 3x3 (with the stride) and 1x1 convolutions, each with norm and neuron, as `BasicBlock`."""

    expansion = 4

    def __init__(self, in_chans: int, width: int, stride: int, connect: str, neuron: NeuronSpec) -> None:
        super().__init__()
        out_chans = width * self.expansion
        self.connect = CONNECT[connect]
        self.conv1, self.bn1 = nn.Conv2d(in_chans, width, 1, bias=False), nn.BatchNorm2d(width)
        self.act1 = make_neuron(neuron, width)
        self.conv2, self.bn2 = conv3x3(width, width, stride), nn.BatchNorm2d(width)
        self.act2 = make_neuron(neuron, width)
        self.conv3, self.bn3 = nn.Conv2d(width, out_chans, 1, bias=False), nn.BatchNorm2d(out_chans)
        self.act3 = make_neuron(neuron, out_chans)
        self.add_shortcut(in_chans, out_chans, stride, neuron)

    def branch(self, x: Tensor) -> Tensor:
        """A(x)."""
        return self.act3(over_time(super().branch(x), self.conv3, self.bn3))


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class SEWResNet(ResNet):
    """A SEW-ResNet of any depth and width. Contract and errors: `SpikingModel`.

    Args:
        block: "basic" or "bottleneck".
        layers: Blocks per stage.
        widths: Channels per stage (before the bottleneck's expansion of 4).
        stem: "imagenet" (7x7 stride 2, then max-pool 3x3 stride 2) or "small" (3x3 stride 1, for 8 to 64 pixels).
        connect: "add", "and" or "iand".
        neuron: Neuron of every layer, in JSON; see `make_neuron`.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C.
        drop_rate: Dropout before the classifier.
    """

    integer_inputs = r"^layer\d+\.\d+\.(conv1|downsample)"

    def __init__(
        self,
        block: str = "basic",
        layers: tuple[int, ...] = (2, 2, 2, 2),
        widths: tuple[int, ...] = (64, 128, 256, 512),
        stem: str = "imagenet",
        connect: str = "add",
        neuron: NeuronSpec = "if",
        num_steps: int = 4,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        for what, name, accepted in (("block", block, BLOCKS), ("connect", connect, CONNECT), ("stem", stem, STEMS)):
            if name not in accepted:
                raise ValueError(unknown(f"{what} of SEWResNet", name, accepted))

        kernel, stride, pool = STEMS[stem]
        self.conv1 = nn.Conv2d(in_chans, widths[0], kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.act1 = make_neuron(neuron, widths[0])
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if pool else nn.Identity()
        self.feature_info = [{"num_chs": widths[0], "reduction": stride, "module": "act1"}]

        def make_block(chans: int, width: int, stride: int) -> nn.Module:
            return BLOCKS[block](chans, width, stride, connect, neuron)

        reduction = stride * (2 if pool else 1)
        expansion = BLOCKS[block].expansion
        chans = self.add_stages(layers, widths, make_block, widths[0], reduction, expansion=expansion)
        self.add_head(chans)

    def enter_stages(self, x: Tensor) -> Tensor:
        """The stem's max-pool, if it has one."""
        return self.stage(self.downsample, x)

    def downsample(self, x: Tensor) -> Tensor:
        """The max-pool."""
        return over_time(x, self.maxpool)


STEMS = {"imagenet": (7, 2, True), "small": (3, 1, False)}  # kernel, stride, max-pool


ORIGIN = Origin(
    "arXiv:2102.04159",
    kind="convolutional",
    code="MPL-2.0",
    title="Deep Residual Learning in Spiking Neural Networks",
)
imagenet = partial(images, 224, 1000, min_side=32, pool_size=(7, 7))
small = partial(images, 32, 10, min_side=8)
default_cfgs = make_default_cfgs(
    ORIGIN,
    {
        "sew_resnet18": imagenet(published="63.18 % ImageNet-1k, T = 4"),
        "sew_resnet34": imagenet(published="67.04 % ImageNet-1k, T = 4"),
        "sew_resnet50": imagenet(published="67.78 % ImageNet-1k, T = 4"),
        "sew_resnet101": imagenet(published="68.76 % ImageNet-1k, T = 4"),
        "sew_resnet152": imagenet(published="69.26 % ImageNet-1k, T = 4"),
        "sew_resnet18_small": small(),
        "sew_resnet20": small(),
        "sew_resnet8": small(),
        "sew_resnet_tiny": small(),
    },
    first_conv="conv1",
)


@register_model
def sew_resnet18(pretrained: bool = False, **kwargs: Any) -> SEWResNet:
    """SEW-ResNet-18 for ImageNet: 11,689,512 parameters."""
    return create(SEWResNet, "sew_resnet18", pretrained, kwargs, layers=(2, 2, 2, 2))


@register_model
def sew_resnet34(pretrained: bool = False, **kwargs: Any) -> SEWResNet:
    """SEW-ResNet-34 for ImageNet: 21,797,672 parameters."""
    return create(SEWResNet, "sew_resnet34", pretrained, kwargs, layers=(3, 4, 6, 3))


@register_model
def sew_resnet50(pretrained: bool = False, **kwargs: Any) -> SEWResNet:
    """SEW-ResNet-50 for ImageNet: 25,557,032 parameters."""
    return create(SEWResNet, "sew_resnet50", pretrained, kwargs, block="bottleneck", layers=(3, 4, 6, 3))


@register_model
def sew_resnet101(pretrained: bool = False, **kwargs: Any) -> SEWResNet:
    """SEW-ResNet-101 for ImageNet: 44,549,160 parameters."""
    return create(SEWResNet, "sew_resnet101", pretrained, kwargs, block="bottleneck", layers=(3, 4, 23, 3))


@register_model
def sew_resnet152(pretrained: bool = False, **kwargs: Any) -> SEWResNet:
    """SEW-ResNet-152 for ImageNet: 60,192,808 parameters."""
    return create(SEWResNet, "sew_resnet152", pretrained, kwargs, block="bottleneck", layers=(3, 8, 36, 3))


@register_model
def sew_resnet18_small(pretrained: bool = False, **kwargs: Any) -> SEWResNet:
    """SEW-ResNet-18 with the 3x3 stem, for images of 16 to 64 pixels."""
    return create(SEWResNet, "sew_resnet18_small", pretrained, kwargs, layers=(2, 2, 2, 2), stem="small")


@register_model
def sew_resnet20(pretrained: bool = False, **kwargs: Any) -> SEWResNet:
    """The spiking twin of ResNet-20 for small images: three stages of three blocks, 16 to 64 channels; LIF neurons."""
    defaults = {"layers": (3, 3, 3), "widths": (16, 32, 64), "stem": "small", "neuron": "lif"}
    return create(SEWResNet, "sew_resnet20", pretrained, kwargs, **defaults)


@register_model
def sew_resnet8(pretrained: bool = False, **kwargs: Any) -> SEWResNet:
    """Three stages of one basic block, 16 to 64 channels, for small images; LIF neurons."""
    defaults = {"layers": (1, 1, 1), "widths": (16, 32, 64), "stem": "small", "neuron": "lif"}
    return create(SEWResNet, "sew_resnet8", pretrained, kwargs, **defaults)


@register_model
def sew_resnet_tiny(pretrained: bool = False, **kwargs: Any) -> SEWResNet:
    """Three stages of one basic block, 32 to 128 channels, for images of 8 to 32 pixels; LIF neurons."""
    defaults = {"layers": (1, 1, 1), "widths": (32, 64, 128), "stem": "small", "neuron": "lif"}
    return create(SEWResNet, "sew_resnet_tiny", pretrained, kwargs, **defaults)
