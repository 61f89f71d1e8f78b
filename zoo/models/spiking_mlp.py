"""Fully connected and recurrent spiking networks for speech, with neurons that adapt.

Bittar and Garner 2022, Frontiers in Neuroscience 16:865897: two hidden layers for SHD (700 inputs, 20 classes), SSC
(700, 35) and Speech Commands (40 bands, 35). Written from the paper's equations and tables; the original is BSD-3.
Where it differs: the original draws the first state of every neuron at random, also when it tests; here it is zero,
and one input has one answer.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from ..layers.stateless import over_time
from ..neurons import LI, NeuronSpec, make_neuron
from ._builder import Origin, create, make_default_cfgs, spike_trains
from ._spike_trains import SpikeTrainModel, check_hidden, check_readout, class_scores

__all__ = ["SpikingMLP"]


class DenseBlock(nn.Module):
    """Synapses without bias, norm over T and N, neuron or leaky integrator, dropout: [T, N, F] -> [T, N, F']."""

    def __init__(self, in_features: int, width: int, act: nn.Module, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.synapses = nn.Linear(in_features, width, bias=False)
        self.bn = nn.BatchNorm1d(width, momentum=0.05)
        self.act = act
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (in training divided by the share that dropout leaves), or potentials."""
        return self.drop(self.act(over_time(x, self.synapses, self.bn)))


class SpikingMLP(SpikeTrainModel):
    r"""Hidden layers of spiking neurons and a leaky readout that does not fire. Contract: `SpikeTrainModel`.

        V_t = alpha V_{t-1} + (1 - alpha) norm(W S_t),   V_0 = 0

    A feature is the spikes of a hidden layer, [T, N, H]. Recurrent neurons give a recurrent network.

    Args:
        hidden: Neurons of every hidden layer.
        neuron: Neuron of every hidden layer, in JSON; see `make_neuron`.
        readout: "softmax": the logits are z_t = T softmax(V_t), so their mean over time is the published class score
            sum_t softmax(V_t); a step's logits are only known with T, so the model needs whole sequences. "potential":
            z_t = V_t, for losses and answers at every step.
        num_steps: Steps T of the noise that stands in for data when a checkpoint is checked without any.
        num_classes: Classes K.
        in_chans: Inputs F.
        drop_rate: Dropout of the spikes of every hidden layer, drawn anew at every step as in the original.

    Raises:
        ValueError: If an argument is out of range; the message names it.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (128, 128),
        neuron: NeuronSpec = "adlif",
        readout: str = "softmax",
        num_steps: int = 100,
        num_classes: int = 20,
        in_chans: int = 700,
        drop_rate: float = 0.1,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        check_hidden(hidden)
        check_readout(readout)
        self.readout = readout
        self.blocks = nn.ModuleList()
        self.feature_info = []
        chans = in_chans
        for index, width in enumerate(hidden):
            self.blocks.append(DenseBlock(chans, width, make_neuron(neuron, width), drop_rate))
            self.feature_info.append({"num_chs": width, "reduction": 1, "module": f"blocks.{index}"})
            chans = width
        self.num_features = chans
        self.fc = self.make_readout(num_classes)

    @property
    def needs_whole_sequence(self) -> bool:
        """Whether it cannot be run step by step; see `carry_state`."""
        return self.readout == "softmax"

    def make_readout(self, num_classes: int) -> nn.Module:
        """A new leaky readout; none for no classes."""
        return DenseBlock(self.num_features, num_classes, LI(num_classes)) if num_classes else nn.Identity()

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The spikes of every hidden layer."""
        for block in self.blocks:
            x = self.stage(block, x)
            yield x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The readout: spikes [T, N, H] -> logits [T, N, K]."""
        return x if pre_logits or self.num_classes == 0 else class_scores(self.stage(self.fc, x), self.readout)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters grouped by depth."""
        return {"blocks": r"^blocks\.(\d+)"}


SIZES = ("128", "512", "1024", "tiny")
BEST = {  # what the paper prints for each neuron, of its best size
    "lif_mlp_1024": "87.04 % SHD",
    "radlif_mlp_1024": "94.62 % SHD, 77.4 % SSC, 94.51 % GSC",
}
default_cfgs = make_default_cfgs(
    Origin("doi:10.3389/fnins.2022.865897", kind="spike trains", code="BSD-3"),
    {
        name: spike_trains(700, 20, published=BEST.get(name, ""))
        for name in (f"{neuron}_mlp_{size}" for neuron in ("lif", "adlif", "radlif") for size in SIZES)
    },
)


@register_model
def lif_mlp_128(pretrained: bool = False, **kwargs: Any) -> SpikingMLP:
    """Two hidden layers of 128 LIF neurons: 109,372 parameters for SHD, 111,337 for SSC, 26,857 for GSC."""
    return create(SpikingMLP, "lif_mlp_128", pretrained, kwargs, hidden=(128, 128), neuron="unit_lif")


@register_model
def lif_mlp_512(pretrained: bool = False, **kwargs: Any) -> SpikingMLP:
    """Two hidden layers of 512 LIF neurons: 633,916 parameters for SHD, 641,641 for SSC, 303,721 for GSC."""
    return create(SpikingMLP, "lif_mlp_512", pretrained, kwargs, hidden=(512, 512), neuron="unit_lif")


@register_model
def lif_mlp_1024(pretrained: bool = False, **kwargs: Any) -> SpikingMLP:
    """Two hidden layers of 1024 LIF neurons: 1,792,060 parameters for SHD, 1,807,465 for SSC, 1,131,625 for GSC."""
    return create(SpikingMLP, "lif_mlp_1024", pretrained, kwargs, hidden=(1024, 1024), neuron="unit_lif")


@register_model
def adlif_mlp_128(pretrained: bool = False, **kwargs: Any) -> SpikingMLP:
    """Two hidden layers of 128 adLIF neurons: 110,140 parameters for SHD, 112,105 for SSC, 27,625 for GSC."""
    return create(SpikingMLP, "adlif_mlp_128", pretrained, kwargs, hidden=(128, 128), neuron="adlif")


@register_model
def adlif_mlp_512(pretrained: bool = False, **kwargs: Any) -> SpikingMLP:
    """Two hidden layers of 512 adLIF neurons: 636,988 parameters for SHD, 644,713 for SSC, 306,793 for GSC."""
    return create(SpikingMLP, "adlif_mlp_512", pretrained, kwargs, hidden=(512, 512), neuron="adlif")


@register_model
def adlif_mlp_1024(pretrained: bool = False, **kwargs: Any) -> SpikingMLP:
    """Two hidden layers of 1024 adLIF neurons: 1,798,204 parameters for SHD, 1,813,609 for SSC, 1,137,769 for GSC."""
    return create(SpikingMLP, "adlif_mlp_1024", pretrained, kwargs, hidden=(1024, 1024), neuron="adlif")


@register_model
def radlif_mlp_128(pretrained: bool = False, **kwargs: Any) -> SpikingMLP:
    """The same with recurrent connections, 128 a layer: 142,908 parameters for SHD, 144,873 for SSC, 60,393 for GSC."""
    return create(SpikingMLP, "radlif_mlp_128", pretrained, kwargs, hidden=(128, 128), neuron="radlif")


@register_model
def radlif_mlp_512(pretrained: bool = False, **kwargs: Any) -> SpikingMLP:
    """Recurrent and adaptive, 512 a layer: 1,161,276 parameters for SHD, 1,169,001 for SSC, 831,081 for GSC."""
    return create(SpikingMLP, "radlif_mlp_512", pretrained, kwargs, hidden=(512, 512), neuron="radlif")


@register_model
def radlif_mlp_1024(pretrained: bool = False, **kwargs: Any) -> SpikingMLP:
    """Recurrent and adaptive, 1024 a layer: 3,895,356 parameters for SHD, 3,910,761 for SSC, 3,234,921 for GSC."""
    return create(SpikingMLP, "radlif_mlp_1024", pretrained, kwargs, hidden=(1024, 1024), neuron="radlif")


@register_model
def lif_mlp_tiny(pretrained: bool = False, **kwargs: Any) -> SpikingMLP:
    """Two hidden layers of 24 and 16 LIF neurons, for tests; its lower threshold lets them fire on noise."""
    neuron = {"name": "unit_lif", "v_threshold": 0.3}
    return create(SpikingMLP, "lif_mlp_tiny", pretrained, kwargs, hidden=(24, 16), neuron=neuron)


@register_model
def adlif_mlp_tiny(pretrained: bool = False, **kwargs: Any) -> SpikingMLP:
    """Two hidden layers of 24 and 16 adaptive neurons, for tests, with a lower threshold."""
    neuron = {"name": "adlif", "v_threshold": 0.5}
    return create(SpikingMLP, "adlif_mlp_tiny", pretrained, kwargs, hidden=(24, 16), neuron=neuron)


@register_model
def radlif_mlp_tiny(pretrained: bool = False, **kwargs: Any) -> SpikingMLP:
    """Two hidden layers of 24 and 16 recurrent adaptive neurons, for tests, with a lower threshold."""
    neuron = {"name": "radlif", "v_threshold": 0.5}
    return create(SpikingMLP, "radlif_mlp_tiny", pretrained, kwargs, hidden=(24, 16), neuron=neuron)
