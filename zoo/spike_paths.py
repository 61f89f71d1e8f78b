"""Where the spikes of a network go, seen in one run of its ANN twin: who reads them, and what is added to them.

A conversion lets a spike of an activation stand for a number theta. Whatever lies between an activation and the layers
that read it must then be linear, and all that is added up must be counted in the same theta. Anything else is refused
by its name.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from .neurons import Activation

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


class Trace(TorchFunctionMode):
    """Notes in a `with` block what every tensor of a twin carries, from the image to the logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names = {module: name for name, module in model.named_modules()}
        self.running: list[nn.Module] = []
        self.versions: list[int | None] = []  # of the tensors that the running modules read
        self.signals: dict[int, Signal] = {}
        self.kept: list[Tensor] = []  # every tensor that has a signal, so that no id is used twice
        self.inputs: dict[str, Signal] = {}  # of the activations
        self.chans: dict[str, int] = {}
        self.reads: dict[str, str] = {}
        self.max_pools: list[str] = []
        self.sums: list[tuple[str, str]] = []  # (giver, unit): what adds to spikes must be counted in their theta
        self.readers: Counter[str] = Counter()  # of what a layer gave

    @classmethod
    def of(cls, model: nn.Module, x: Tensor) -> "Trace":
        """The trace of one run on x."""
        trace = cls(model)
        hooks = [module.register_forward_pre_hook(trace.enter) for module in model.modules()]
        hooks += [module.register_forward_hook(trace.leave) for module in model.modules()]
        try:
            with torch.inference_mode(False), torch.no_grad(), trace:  # tensors of inference mode have no version
                x = x.clone()
                trace.give(x, Signal("still"))
                model(x)
        finally:
            for hook in hooks:
                hook.remove()
        return trace

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
        layers = {name: module for module, name in self.names.items()}
        for name, signal in self.inputs.items():
            giver = signal.giver
            alone = giver is not None and self.readers[giver] == 1
            if signal.unit is None and giver and alone and getattr(layers[giver], "bias", None) is not None:
                gives[giver], givers[name], units[name] = name, giver, name
            else:
                units[name] = signal.unit
        return Plan(self.chans, self.reads, gives, givers, units, self.max_pools)

    def enter(self, module: nn.Module, args: Any) -> None:
        """A module begins."""
        self.running.append(module)
        self.versions.append(args[0]._version if args and isinstance(args[0], Tensor) else None)

    def leave(self, module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        """A module ends; a leaf is one step of the trace, unless it gives what it got, unchanged."""
        self.running.pop()
        version = self.versions.pop()
        if not (is_leaf(module) and args and isinstance(out, Tensor)):
            return
        if out is not args[0] or out._version != version:
            self.give(out, self.through_module(module, self.names[module], args[0]))

    def through_module(self, module: nn.Module, name: str, x: Tensor) -> Signal | None:
        """What a leaf makes of its input."""
        signal = self.signals.get(id(x))
        if signal is None:
            return None
        if isinstance(module, nn.Dropout | nn.Flatten | nn.Identity):
            return signal
        self.read(signal)
        if isinstance(module, Activation):
            self.inputs[name], self.chans[name] = signal, x.shape[2]
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

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """A function outside of a leaf is a step of the trace, too."""
        tensors = [arg for arg in args if isinstance(arg, Tensor) and id(arg) in self.signals]
        versions = [tensor._version for tensor in tensors]
        out = func(*args, **(kwargs or {}))
        changed = versions != [tensor._version for tensor in tensors]  # in place
        new = isinstance(out, Tensor) and not any(out is arg for arg in args)
        inside = bool(self.running) and is_leaf(self.running[-1])
        if tensors and (new or changed) and not inside:
            read = [self.signals[id(tensor)] for tensor in tensors]
            signal = self.through_function(getattr(func, "__name__", "").strip("_"), read, args)
            self.give(out if isinstance(out, Tensor) else tensors[0], signal)
        return out

    def through_function(self, name: str, read: list[Signal], args: tuple[Any, ...]) -> Signal:
        """What a function makes of the tensors that it read."""
        if name in VIEWS:
            return read[0]
        for signal in read:
            self.read(signal)
        if all(signal.kind == "still" for signal in read):
            return Signal("still")
        where = self.names[self.running[-1]] or "The model"
        if name in ("add", "iadd", "radd") and len(read) == 2:
            return self.add(read[0], read[1], where)
        if len(read) == 1 and name in ("mean", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool2d"):
            return Signal(read[0].kind, read[0].unit)
        if len(read) == 1 and name in ("mul", "imul", "rmul", "div", "truediv") and not isinstance(args[1], Tensor):
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

    def give(self, out: Tensor, signal: Signal | None) -> None:
        """A tensor carries a signal."""
        if signal is not None:
            self.signals[id(out)] = signal
            self.kept.append(out)


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is one step of the trace."""
    return isinstance(module, Activation) or not any(module.children())
