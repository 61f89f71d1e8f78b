"""What the spiking ResNets share: stages `layer1`, `layer2`, ... of blocks behind a stem, and parts of blocks."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from ..layers.stateless import SequenceDropout, init_convolutions, make_classifier, over_time
from ..model import SpikingModel
from ..neurons import NeuronSpec, make_neuron


def conv3x3(in_chans: int, out_chans: int, stride: int = 1) -> nn.Conv2d:
    """The 3x3 convolution without bias that blocks are made of."""
    return nn.Conv2d(in_chans, out_chans, 3, stride, padding=1, bias=False)


def projection(in_chans: int, out_chans: int, stride: int) -> nn.Sequential:
    """1x1 convolution and norm of a shortcut where the shape changes; empty elsewhere."""
    if stride == 1 and in_chans == out_chans:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(in_chans, out_chans, 1, stride, bias=False), nn.BatchNorm2d(out_chans))


class ResNet(SpikingModel):
    """A ResNet, whose features are the output of the stem and of every stage. Contract and errors: `SpikingModel`.

    An architecture has `conv1`, `bn1` and `act1`, or a `stem` of its own, names the output in `feature_info`, and calls
    `add_stages` and `add_head`.
    """

    conv1: nn.Module
    bn1: nn.Module
    act1: nn.Module

    def add_stages(
        self,
        layers: Sequence[int],
        widths: Sequence[int],
        make_block: Callable[[int, int, int], nn.Module],
        chans: int,
        reduction: int = 1,
        first_stride: int = 1,
        expansion: int = 1,
    ) -> int:
        """Add the stages and their `feature_info`. The first block of every stage but the first halves the sides.

        Args:
            layers: Blocks per stage.
            widths: Channels per stage.
            make_block: Makes a block from its input channels, its width and its stride.
            chans: Channels that the first stage reads.
            reduction: Sides of the image divided by those of the map that the first stage reads.
            first_stride: Stride of the first stage.
            expansion: Output channels of a block per width.

        Returns:
            Channels of the last stage.

        Raises:
            ValueError: If layers and widths are not equally many.
        """
        if len(layers) != len(widths):
            raise ValueError(f"layers and widths must name as many stages each, found {layers} and {widths}.")
        for index, (depth, width) in enumerate(zip(layers, widths, strict=True)):
            stride = 2 if index else first_stride
            reduction *= stride
            blocks = []
            for number in range(depth):
                blocks.append(make_block(chans, width, 1 if number else stride))
                chans = width * expansion
            name = f"layer{index + 1}"
            self.add_module(name, nn.Sequential(*blocks))
            self.feature_info.append({"num_chs": chans, "reduction": reduction, "module": name})
        return chans

    def add_head(self, chans: int) -> None:
        """Add dropout and classifier, and set the initial weights of all convolutions."""
        self.num_features = chans
        self.head_drop = SequenceDropout(self.drop_rate)
        self.fc = make_classifier(chans, self.num_classes)
        init_convolutions(self)

    def stem(self, x: Tensor) -> Tensor:
        """The encoder: the first feature, of a sequence [T, N, C, H, W]; its convolution is applied to a still once."""
        return self.act1(self.repeat_still(over_time(x, self.conv1, self.bn1)))

    def enter_stages(self, x: Tensor) -> Tensor:
        """What the first stage reads, of the first feature: the same by default."""
        return x

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The output of the stem, then of every stage."""
        x = self.stage(self.stem, x)
        yield x
        x = self.enter_stages(x)
        for info in self.feature_info[1:]:
            x = self.stage(self.get_submodule(info["module"]), x)
            yield x

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters grouped by depth."""
        blocks = r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"
        return {"stem": r"^(?:conv1|bn1|act1)\b", "blocks": blocks, "head": r"^(?:act|hidden)\b"}


class PotentialResNet(ResNet):
    """A ResNet whose features are potentials: every block begins with a neuron, and the head does too."""

    def add_head_neuron(self, chans: int, neuron: NeuronSpec) -> None:
        """Add the neuron `act` and what follows it; see `add_head`."""
        self.act = make_neuron(neuron, chans)
        self.add_head(chans)

    def stem(self, x: Tensor) -> Tensor:
        """The encoder, which has no neuron: the first block's reads it."""
        return self.repeat_still(over_time(x, self.conv1, self.bn1))

    def pool_features(self, x: Tensor) -> Tensor:
        """Average over the map of the last neuron's spikes."""
        return self.act(x).mean((-2, -1))
