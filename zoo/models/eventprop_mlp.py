"""Fully connected spiking networks with exact gradients (EventProp), feed-forward or recurrent, for spike trains.

Wunderlich and Pehle 2021 (5-200-3 with first spikes on Yin-Yang, 784-350-10 with a voltage readout on MNIST); with
recurrence and delays: Nowotny, Turner and Knight 2025; Meszaros, Knight and Nowotny 2025. Written from the equations.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from ..errors import unknown
from ..layers.eventprop import EventPropLI, EventPropLIF, first_spike_logits
from ..layers.eventprop_autograd import TimeConstants
from ._builder import Origin, create, make_default_cfgs, spike_trains
from ._spike_trains import SpikeTrainModel, check_hidden

__all__ = ["EventPropMLP"]

READOUTS = ("li", "spike")


class EventPropMLP(SpikeTrainModel):
    """Layers of `EventPropLIF` and a readout, over spike trains [T, N, F]. Contract: `SpikeTrainModel`.

    A feature is the spikes of a hidden layer, [T, N, H].

    Args:
        hidden: Neurons of every hidden layer.
        readout: "li": the logits [T, N, K] are voltages of `EventPropLI`. "spike": they are `first_spike_logits` of K
            spiking neurons, with time mean -t_first in ms.
        recurrent: Whether the neurons of a hidden layer are connected to each other.
        tau_mem: Time constant of the membrane, ms.
        tau_syn: Time constant of the synaptic current, ms.
        dt: Length of a step of the data, ms.
        v_threshold: Threshold.
        max_delay: Longest delay of the synapses into hidden layers, ms; 0 for no delays.
        learn_delays: Whether they are trained.
        spike_count: Regulariser of the hidden layers' spike counts: arguments of `SpikeCount`.
        min_slope: Least slope of a spike that the backward pass divides by, see `EventPropLIF`; raise it with dt.
        init: Mean and standard deviation of the input weights, one pair a layer, the readout's last; default: theirs.
        num_steps: Steps T of the noise that stands in for data when a checkpoint is checked without any.
        num_classes: Classes K.
        in_chans: Input channels F.

    Raises:
        ValueError: If an argument is out of range; the message names it.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (200,),
        readout: str = "li",
        recurrent: bool = False,
        tau_mem: float = 20.0,
        tau_syn: float = 5.0,
        dt: float = 1.0,
        v_threshold: float = 1.0,
        max_delay: float = 0.0,
        learn_delays: bool = True,
        spike_count: Mapping[str, float] | None = None,
        min_slope: float = 0.01,
        init: Sequence[Sequence[float]] | None = None,
        num_steps: int = 40,
        num_classes: int = 3,
        in_chans: int = 5,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps)
        check_layers(hidden, readout, init)
        self.readout = readout
        self.times, self.dt = TimeConstants(tau_mem, tau_syn, dt), dt
        self.neuron: dict[str, Any] = {"v_threshold": v_threshold, "min_slope": min_slope}
        self.init = [tuple(pair) for pair in init] if init else [(None, None)] * (len(hidden) + 1)
        self.layers = nn.ModuleList()
        self.feature_info = []
        chans = in_chans
        options: dict[str, Any] = {"max_delay": max_delay, "learn_delays": learn_delays, "spike_count": spike_count}
        for index, width in enumerate(hidden):
            layer = EventPropLIF(chans, width, self.times, recurrent=recurrent, **self.neuron, **options)
            layer.init_weights(*self.init[index])
            self.layers.append(layer)
            self.feature_info.append({"num_chs": width, "reduction": 1, "module": f"layers.{index}"})
            chans = width
        self.num_features = chans
        self.fc = self.make_readout(num_classes)

    def make_readout(self, num_classes: int) -> nn.Module:
        """A new readout; none for no classes."""
        if num_classes == 0:
            return nn.Identity()
        fc: EventPropLI | EventPropLIF
        if self.readout == "li":
            fc = EventPropLI(self.num_features, num_classes, self.times)
        else:
            fc = EventPropLIF(self.num_features, num_classes, self.times, **self.neuron, phantom=True)
        fc.init_weights(*self.init[-1])
        return fc

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The spikes [T, N, H] of every hidden layer."""
        for layer in self.layers:
            x = self.stage(layer, x)
            yield x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The readout: spikes [T, N, H] -> logits [T, N, K]."""
        if pre_logits or self.num_classes == 0:
            return x
        out = self.fc(x)
        return out if self.readout == "li" else first_spike_logits(out, self.times.dt)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters grouped by depth."""
        return {"blocks": r"^layers\.(\d+)"}


def check_layers(hidden: Sequence[int], readout: str, init: Sequence[Sequence[float]] | None) -> None:
    """Refuse layers that cannot be made.

    Raises:
        ValueError: If there is no hidden layer or an empty one, the readout is unknown, or init has other layers.
    """
    check_hidden(hidden)
    if readout not in READOUTS:
        raise ValueError(unknown("readout", readout, READOUTS))
    if init is not None and (len(init) != len(hidden) + 1 or any(len(pair) != 2 for pair in init)):
        raise ValueError(
            f"init is one pair (mean, standard deviation) for each of the {len(hidden)} hidden layers and the readout, "
            f"found {init}."
        )


default_cfgs = make_default_cfgs(
    Origin("doi:10.1038/s41598-021-91786-z", kind="spike trains", code="not looked up"),
    {name: spike_trains(5, 3) for name in ("eventprop_mlp_200", "eventprop_rnn_256", "eventprop_mlp_tiny")},
)


@register_model
def eventprop_mlp_200(pretrained: bool = False, **kwargs: Any) -> EventPropMLP:
    """One hidden layer of 200 neurons (Yin-Yang in the paper): 1,600 weights for 5 inputs and 3 classes."""
    return create(EventPropMLP, "eventprop_mlp_200", pretrained, kwargs, hidden=(200,))


@register_model
def eventprop_rnn_256(pretrained: bool = False, **kwargs: Any) -> EventPropMLP:
    """One recurrent hidden layer of 256 neurons: 67,584 weights for 5 inputs and 3 classes."""
    return create(EventPropMLP, "eventprop_rnn_256", pretrained, kwargs, hidden=(256,), recurrent=True)


@register_model
def eventprop_mlp_tiny(pretrained: bool = False, **kwargs: Any) -> EventPropMLP:
    """Two hidden layers of 24 and 16 neurons, for tests."""
    return create(EventPropMLP, "eventprop_mlp_tiny", pretrained, kwargs, hidden=(24, 16))
