"""Where the spikes of a network go: which layers read them, and what is added to them, from one run of its ANN twin.

A conversion lets a spike of an activation stand for a number theta. Whatever lies between an activation and the layers
that read it must then be linear, and all that is added up must be counted in the same theta. Anything else is refused
by its name.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .neurons import Activation
from .trace import HIDDEN, Call, CallGraph, trace

Layer = nn.Conv1d | nn.Conv2d | nn.Linear
AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)
MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
VIEWS = {
    *("flatten", "unflatten", "expand", "reshape", "view", "contiguous", "squeeze", "unsqueeze"),
    *("float", "double", "to"),
}
CONVERTIBLE = "Convert a pool_vgg or a spiking_vgg with pool: avg, an MS-ResNet or a spiking_resnet, with neuron: relu."


@dataclass(eq=False)
class Signal:
    """What a tensor of a twin carries.

    Attributes:
        kind: "still" (made of the image alone, so computed once), "spikes" (of an activation, or their averages) or
            "current" (linear in spikes).
        unit: The activation whose theta a carried 1 stands for; None for a carried 1 that is 1.
        giver: The norm, convolution or linear layer that gave the tensor; None for a sum or an average.
    """

    kind: str
    unit: str | None = None
    giver: str | None = None


@dataclass
class Plan:
    """How theta is absorbed.

    Attributes:
        chans: Channels of every activation, in the order in which they run.
        reads: The activation whose spikes a layer reads, for every layer that does: its weights take theta.
        gives: The activation in whose theta a layer's output is counted, likewise: its weights and bias take 1 / theta.
        givers: The layer that alone gives a neuron its current, and takes the 1 / theta of the neuron, if one does.
        units: The activation in whose theta the current of a neuron is counted: itself if it has a giver; None if the
            current is that of the twin.
        max_pools: The max-pools of currents that fluctuate, because spikes lie before them. The maximum of fluctuating
            currents is above the maximum of their means, so more steps do not bring it nearer to the twin's.
    """

    chans: dict[str, int]
    reads: dict[str, str]
    gives: dict[str, str]
    givers: dict[str, str]
    units: dict[str, str | None]
    max_pools: list[str]

    @property
    def absorbed(self) -> bool:
        """Whether no threshold is left in a neuron."""
        return self.givers.keys() == self.chans.keys()


def plan_absorption(twin: nn.Module, x: Tensor) -> Plan:
    """Follow the spikes of a twin in one run on x, from the image to the logits, and plan where theta goes.

    Raises:
        ValueError: If something reads spikes and is not linear, or adds up what cannot be counted in one theta.
    """
    return Paths(trace(twin, x), dict(twin.named_modules())).plan()


class Paths:
    """What every value of a traced twin carries."""

    def __init__(self, graph: CallGraph, layers: Mapping[str, nn.Module]) -> None:
        self.layers = layers
        self.signals = {graph.input: Signal("still")}
        self.inputs: dict[str, Signal] = {}  # of the activations
        self.chans: dict[str, int] = {}
        self.reads: dict[str, str] = {}
        self.max_pools: list[str] = []
        self.sums: list[tuple[str, str]] = []  # (giver, unit): what adds to spikes must be counted in their theta
        self.readers: Counter[str] = Counter()  # of what a layer gave
        for call in graph.calls:
            read = [self.signals[value] for value in call.reads if value in self.signals]
            if read and call.function != HIDDEN:
                signal = self.through_function(call, read) if call.function else self.through_module(call, read[0])
                self.signals.update(dict.fromkeys(call.gives, signal))

    def plan(self) -> Plan:
        """Where theta goes.

        Raises:
            ValueError: If spikes are added to a current that no norm of its own scales.
        """
        gives: dict[str, str] = {}
        givers: dict[str, str] = {}
        units: dict[str, str | None] = {}
        for layer, added in self.sums:
            if self.readers[layer] != 1:
                raise ValueError(f"{layer} is added to spikes of {added} and read elsewhere, too. {CONVERTIBLE}")
            gives[layer] = added
        for name, signal in self.inputs.items():
            giver = signal.giver
            alone = giver is not None and self.readers[giver] == 1
            if signal.unit is None and giver and alone and getattr(self.layers[giver], "bias", None) is not None:
                gives[giver], givers[name], units[name] = name, giver, name
            else:
                units[name] = signal.unit
        return Plan(self.chans, self.reads, gives, givers, units, self.max_pools)

    def through_module(self, call: Call, signal: Signal) -> Signal:
        """What a leaf module makes of the signal that it reads."""
        module, name = self.layers[call.name], call.name
        if isinstance(module, nn.Dropout | nn.Flatten | nn.Identity):
            return signal
        self.read(signal)
        if isinstance(module, Activation):
            self.inputs[name], self.chans[name] = signal, call.reads[0].shape[2]
            return Signal("spikes", name)
        if isinstance(module, Layer):
            if signal.unit is not None:
                self.reads[name] = signal.unit
            return Signal("still" if signal.kind == "still" else "current", None, name)
        if signal.kind == "still":
            return Signal("still", None, name if isinstance(module, _BatchNorm) else None)
        if isinstance(module, _BatchNorm) and signal.unit is None:
            return Signal("current", None, name)
        if isinstance(module, AVERAGES):
            return Signal(signal.kind, signal.unit)
        if isinstance(module, MAXIMA):
            return self.maximum(signal, name)
        raise ValueError(
            f"{name} ({type(module).__name__}) reads {signal.kind} and is no convolution, linear layer, batch norm or "
            f"average, so it has no spiking counterpart. {CONVERTIBLE}"
        )

    def through_function(self, call: Call, read: list[Signal]) -> Signal:
        """What a function makes of the signals that it reads."""
        name, where = call.function, call.name or "The model"
        if name in VIEWS:
            return read[0]
        for signal in read:
            self.read(signal)
        if all(signal.kind == "still" for signal in read):
            return Signal("still")
        if name in ("add", "iadd", "radd") and len(read) == 2:
            return self.add(read[0], read[1], where)
        if len(read) == 1 and name in ("mean", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool2d"):
            return Signal(read[0].kind, read[0].unit)
        by_number = not any(isinstance(factor, Tensor) for factor in call.args)
        if len(read) == 1 and by_number and name in ("mul", "imul", "rmul", "div", "truediv"):
            return Signal(read[0].kind, read[0].unit)
        if len(read) == 1 and name.startswith(("max_pool", "adaptive_max_pool")):
            return self.maximum(read[0], where)
        raise ValueError(f"{where} computes {name} of {read[0].kind}, which has no spiking counterpart. {CONVERTIBLE}")

    def maximum(self, signal: Signal, where: str) -> Signal:
        """A max-pool, of currents only. A current that is still is constant, so its maximum is exact.

        Raises:
            ValueError: If it reads spikes.
        """
        if signal.kind == "spikes":
            raise ValueError(
                f"{where} is a max-pool behind {signal.unit}: the maximum of spikes is not the spikes of a maximum. "
                "Use pool: avg (spiking_vgg), or a student that pools before its neurons (pool_vgg_s with pool: avg), "
                "and train the twin again."
            )
        self.max_pools.append(where)
        return Signal(signal.kind, signal.unit)

    def add(self, a: Signal, b: Signal, where: str) -> Signal:
        """A sum of currents, or of a current that one layer gives and spikes.

        Raises:
            ValueError: If spikes of two layers are added, or nothing can be scaled to fit the spikes.
        """
        if a.unit == b.unit and "spikes" not in (a.kind, b.kind):
            return Signal("current", a.unit)
        plain, counted = (a, b) if a.unit is None else (b, a)
        if plain.unit is None and counted.unit is not None and plain.giver is not None:
            self.sums.append((plain.giver, counted.unit))
            return Signal("current", counted.unit)
        units = " and ".join(signal.unit or signal.giver or "a sum" for signal in (a, b))
        raise ValueError(
            f"{where} adds what {units} give, and a spike of one does not stand for the same number as a spike of the "
            f"other. {CONVERTIBLE}"
        )

    def read(self, signal: Signal) -> None:
        """A layer's output was read."""
        if signal.giver is not None:
            self.readers[signal.giver] += 1
