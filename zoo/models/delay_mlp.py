"""Fully connected spiking networks with learned delays, for spike trains (DCLS-Delays).

Hammouamri, Khalfaoui-Hassani and Masquelier 2024, arXiv:2306.17670: layers, sizes and neurons of its SHD and SSC
networks. Written from the equations.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from ..layers.delayed_linear import DelayedLinear, delayed_layers
from ..layers.stateless import SequenceDropout, over_time
from ..neurons import NeuronSpec, make_neuron
from ..neurons.functional import leaky
from ._builder import Origin, create, make_default_cfgs, spike_trains
from ._spike_trains import SpikeTrainModel, check_hidden, check_readout, class_scores

__all__ = ["DelayMLP"]


class DelayBlock(nn.Module):
    """Delayed synapses, norm over T and N, neuron, dropout of whole neurons: [T, N, F] -> [T + (L-1)//2, N, F']."""

    def __init__(
        self, in_features: int, width: int, kernel_size: int, kernel_count: int, neuron: NeuronSpec, drop_rate: float
    ) -> None:
        super().__init__()
        self.synapses = DelayedLinear(in_features, width, kernel_size, kernel_count)
        self.bn = nn.BatchNorm1d(width)
        self.act = make_neuron(neuron, width)
        self.drop = SequenceDropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes, in training divided by the share that dropout leaves."""
        return self.drop(self.act(over_time(self.synapses(x), self.bn)))


class DelayMLP(SpikeTrainModel):
    r"""Hidden layers of `DelayBlock` and a leaky readout behind delayed synapses. Contract: `SpikeTrainModel`.

        V_t = (1 - 1/readout_tau) V_{t-1} + (delayed sums of the last spikes)_t,   V_0 = 0, no threshold

    Every layer adds (L-1)//2 steps to the T of the data. A feature is the spikes of a hidden layer, [T', N, H].

    Args:
        hidden: Neurons of every hidden layer.
        kernel_size: Lags L of every synapse, odd: delays are 0..L-1 steps.
        kernel_count: Taps of every synapse, each with a weight and a delay.
        neuron: Neuron of every hidden layer, in JSON; see `make_neuron`.
        readout_tau: Time constant of the readout, in steps, >= 1.
        readout: "softmax": the logits are z_t = T' softmax(V_t), so their mean over the T' steps is the m = sum_t
            softmax(V_t) that the released code puts into the cross-entropy, and answers with. "potential": z_t = V_t.
        delay_lr: Learning rate of the delays, in units of that of the weights.
        num_steps: Steps T of the noise that stands in for data when a checkpoint is checked without any.
        num_classes: Classes K.
        in_chans: Inputs F.
        drop_rate: Dropout after every hidden layer, with one mask for all steps.

    Raises:
        ValueError: If an argument is out of range; the message names it.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (256, 256),
        kernel_size: int = 25,
        kernel_count: int = 1,
        neuron: NeuronSpec = "lif",
        readout_tau: float = 2.0,
        readout: str = "softmax",
        delay_lr: float = 100.0,
        num_steps: int = 100,
        num_classes: int = 20,
        in_chans: int = 140,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_chans, num_steps, drop_rate)
        check_hidden(hidden)
        if not readout_tau >= 1:
            raise ValueError(f"readout_tau is a time constant in steps and must be >= 1, found {readout_tau}.")
        check_readout(readout)
        if not delay_lr >= 0:
            raise ValueError(f"delay_lr is a factor on the learning rate and must be >= 0, found {delay_lr}.")
        self.kernel_size, self.kernel_count = kernel_size, kernel_count
        self.readout_tau, self.readout, self.delay_lr = readout_tau, readout, delay_lr
        self.blocks = nn.ModuleList()
        self.feature_info = []
        chans = in_chans
        for index, width in enumerate(hidden):
            self.blocks.append(DelayBlock(chans, width, kernel_size, kernel_count, neuron, drop_rate))
            self.feature_info.append({"num_chs": width, "reduction": 1, "module": f"blocks.{index}"})
            chans = width
        self.num_features = chans
        self.fc = self.make_readout(num_classes)

    def make_readout(self, num_classes: int) -> nn.Module:
        """New synapses of the readout; none for no classes."""
        if num_classes == 0:
            return nn.Identity()
        return DelayedLinear(self.num_features, num_classes, self.kernel_size, self.kernel_count)

    def forward_stages(self, x: Tensor) -> Iterator[Tensor]:
        """The spikes of every hidden layer."""
        for block in self.blocks:
            x = self.stage(block, x)
            yield x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The readout: spikes [T, N, H] -> logits [T + (L-1)//2, N, K]."""
        if pre_logits or self.num_classes == 0:
            return x
        potential, _ = leaky(self.fc(x), None, decay=1 - 1 / self.readout_tau)
        return class_scores(potential, self.readout)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameters grouped by depth."""
        return {"blocks": r"^blocks\.(\d+)"}

    def lr_factors(self) -> dict[str, float]:
        """Delays are measured in steps and have farther to go than weights."""
        return {f"{name}.delay": self.delay_lr for name in delayed_layers(self)}


default_cfgs = make_default_cfgs(
    Origin("arXiv:2306.17670", kind="spike trains", code="no licence"),
    {
        "delay_mlp_2x256": spike_trains(140, 20, published="95.07 % SHD"),
        "delay_mlp_2x512": spike_trains(140, 35),
        "delay_mlp_3x512": spike_trains(140, 35, published="80.69 % SSC, two taps a synapse"),
        "delay_mlp_tiny": spike_trains(140, 20),
    },
)


def leak(tau: float) -> dict[str, Any]:
    """The neuron and the readout of time constant tau, in steps."""
    surrogate = {"name": "atan", "alpha": 5.0}
    neuron = {"name": "lif", "tau": tau, "decay_input": False, "surrogate": surrogate}
    return {"neuron": neuron, "readout_tau": tau}


SSC: dict[str, Any] = {**leak(1.5), "kernel_size": 31, "drop_rate": 0.25, "num_classes": 35}


@register_model
def delay_mlp_2x256(pretrained: bool = False, **kwargs: Any) -> DelayMLP:
    """The network of SHD (10 ms steps, delays to 240 ms): 214,016 parameters for 140 inputs and 20 classes."""
    shd = {**leak(1.005), "kernel_size": 25, "drop_rate": 0.4}
    return create(DelayMLP, "delay_mlp_2x256", pretrained, kwargs, **shd, hidden=(256, 256))


@register_model
def delay_mlp_2x512(pretrained: bool = False, **kwargs: Any) -> DelayMLP:
    """The smaller network of SSC and Speech Commands (10 ms steps, delays to 300 ms): 705,536 parameters."""
    return create(DelayMLP, "delay_mlp_2x512", pretrained, kwargs, **SSC, hidden=(512, 512))


@register_model
def delay_mlp_3x512(pretrained: bool = False, **kwargs: Any) -> DelayMLP:
    """The larger one: 1,230,848 parameters for 140 inputs and 35 classes; 2,458,624 with `kernel_count=2`."""
    return create(DelayMLP, "delay_mlp_3x512", pretrained, kwargs, **SSC, hidden=(512, 512, 512))


@register_model
def delay_mlp_tiny(pretrained: bool = False, **kwargs: Any) -> DelayMLP:
    """Two hidden layers of 24 and 16 neurons with delays to 10 steps, for tests."""
    return create(DelayMLP, "delay_mlp_tiny", pretrained, kwargs, **leak(1.5), hidden=(24, 16), kernel_size=11)
