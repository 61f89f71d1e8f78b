"""Base of the spiking ResNets: stages `layer1`, `layer2`, ... of blocks behind a stem."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from ..model import SpikingModel


class ResNet(SpikingModel):
    """A ResNet, whose features are the output of the stem and of every stage. Contract and errors: `SpikingModel`.

    An architecture gives `stem`, names its output in `feature_info`, and calls `add_stages`.
    """

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

    @abstractmethod
    def stem(self, x: Tensor) -> Tensor:
        """The encoder: the first feature, of a sequence [T, N, C, H, W]; its convolution is applied to a still once."""

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
