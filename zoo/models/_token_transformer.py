"""Base of Spikformer and the transformers that keep its layout: a stem that makes tokens, then equal blocks.

Source: Zhou et al. 2023, Spikformer: When Spiking Neural Network Meets Transformer, ICLR, arXiv:2209.15425.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from ..layers.attention import LIF_OF_SPIKFORMER, Block, init_transformer, token_features
from ..layers.stateless import ConvNeuron, SequenceDropout, make_classifier
from ..model import SpikingModel
from ..neurons import NeuronSpec

CIFAR_POOLS = (False, False, True, True)
"""`pools` for images of 32 pixels: the stem halves the sides twice."""


class TokenTransformer(SpikingModel):
    """A transformer of any depth and width. Contract and errors: `SpikingModel`.

    An architecture gives `make_stem` and `make_block`. The features are the tokens after the stem and after every
    block, as maps [T, N, dim, H, W].

    Args:
        attention: Makes the attention of a block from `dim` and `neuron`.
        dim: Channels of a token, a multiple of 8.
        depth: Blocks.
        mlp_ratio: Hidden channels of an MLP per channel.
        pools: Of each of the stem's four units, whether it pools.
        neuron: Neuron of every layer, in JSON; see `make_neuron`. Those of the attention take the threshold 0.5.
        num_steps: Steps T that a still image is shown for.
        num_classes: Classes K.
        in_chans: Input channels C.
        drop_rate: Dropout before the classifier.
    """

    def __init__(
        self,
        attention: Callable[..., nn.Module],
        dim: int = 384,
        depth: int = 8,
        mlp_ratio: int = 4,
        pools: Sequence[bool] = (True, True, True, True),
        neuron: NeuronSpec = LIF_OF_SPIKFORMER,
        num_steps: int = 4,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        self.encoder, self.stem = self.make_stem(in_chans, dim, pools, neuron)
        self.blocks = nn.Sequential()
        for _ in range(depth):
            self.blocks.append(self.make_block(dim, dim * mlp_ratio, neuron, attention))
        self.feature_info = token_features(dim, depth, pools)
        self.num_features = dim
        self.head_act = self.make_head_neuron(dim, neuron)
        self.head_drop = SequenceDropout(drop_rate)
        self.fc = make_classifier(dim, num_classes)
        init_transformer(self)

    @staticmethod
    @abstractmethod
    def make_stem(
        in_chans: int, dim: int, pools: Sequence[bool], neuron: NeuronSpec
    ) -> tuple[ConvNeuron, nn.Sequential]:
        """The encoder, which is the first unit (see `stem_units`), and what stands between it and the blocks."""

    @staticmethod
    @abstractmethod
    def make_block(dim: int, hidden: int, neuron: NeuronSpec, attention: Callable[..., nn.Module]) -> Block:
        """A block of dim channels, with hidden channels in its MLP."""

    @staticmethod
    def make_head_neuron(dim: int, neuron: NeuronSpec) -> nn.Module:
        """The neuron between the average over the tokens and the classifier; none by default."""
        return nn.Identity()

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The tokens after the stem, then after every block."""
        x = self.stage(self.stem, self.stage(self.encode, x))
        yield x
        for block in self.blocks:
            x = self.stage(block, x)
            yield x

    def encode(self, x: Tensor) -> Tensor:
        """The first unit, whose convolution is applied to a still image once."""
        return self.encoder.fire(self.repeat_still(self.encoder.current(x)))

    def pool_features(self, x: Tensor) -> Tensor:
        """Average over the tokens, then the neuron of the head, if any."""
        return self.head_act(x.mean((-2, -1)))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters grouped by depth."""
        last = (99999,)  # timm: with the group before
        return {"stem": r"^encoder|stem", "blocks": [(r"^blocks\.(\d+)", None), (r"^head_act", last)]}
