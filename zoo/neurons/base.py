"""The contract of a spiking neuron, and what holds for all of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from .functional import Number, leaky
from .surrogate import make_surrogate

State = tuple[Tensor, ...]
"""What a neuron remembers between two steps: one tensor [N, ...] for each variable."""


class Stateful(nn.Module, ABC):
    """A layer that remembers: it maps a current X [T, N, ...] to a sequence [T, N, ...], step by step.

    The state lives inside `forward`: it starts anew in every call, is never in the `state_dict`, and there is nothing
    to reset between batches. `carry_state` makes it last from call to call, for a block of code.
    """

    spec_name: ClassVar[str] = ""
    """The name in a `NeuronSpec`; empty for a base class, and for a layer that is not chosen by name."""

    def __init__(self) -> None:
        super().__init__()
        self.carries = False
        self.state: State | None = None

    @abstractmethod
    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """The layer as a function: output [T, N, ...] of x [T, N, ...] and a state, and the state after step T.

        Args:
            x: Currents.
            state: What it remembers before the first step; None to start anew.
            final: Whether the state after step T is wanted; it may be empty if not.
        """

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (or, of a readout, potentials) [T, N, ...] of the current x [T, N, ...], in the dtype of x.

        Integers and bool count as fp32, because a potential is a real number.
        """
        x = x if x.is_floating_point() else x.float()
        if not self.carries:
            return self.steps(x, final=False)[0]
        out, state = self.steps(x, self.state)
        self.state = tuple(part.detach() for part in state)
        return out


class Neuron(Stateful):
    r"""Maps an input current X [T, N, ...] to spikes S [T, N, ...] in {0, 1}, or {0, 1/D, ..., 1} with D `levels`.

    Args:
        v_threshold: Potential at which the neuron fires; it fires at equality.
        v_reset: Potential after a spike, or None to subtract the threshold.
        detach_reset: Whether the gradient ignores the S in the reset (Zenke and Vogels 2021).
        surrogate: Name of the surrogate gradient, or {"name": ..., numbers}; see `surrogate.py`.

    Raises:
        ValueError: If the surrogate is unknown, or a hard reset does not lie below the threshold.
    """

    levels: int = 1
    """D: what the neuron gives are multiples of 1 / D; 1 for spikes that are bits."""

    def __init__(
        self,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = True,
        surrogate: str | Mapping[str, Any] = "atan",
    ) -> None:
        super().__init__()
        if not v_threshold > (v_reset or 0.0):
            raise ValueError(f"v_threshold must lie above the reset potential {v_reset or 0.0}, found {v_threshold}.")
        self.v_threshold = v_threshold
        self.v_reset = v_reset
        self.detach_reset = detach_reset
        self.surrogate = make_surrogate(surrogate)

    def extra_repr(self) -> str:
        """The numbers that define the neuron, in `print(model)`."""
        return (
            f"v_threshold={self.v_threshold}, v_reset={self.v_reset}, detach_reset={self.detach_reset}, "
            f"surrogate={self.surrogate}"
        )


class Dynamics(NamedTuple):
    """The numbers of `functional.leaky`: H_t = decay V_{t-1} + gain X_t + shift, firing at the threshold."""

    decay: Number
    gain: Number
    shift: Number
    threshold: Number


class LeakyNeuron(Neuron):
    r"""A neuron with one potential, whose numbers are one for the whole layer.

    Each step t charges, fires and resets, in this order:

        H_t = charge(V_{t-1}, X_t)
        S_t = 1[H_t >= v_threshold]
        V_t = H_t (1 - S_t) + v_reset S_t      hard reset (v_reset is a number)
        V_t = H_t - v_threshold S_t            soft reset (v_reset is None)

    with V_0 = v_reset (0 for a soft reset), unless the neuron has a `v_start`. A subclass defines how it charges by its
    `dynamics`. Arguments: `Neuron`.
    """

    v_start: float | None = None
    """V_0; None for v_reset (0 for a soft reset)."""

    @abstractmethod
    def dynamics(self) -> Dynamics:
        """The numbers of one step; those that are learned are tensors of one element."""

    def steps(self, x: Tensor, state: State | None = None, final: bool = True) -> tuple[Tensor, State]:
        """See `Stateful`; the state is the potential V."""
        v = state[0] if state else None
        settings = (self.v_reset, self.detach_reset, self.surrogate)
        spikes, v = leaky(x, v, *self.dynamics(), *settings, final=final, v_start=self.v_start)
        return spikes, (v,)


def stateful_layers(model: nn.Module) -> list[Stateful]:
    """Every layer of a model that remembers: its neurons, and a readout that does not fire."""
    return [module for module in model.modules() if isinstance(module, Stateful)]


def check_steppable(model: nn.Module) -> None:
    """Refuse a model that cannot be run step by step.

    Raises:
        ValueError: If a layer of the model needs whole sequences (`zoo.layers.delayed_linear`).
    """
    for name, module in model.named_modules():
        if getattr(module, "needs_whole_sequence", False):
            raise ValueError(
                f"{name or 'The model'} ({type(module).__name__}) needs whole sequences and cannot be run step by "
                "step. Use neither sltt nor early exit with this model."
            )


@contextmanager
def carry_state(model: nn.Module) -> Iterator[None]:
    """Let the neurons and readouts of a model go on where the last call left them, inside this block.

    The first call starts anew. From call to call the state is detached: no gradient crosses. Afterwards all is as
    before, also after an exception.

    Raises:
        ValueError: If a layer of the model needs whole sequences (`zoo.layers.delayed_linear`).

    Example:
        >>> import torch
        >>> from zoo.neurons import IF
        >>> neuron, x = IF(), torch.full((3, 1), 0.5)
        >>> with carry_state(neuron):
        ...     torch.cat([neuron(step[None]) for step in x]).flatten().tolist()
        [0.0, 1.0, 0.0]
    """
    check_steppable(model)
    layers = stateful_layers(model)
    try:
        for layer in layers:
            layer.carries = True
        yield
    finally:
        for layer in layers:
            layer.carries, layer.state = False, None


@contextmanager
def override_surrogate(model: nn.Module, surrogate: str | Mapping[str, Any]) -> Iterator[None]:
    """Give every neuron of a model another surrogate gradient, inside this block; attacks and analyses need it.

    Raises:
        ValueError: If the surrogate is unknown.

    Example:
        >>> from zoo.neurons import IF
        >>> neuron = IF()
        >>> with override_surrogate(neuron, {"name": "sigmoid", "alpha": 10.0}):
        ...     neuron.surrogate
        Sigmoid(alpha=10.0)
        >>> neuron.surrogate
        ATan(alpha=2.0)
    """
    other = make_surrogate(surrogate)
    neurons = [layer for layer in stateful_layers(model) if isinstance(layer, Neuron)]
    before = [neuron.surrogate for neuron in neurons]
    try:
        for neuron in neurons:
            neuron.surrogate = other
        yield
    finally:
        for neuron, own in zip(neurons, before, strict=True):
            neuron.surrogate = own
