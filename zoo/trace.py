"""What a network computes in one run: the calls of its modules and functions, and which call reads what another gives.

`watching` is the one way to listen to modules, and `trace` the one way to follow tensors through a network.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map  # torch gives them no public name

from .neurons import Activation, Neuron

HIDDEN = "hidden"
"""`Call.function` of a custom autograd function, which no trace shows; it is taken to read what the last call gave."""


@contextmanager
def watching(
    modules: Mapping[str, nn.Module],
    note: Callable[..., Any] | None = None,
    before: Callable[..., None] | None = None,
) -> Iterator[None]:
    """Call a function whenever one of the modules runs, inside a `with` block. No hook is left behind.

    Args:
        modules: Modules by name.
        note: Called after a module as note(name, module, args, out); what it returns, unless None, replaces the output.
            `args` holds the positional arguments, then the keyword ones.
        before: Called before a module as before(name, module, args).
    """

    def hook(call: Callable[..., Any], name: str) -> Any:
        return lambda module, args, kwargs, *out: call(name, module, (*args, *kwargs.values()), *out)

    with ExitStack() as hooks:
        for name, module in modules.items():
            if before is not None:
                hooks.enter_context(module.register_forward_pre_hook(hook(before, name), with_kwargs=True))
            if note is not None:
                hooks.enter_context(module.register_forward_hook(hook(note, name), with_kwargs=True))
        yield


def submodules(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Module]:
    """The modules of these names, for `watching`."""
    return {name: model.get_submodule(name) for name in names}


@dataclass(eq=False)
class Value:
    """A tensor that depends on the input of a traced run. A tensor that is changed in place becomes another value.

    Attributes:
        giver: The call that gave it; None for the input.
        shape: Its shape.
        observed: What the `observe` of `trace` returned for it.
    """

    giver: "Call | None"
    shape: torch.Size
    observed: Any = None


@dataclass(eq=False)
class Call:
    """One step of a traced run: a call of a leaf module, or of a function outside of leaf modules.

    Attributes:
        name: The leaf module, or the module in whose `forward` the function ran; "" for the traced model.
        function: Name of the function without underscores; "" for a module.
        args: Positional arguments, with a `Value` in the place of every tensor that depends on the input; of a module,
            the keyword ones follow.
        kwargs: Keyword arguments of a function, likewise.
        out: What the call gave, likewise; what it changed, if it returned nothing.
        viewed: The value whose memory `out` shares without a change of its numbers (`flatten`, `expand`), if any.
    """

    name: str
    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any = None
    viewed: Value | None = None

    @property
    def reads(self) -> list[Value]:
        """The values among the arguments, in order; one that is given twice stands twice."""
        return of_type(Value, (self.args, self.kwargs))

    @property
    def gives(self) -> list[Value]:
        """The values among the results."""
        return of_type(Value, self.out)


@dataclass
class CallGraph:
    """The calls of one run.

    Attributes:
        input: The input of the model.
        calls: All calls, in the order in which they ended. A call that returns what it read, unchanged (an identity, a
            dropout in evaluation mode), is left out; so is a function of constants alone.
        output: What the model gave, with a `Value` in the place of every tensor that depends on the input.
    """

    input: Value
    calls: list[Call] = field(default_factory=list)
    output: Any = None

    def feeds(self) -> list[tuple[Call, Call]]:
        """(giver, reader) for every read of what another call gave; calls that only view it are looked through."""
        pairs = []
        for reader in self.calls:
            for value in reader.reads if reader.viewed is None else ():
                giver = value.giver
                while giver is not None and giver.viewed is not None:
                    giver = giver.viewed.giver
                if giver is not None:
                    pairs.append((giver, reader))
        return pairs


def trace(model: nn.Module, x: Tensor, observe: Callable[[Tensor], Any] | None = None) -> CallGraph:
    """Run a model on x, without gradients, and return the graph of its calls.

    Every tensor of the run is kept until its end, so that neither a name nor memory is used twice.

    Args:
        model: Any module that takes one tensor; in the mode (training or evaluation) that it has.
        x: The input.
        observe: What to keep of the numbers of every value: `Value.observed`.
    """
    recorder = Recorder(model, observe)
    # Tensors of inference mode have no version, which shows a change in place.
    with torch.inference_mode(False), torch.no_grad():
        x = x.clone()
        graph = recorder.graph = CallGraph(recorder.value(x, None))
        with watching(recorder.modules, recorder.leave, recorder.enter), recorder:
            out = model(x)
    graph.output = recorder.with_values(out)
    return graph


class Recorder(TorchFunctionMode):
    """Writes the calls of one run into a graph."""

    graph: CallGraph

    def __init__(self, model: nn.Module, observe: Callable[[Tensor], Any] | None) -> None:
        super().__init__()
        named = dict(model.named_modules())
        inside = tuple(f"{name}." for name, module in named.items() if name and is_leaf(module))
        inner = {name: module for name, module in named.items() if not name.startswith(inside)}
        self.modules = {"": model} if is_leaf(model) else inner
        self.observe = observe
        self.open = False  # whether functions are calls: not inside a leaf, nor in the hooks
        self.running: list[str] = []  # modules, outermost first
        self.read: list[list[tuple[Tensor, int]]] = []  # by each of them, with the versions at its start
        self.values: dict[int, Value] = {}  # by the id of the tensor
        self.kept: list[Tensor] = []

    def enter(self, name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        """A module begins."""
        self.open = False
        self.running.append(name)
        self.read.append(self.known(args))
        self.open = not is_leaf(module)

    def leave(self, name: str, module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        """A module ends; a leaf is a call."""
        self.open = False
        self.running.pop()
        read = self.read.pop()
        if is_leaf(module):
            self.record(Call(name, "", self.with_values(args), {}), read, out)
        elif self.graph.calls and not self.known(out):
            self.record(Call(name, HIDDEN, (self.graph.calls[-1].out,), {}), [], out)
        self.open = bool(self.running)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """A function ends; outside of leaf modules it is a call, if its result depends on the numbers of a value."""
        kwargs, name = kwargs or {}, getattr(func, "__name__", "").strip("_")
        of_shape = name.endswith("_like") or name.startswith("new_")
        read = self.known((args, kwargs)) if self.open and not of_shape else []
        if not read:
            return func(*args, **kwargs)
        call = Call(self.running[-1], name, self.with_values(args), self.with_values(kwargs))
        out = func(*args, **kwargs)
        self.record(call, read, args[0] if name == "setitem" else out)
        return out

    def record(self, call: Call, read: list[tuple[Tensor, int]], out: Any) -> None:
        """Add a call, which read tensors of these versions, to the graph."""
        given = of_type(Tensor, out)
        changed = any(tensor._version != version for tensor, version in read)
        same = {id(tensor) for tensor, _ in read}
        if not given or (not changed and all(id(tensor) in same for tensor in given)):
            return
        memory = given[0].untyped_storage().data_ptr()
        shared = (t for t, _ in read if not changed and t.untyped_storage().data_ptr() == memory)
        call.viewed = next((self.values[id(tensor)] for tensor in shared), None)
        for tensor in given:
            self.value(tensor, call)
        call.out = self.with_values(out)
        self.graph.calls.append(call)

    def value(self, tensor: Tensor, giver: Call | None) -> Value:
        """The value that a tensor is from now on."""
        self.kept.append(tensor)
        observed = None if self.observe is None else self.observe(tensor)
        self.values[id(tensor)] = value = Value(giver, tensor.shape, observed)
        return value

    def known(self, arguments: Any) -> list[tuple[Tensor, int]]:
        """The tensors among arguments that are values, with their versions."""
        return [(tensor, tensor._version) for tensor in of_type(Tensor, arguments) if id(tensor) in self.values]

    def with_values(self, arguments: Any) -> Any:
        """Arguments with values in the places of their tensors; constants stay."""
        return tree_map(lambda item: self.values.get(id(item), item), arguments)


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is one call: one without children, or a neuron or activation with all that it holds."""
    return isinstance(module, Neuron | Activation) or not any(module.children())


def of_type(kind: type[Any], arguments: Any) -> list[Any]:
    """Everything of a type among nested arguments."""
    return [item for item in tree_leaves(arguments) if isinstance(item, kind)]
