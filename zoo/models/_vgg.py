"""Base of the spiking VGGs: stages of 3x3 convolutions, with a 2x2 pool after each."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ..layers.stateless import ConvNeuron, check_halvings, check_image_size, over_time
from ..model import SpikingModel
from ..neurons import NeuronSpec


class VGG(SpikingModel):
    """A VGG without a head. Contract and errors: `SpikingModel`.

    A feature is the output of a stage before its pool; the last pool belongs to the head. An architecture calls
    `add_stages`, and gives `pool_features`.
    """

    encoder: ConvNeuron
    stages: nn.ModuleList
    pool: nn.Module

    def add_stages(
        self,
        stages: tuple[tuple[int, ...], ...],
        in_chans: int,
        neuron: NeuronSpec,
        pool: nn.Module,
        bias: bool = True,
    ) -> None:
        """Set the encoder, which is the first layer of stage 0, the stages, the pool, and `feature_info`."""
        chans = stages[0][0]
        self.encoder = ConvNeuron(in_chans, chans, neuron, 3, bias=bias)
        self.stages, self.pool, self.feature_info = nn.ModuleList(), pool, []
        for index, widths in enumerate(stages):
            layers = []
            for width in widths if index else widths[1:]:
                layers.append(ConvNeuron(chans, width, neuron, 3, bias=bias))
                chans = width
            self.stages.append(nn.Sequential(*layers))
            self.feature_info.append({"num_chs": chans, "reduction": 2**index, "module": f"stages.{index}"})

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The output of every stage, before its pool."""
        check_image_size(x, self.img_size)
        check_halvings(x.shape[-2:], len(self.stages))
        x = self.stage(self.stem, x)
        for index, layers in enumerate(self.stages):
            x = self.stage(layers, self.stage(self.downsample, x) if index else x)
            yield x

    def stem(self, x: Tensor) -> Tensor:
        """The encoder, whose convolution is applied to a still image once."""
        return self.encoder.act(self.repeat_still(self.encoder.current(x)))

    def downsample(self, x: Tensor) -> Tensor:
        """2x2 pool."""
        return over_time(x, self.pool)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters grouped by depth."""
        return {"stem": r"^encoder", "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)"}
