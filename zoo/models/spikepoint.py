"""SpikePoint: spiking networks on event clouds.

Ren et al., ICLR 2024, arXiv:2310.07189. Written from the paper's text and its published counts; it has no code. The
reconstruction (no biases, residual blocks of one convolution, a hidden layer as wide as the last) gives all five counts
that the paper prints. A block adds its input to its spikes, so the convolutions behind one read small integers. Ours
is the start of the norm before the maximum over all points: with the usual bias of 0, every channel fires at one of
1024 points in every step, the maximum is the same for all clouds, and the layers behind it are silent.
"""

from collections.abc import Iterator
from statistics import NormalDist
from typing import Any, ClassVar

from timm.models import register_model
from torch import Tensor, nn

from ..layers.cloud_encoder import CloudEncoder
from ..layers.stateless import Residual, SequenceDropout, over_time
from ..model import SpikingModel
from ..neurons import NeuronSpec, make_neuron
from ..sequence import SequenceKind
from ._builder import Origin, Row, create, make_default_cfgs
from ._spike_trains import without_other_readout

__all__ = ["SpikePoint"]

VOTERS = 10  # neurons of the last layer for every class


class Layer(nn.Module):
    """Synapses without bias, norm over T, N and points, neuron: [T, N, C, L] or [T, N, C] -> the same with C'."""

    def __init__(self, synapses: nn.Conv1d | nn.Linear, neuron: NeuronSpec) -> None:
        super().__init__()
        self.synapses = synapses
        self.bn = nn.BatchNorm1d(len(synapses.weight))
        self.act = make_neuron(neuron, len(synapses.weight))

    def forward(self, x: Tensor) -> Tensor:
        """Spikes."""
        return self.act(over_time(x, self.synapses, self.bn))


def point_layer(in_chans: int, out_chans: int, neuron: NeuronSpec) -> Layer:
    """The same fully connected layer for every point."""
    return Layer(nn.Conv1d(in_chans, out_chans, 1, bias=False), neuron)


def dense_layer(in_features: int, out_features: int, neuron: NeuronSpec) -> Layer:
    """Fully connected."""
    return Layer(nn.Linear(in_features, out_features, bias=False), neuron)


