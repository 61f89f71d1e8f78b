"""SEW nets for event cameras: a row of SEW blocks, each followed by a max-pool.

Source: Fang et al. 2021, arXiv:2102.04159 ("7B-Net" and "Wide-7B-Net"). Written from the paper's tables; the original
is MPL-2.0. The blocks are those of `sew_resnet.py`: with `connect="add"` they give sums of spikes, small integers.
"""

from collections.abc import Iterator
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from ..errors import unknown
from ..layers.stateless import (
    ConvNeuron,
    SequenceDropout,
    check_halvings,
    init_convolutions,
    make_classifier,
    over_time,
)
from ..model import SpikingModel
from ..neurons import NeuronSpec
from ._builder import create, frames, make_default_cfgs
from .sew_resnet import CONNECT, ORIGIN, BasicBlock

__all__ = ["SEWEventNet"]


class SEWEventNet(SpikingModel):
    """A row of SEW blocks with a 2x2 max-pool after each. Contract and errors: `SpikingModel`.

    A feature is the output of a block before its pool; the last pool belongs to the head. The published nets read
    128x128 pixels, of which their seven pools leave one; of larger frames the head takes the average.

    Args:
        widths: Channels of every block; where they change, a 1x1 convolution with norm and neuron comes first.
        connect: "add", "and" or "iand".
        neuron: Neuron of every layer, in JSON; see `make_neuron`.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C, two polarities.
        drop_rate: Dropout before the classifier.
    """

    integer_inputs = r"^blocks\.[1-9]\d*\.0\.conv1?$"  # what reads the output of a block

    def __init__(
        self,
        widths: tuple[int, ...] = (32,) * 7,
        connect: str = "add",
        neuron: NeuronSpec = "plif",
        num_steps: int = 16,
        num_classes: int = 11,
        in_chans: int = 2,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        if connect not in CONNECT:
            raise ValueError(unknown("connect of SEWEventNet", connect, CONNECT))
        self.encoder = ConvNeuron(in_chans, widths[0], neuron)
        self.blocks = nn.ModuleList()
        self.feature_info = []
        chans = widths[0]
        for index, width in enumerate(widths):
            block = nn.Sequential(BasicBlock(width, width, 1, connect, neuron))
            if width != chans:
                block.insert(0, ConvNeuron(chans, width, neuron))
            self.blocks.append(block)
            self.feature_info.append({"num_chs": width, "reduction": 2**index, "module": f"blocks.{index}"})
            chans = width
        self.pool = nn.MaxPool2d(2)
        self.num_features = chans
        self.head_drop = SequenceDropout(drop_rate)
        self.fc = make_classifier(chans, num_classes)
        init_convolutions(self)

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The output of every block, before its pool."""
        check_halvings(x.shape[-2:], len(self.blocks))
        x = self.stage(self.stem, x)
        for index, block in enumerate(self.blocks):
            x = self.stage(block, self.stage(self.downsample, x) if index else x)
            yield x

    def stem(self, x: Tensor) -> Tensor:
        """The encoder, whose convolution is applied to a still image once."""
        return self.encoder.act(self.repeat_still(self.encoder.current(x)))

    def downsample(self, x: Tensor) -> Tensor:
        """2x2 max-pool."""
        return over_time(x, self.pool)

    def pool_features(self, x: Tensor) -> Tensor:
        """2x2 max-pool, then the average over what is left."""
        return self.stage(self.downsample, x).mean((-2, -1))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters grouped by depth."""
        return {"stem": r"^encoder", "blocks": r"^blocks\.(\d+)" if coarse else r"^blocks\.(\d+)\.(\d+)"}


default_cfgs = make_default_cfgs(
    ORIGIN,
    {
        "sew_7b_dvsgesture": frames(128, 11, published="97.92 % DVS128 Gesture, T = 16"),
        "sew_wide7b_cifar10dvs": frames(128, 10, published="74.4 % CIFAR10-DVS, T = 16"),
        "sew_dvs_tiny": frames(32, 11, min_side=8),
    },
    first_conv="encoder.conv",
)


@register_model
def sew_7b_dvsgesture(pretrained: bool = False, **kwargs: Any) -> SEWEventNet:
    """The 7B-Net of DVS-Gesture: 130,426 parameters for 11 classes."""
    return create(SEWEventNet, "sew_7b_dvsgesture", pretrained, kwargs, widths=(32,) * 7)


@register_model
def sew_wide7b_cifar10dvs(pretrained: bool = False, **kwargs: Any) -> SEWEventNet:
    """The Wide-7B-Net of CIFAR10-DVS: 1,192,218 parameters for 10 classes."""
    return create(SEWEventNet, "sew_wide7b_cifar10dvs", pretrained, kwargs, widths=(64,) * 4 + (128,) * 3)


@register_model
def sew_dvs_tiny(pretrained: bool = False, **kwargs: Any) -> SEWEventNet:
    """Three blocks of 16 and 32 channels, for frames of at least 8x8 pixels; 4 steps of a still image."""
    return create(SEWEventNet, "sew_dvs_tiny", pretrained, kwargs, widths=(16, 16, 32), num_steps=4)
