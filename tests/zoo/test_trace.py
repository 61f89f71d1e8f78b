"""Graphs of small networks against calls written by hand; hooks that come and go."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo.layers.eventprop import EventPropLI
from zoo.layers.eventprop_autograd import TimeConstants
from zoo.neurons import IF
from zoo.trace import HIDDEN, Value, submodules, trace, watching

ROOT = Path(__file__).parents[2]


class Toy(nn.Module):
    """A convolution, a norm behind a view, a neuron, and a sum of two."""

    def __init__(self):
        super().__init__()
        self.conv, self.drop, self.bn, self.act = nn.Conv2d(1, 2, 1), nn.Dropout(), nn.BatchNorm2d(2), IF()
        self.scale = nn.Parameter(torch.ones(2, 1, 1))

    def forward(self, x):
        y = self.drop(self.conv(x.flatten(0, 1)))
        current = self.bn(y.contiguous()).unflatten(0, x.shape[:2])
        assert not torch.zeros_like(current).any()
        return torch.cat([self.act(current), current * (2 * self.scale)])


def written(graph):
    """(module, function, modules or functions read) of every call."""

    def word(value):
        return "input" if value.giver is None else value.giver.function or value.giver.name

    return [(call.name, call.function, [word(value) for value in call.reads]) for call in graph.calls]


def test_calls_written_by_hand():
    model, x = Toy().eval(), torch.randn(3, 2, 1, 4, 4)
    graph = trace(model, x, observe=lambda tensor: tensor.sum().item())
    assert written(graph) == [
        ("", "flatten", ["input"]),
        ("conv", "", ["flatten"]),  # the dropout gives what it read, so it is no call, nor is `contiguous`
        ("bn", "", ["conv"]),
        ("", "unflatten", ["bn"]),
        ("act", "", ["unflatten"]),
        ("", "mul", ["unflatten"]),  # 2 * scale is a constant
        ("", "cat", ["act", "mul"]),
    ]
    flatten, conv, *_, product, cat = graph.calls
    assert [call.viewed is not None for call in graph.calls] == [True, False, False, True, False, False, False]
    assert flatten.viewed is graph.input
    assert conv.gives[0].shape == (6, 2, 4, 4)
    assert torch.equal(product.args[1], 2 * model.scale)
    assert graph.output is cat.out
    assert graph.output.observed == pytest.approx(model(x).sum().item(), rel=1e-5)


def test_views_are_looked_through():
    pairs = [(giver.name or giver.function, reader.name or reader.function) for giver, reader in trace_toy().feeds()]
    assert pairs == [("conv", "bn"), ("bn", "act"), ("bn", "mul"), ("act", "cat"), ("mul", "cat")]


def trace_toy():
    return trace(Toy().eval(), torch.randn(3, 2, 1, 4, 4))


class Function(nn.Module):
    """A function outside of leaf modules."""

    def __init__(self, function):
        super().__init__()
        self.child, self.function = nn.Identity(), function

    def forward(self, x):
        return self.function(self.child(x))


def clear(x):
    x[0] = 0
    return x


def fill(x):
    buffer = torch.zeros(4, 2)
    buffer[:2] = x
    return buffer


@pytest.mark.parametrize(
    ("function", "calls"),
    [
        (lambda x: x.relu_(), ["relu"]),
        (lambda x: F.relu(x, inplace=True), ["relu"]),
        (clear, ["setitem"]),
        (fill, ["setitem"]),
        (lambda x: torch.stack([*x.unbind(0)]), ["unbind", "stack"]),
        (lambda x: torch.add(input=x, other=x), ["add"]),
        (lambda x: x.contiguous(), []),
        (lambda x: torch.ones_like(x) + x.new_zeros(1), []),
        (lambda x: x.shape[0], []),
    ],
)
def test_functions(function, calls):
    graph = trace(Function(function), torch.randn(2, 2))
    assert [call.function for call in graph.calls] == calls
    assert all(call.viewed is None for call in graph.calls if call.function != "unbind")
    if calls:
        assert graph.output.giver is graph.calls[-1]
        assert graph.calls[0].reads[0] is graph.input


def test_a_change_in_place_makes_another_value():
    x = torch.tensor([[-1.0, 2.0]])
    graph = trace(nn.Sequential(nn.ReLU(inplace=True), nn.Identity()), x, observe=torch.clone)
    (relu,) = graph.calls
    assert relu.viewed is None
    assert torch.equal(relu.args[0].observed, torch.tensor([[-1.0, 2.0]]))
    assert torch.equal(graph.output.observed, torch.tensor([[0.0, 2.0]]))
    assert torch.equal(x, torch.tensor([[-1.0, 2.0]])), "the input was touched"


def test_what_a_custom_autograd_function_gives_comes_from_the_last_call():
    layer = EventPropLI(3, 2, TimeConstants(20.0, 5.0, 1.0))
    graph = trace(layer, (torch.rand(4, 1, 3) < 0.5).float())
    assert graph.calls[-1].function == HIDDEN
    assert isinstance(graph.output, Value)
    assert graph.output.giver is graph.calls[-1]


def test_a_neuron_is_one_call():
    assert written(trace(IF(), torch.rand(2, 1, 3))) == [("", "", ["input"])]


def test_no_hook_is_left_behind():
    model = Toy()
    with pytest.raises(ZeroDivisionError), watching(dict(model.named_modules()), note=lambda *_: 1 / 0):
        model(torch.zeros(1, 1, 1, 2, 2))
    with pytest.raises(IndexError):
        trace(model, torch.zeros(1))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_watcher_gets_every_argument_and_may_replace_the_output():
    class Scaled(nn.Module):
        def forward(self, x, factor=1):
            return x * factor

    model, calls = nn.ModuleDict({"a": Scaled(), "b": Scaled()}), []

    def note(name, module, args, out):
        calls.append((name, module, args, out))
        return out + 1 if name == "a" else None

    with watching(submodules(model, ["a", "b"]), note, lambda *call: calls.append(call)):
        assert model["a"](3, factor=2) == 7
        assert model["b"](3) == 3
    a, b = model["a"], model["b"]
    assert calls == [("a", a, (3, 2)), ("a", a, (3, 2), 6), ("b", b, (3,)), ("b", b, (3,), 3)]


def test_there_is_one_way_to_watch_modules():
    rooms = ("zoo", "lightning_modules", "datamodules", "commands")
    files = [path for room in rooms for path in sorted((ROOT / room).rglob("*.py")) if path.name != "trace.py"]
    assert len(files) > 50
    assert not [str(path) for path in files if "register_forward" in path.read_text()]