def embedding(in_chans: int, width: int, neuron: NeuronSpec) -> nn.Sequential:
    """A layer and a bottleneck with its shortcut."""
    bottleneck = Residual(point_layer(width, width // 2, neuron), point_layer(width // 2, width, neuron))
    return nn.Sequential(point_layer(in_chans, width, neuron), bottleneck)


class SpikePoint(SpikingModel):
    """A SpikePoint of any width. Contract and errors: `SpikingModel`; input and its errors: `CloudEncoder`.

    It takes event clouds [N, P, 3], or a sequence [T, N, P, 3] with a cloud a step. Two branches, on the groups (with a
    maximum over each group) and on the centroids, are added; three stages and a maximum over all points follow. Of the
    last layer, 10 neurons vote for every class: the logits are their mean, in tenths, and the mean over time is a rate
    in [0, 1], to be trained by `RateMSE`. A feature is what a stage gives for every group, [T, N, C, G].

    Args:
        widths: Channels C0 of the branches, and C1, C2, C3 of the stages.
        num_points: See `CloudEncoder`.
        num_centroids: See `CloudEncoder`.
        neighbours: See `CloudEncoder`.
        seed: See `CloudEncoder`.
        neuron: Neuron of every layer, in JSON; see `make_neuron`. Default: PLIF that adds its input undivided.
        num_steps: Steps T that a still cloud is coded for.
        num_classes: Classes K.
        in_chans: Coordinates of an event.
        drop_rate: Dropout before the head, with one mask for all steps; the paper has none.

    Raises:
        ValueError: If widths are not four even numbers, or another argument is out of range.
    """

    kind = SequenceKind.CLOUDS
    integer_inputs: ClassVar[str] = r"^stage\d\.0\."
    adapt_weights = staticmethod(without_other_readout)

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        num_points: int = 1024,
        num_centroids: int | None = None,
        neighbours: int = 24,
        seed: int = 0,
        neuron: NeuronSpec | None = None,
        num_steps: int = 16,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        if len(widths) != 4 or any(width < 2 or width % 2 for width in widths):
            raise ValueError(f"widths must be four even numbers >= 2, found {tuple(widths)}.")
        neuron = {"name": "plif", "tau": 2.0, "decay_input": False, "surrogate": "atan"} if neuron is None else neuron
        first, second, third, last = widths
        self.neuron = neuron
        self.encoder = CloudEncoder(num_points, num_centroids, neighbours, in_chans, seed)
        self.groups = embedding(2 * in_chans, first, neuron)
        self.centroids = embedding(in_chans, first, neuron)
        self.stage1 = nn.Sequential(point_layer(first, second, neuron), Residual(point_layer(second, second, neuron)))
        self.stage2 = nn.Sequential(point_layer(second, third, neuron), Residual(point_layer(third, third, neuron)))
        widest = point_layer(third, last, neuron)
        # (1 - p)^G = 1/2: of unit normal currents over G points, one passes the threshold of 1 in half of the steps.
        quiet = 0.5 ** (1 / self.encoder.num_centroids)
        nn.init.constant_(widest.bn.bias, 1 - NormalDist().inv_cdf(quiet))
        self.stage3 = nn.Sequential(widest)
        self.feature_info = [
            {"num_chs": width, "reduction": 1, "module": f"stage{index}"} for index, width in enumerate(widths[1:], 1)
        ]
        self.num_features = last
        self.head_drop = SequenceDropout(drop_rate)
        self.hidden = dense_layer(last, last, neuron)
        self.fc = self.make_voters(num_classes)

    def make_voters(self, num_classes: int) -> nn.Module:
        """A new last layer; none for no classes."""
        return dense_layer(self.num_features, VOTERS * num_classes, self.neuron) if num_classes else nn.Identity()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the model new, untrained voters, where, in the dtype and in the mode the old ones were.

        Raises:
            ValueError: If global_pool, which is timm's, is not None.
        """
        if global_pool is not None:
            raise ValueError(f"The pooling of SpikePoint is fixed, found global_pool={global_pool!r}. Leave it out.")
        self.num_classes = num_classes
        self.fc = self.make_voters(num_classes).to(next(self.parameters())).train(self.training)

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The output of every stage."""
        groups, centroids = self.encoder(x, self.num_steps)
        x = self.stage(self.pool_groups, self.stage(self.groups, groups)) + self.stage(self.centroids, centroids)
        for part in (self.stage1, self.stage2, self.stage3):
            x = self.stage(part, x)
            yield x

    def pool_groups(self, x: Tensor) -> Tensor:
        """The maximum over every group: [T, N, C, G k] -> [T, N, C, G]."""
        return x.unflatten(-1, (-1, self.encoder.neighbours)).amax(-1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The maximum over all points, hidden layer, vote: [T, N, C, G] -> [T, N, K]."""
        x = self.stage(self.hidden, self.head_drop(x.amax(-1)))
        if pre_logits or not self.num_classes:
            return x
        return self.stage(self.fc, x).unflatten(-1, (self.num_classes, VOTERS)).mean(-1)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters grouped by depth."""
        blocks = r"^stage(\d+)" if coarse else r"^stage(\d+)\.(\d+)"
        return {"stem": r"^groups|^centroids", "blocks": [(blocks, None), (r"^hidden", (99,))]}


def clouds(points: int, **changes: Any) -> Row:
    """A row of a model of clouds of events (x, y, t); coordinates in [0, 1] are probabilities, hence not normalised."""
    size = (3, points, 1)  # timm insists on channels first
    return {"num_classes": 10, "input_size": size, "mean": (0.0,) * 3, "std": (1.0,) * 3, **changes}


default_cfgs = make_default_cfgs(
    Origin("arXiv:2310.07189", kind="event clouds", code="not public"),
    {
        "spikepoint_s": clouds(1024, published="97.92 % Daily DVS, 90.6 % DVS Action, T = 16"),
        "spikepoint_l": clouds(1024, published="98.74 % DVS128 Gesture, T = 16"),
        "spikepoint_tiny": clouds(80),
    },
)


@register_model
def spikepoint_s(pretrained: bool = False, **kwargs: Any) -> SpikePoint:
    """For Daily DVS (12 classes) and DVS Action (10): 164,432 and 159,272 parameters, and 13 leaks of PLIF."""
    return create(SpikePoint, "spikepoint_s", pretrained, kwargs, widths=(32, 64, 128, 256))


@register_model
def spikepoint_l(pretrained: bool = False, **kwargs: Any) -> SpikePoint:
    """For DVS Gesture (10 classes), HMDB51 and UCF101: 580,488, 791,228 and 1,048,228 parameters, and 13 leaks."""
    return create(SpikePoint, "spikepoint_l", pretrained, kwargs, widths=(64, 128, 256, 512))


@register_model
def spikepoint_tiny(pretrained: bool = False, **kwargs: Any) -> SpikePoint:
    """64 points in 32 groups of 8, and up to 32 channels, for tests."""
    defaults = {"widths": (8, 16, 24, 32), "num_points": 64, "num_centroids": 32, "neighbours": 8, "num_steps": 4}
    return create(SpikePoint, "spikepoint_tiny", pretrained, kwargs, **defaults)
