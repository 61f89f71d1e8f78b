"""Base of the transformers of stages, whose maps shrink from stage to stage as those of a convolutional network do."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ..layers.stateless import over_time
from ..model import SpikingModel


class StageTransformer(SpikingModel):
    """A transformer whose features are the currents after each of its `stages`. Contract and errors: `SpikingModel`.

    An architecture sets `conv1`, `bn1`, `stages` and, if it has one, the neuron `head_act` of the head.
    """

    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    stages: nn.ModuleList

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The currents after every stage."""
        x = self.repeat_still(self.stage(self.stem, x))
        for blocks in self.stages:
            x = self.stage(blocks, x)
            yield x

    def stem(self, x: Tensor) -> Tensor:
        """The encoder, which is applied to a still image once; no neuron."""
        return over_time(x, self.conv1, self.bn1)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters grouped by depth."""
        blocks = r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"
        return {"stem": r"^conv1|bn1", "blocks": [(blocks, None), (r"^head_act", (99999,))]}  # the last group but fc
