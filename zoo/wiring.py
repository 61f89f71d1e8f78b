# ruff: noqa: RUF001  # the signs × and − are meant
"""A picture of how a network is wired, drawn from one run of it: where spikes flow, and where numbers do.

A model runs once, on noise, and what happened is drawn, not what its source says:

    node    a leaf module, a neuron with all it holds, or a function that joins two activations ("+", "×"), turns
            values of one kind into another, or is named in `DRAWN`
    edge    what read what; views, constants and what leaves its input as it is (dropout, identity) are looked through
    kind    of an edge, by the values that were read: "spikes" are all 0 or 1, "integers" are whole, all else is "reals"
    box     a stage (a module of `feature_info`), and in it a block

A norm that alone reads a layer shares its node. Blocks in a row that are equal (layers, shapes, edges, kinds) and feed
each other alone are drawn once. The text is a Mermaid flowchart, which GitHub and many editors show as a picture.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from .model import Network
from .neurons import Neuron
from .registry.build import noise_input

SYMBOLS = {
    **dict.fromkeys(("add", "iadd", "radd"), "+"),
    **dict.fromkeys(("sub", "isub", "rsub"), "−"),
    **dict.fromkeys(("mul", "imul", "rmul"), "×"),
    "ge": "≥",
}
DRAWN = {"mean", "sum", "relu", "sigmoid", "tanh", "softmax", "square"}
ARROWS = {"spikes": "-.->", "integers": "-->", "reals": "==>"}
COLOURS = {"spikes": "#d97706", "integers": "#7c3aed", "reals": "#2563eb"}
SHAPES = {"layer": '["{}"]', "neuron": '(["{}"])', "function": '("{}")', "sign": '(("{}"))', "end": '[/"{}"/]'}
SPACING = '"nodeSpacing": 24, "padding": 6, "wrappingWidth": 500, "subGraphTitleMargin": {"top": 2, "bottom": 14}'
HEAD = """\
%% dotted: spikes, 0 or 1; thin: integers, such as sums of spikes; thick: real numbers
%%{{init: {{"flowchart": {{"rankSpacing": {}, {}}}}}}}%%
flowchart TD
"""
PAGE = """\
# How the networks are wired

Every picture is drawn from a run of the model on noise, not from its source. `snnzoo draw NAME` does it for any
student, checkpoint or run, `make wiring` writes this page, and `zoo/wiring.py` says what becomes a node.

- **orange, dotted**: spikes, all values are 0 or 1;
- **violet**: integers, such as sums of spikes;
- **blue**: real numbers: currents, potentials, averages.

Orange nodes are neurons, boxes are stages and blocks; (× n) says that n equal ones follow each other.
`Integer` neurons, of several levels, give shares of their highest, which are real numbers.
"""


@dataclass(eq=False)
class Node:
    """A node of the picture.

    Attributes:
        text: What it says; `<br/>` divides lines.
        shape: A key of `SHAPES`.
        boxes: Names of the stage and the block it is in, as far as it is in any.
        parameters: Shapes of its parameters.
        inputs: The nodes it read, and the kind of what it read.
    """

    text: str
    shape: str
    boxes: tuple[str, ...] = ()
    parameters: tuple[torch.Size, ...] = ()
    inputs: list[tuple["Node", str]] = field(default_factory=list)


@dataclass
class Wiring:
    """A graph as it is drawn: nodes in the order in which they ran, and how often each box that was repeated ran."""

    nodes: list[Node]
    repeats: dict[str, int] = field(default_factory=dict)

    def readers(self, node: Node) -> list[Node]:
        """The nodes that read a node."""
        return [other for other in self.nodes if any(giver is node for giver, _ in other.inputs)]


def wiring(model: Network) -> Wiring:
    """How a model is wired, as seen in one run of a copy of it.

    The batch norms of the copy take the statistics of the batch and none of them is 0, and a neuron that is silent
    fires at random: what nothing flows through would show no kind.

    Args:
        model: A student or an ANN.
    """
    model, x = copy.deepcopy(model).eval(), noise_input(model)
    for norm in model.modules():
        if isinstance(norm, _BatchNorm):
            norm.train()
            if norm.weight is not None and not norm.weight.any():
                nn.init.ones_(norm.weight)
    x = x[:2] if x.ndim == 4 else x  # two images will do
    return trace(model, x, [info["module"] for info in model.feature_info])


def trace(model: nn.Module, x: Tensor, stages: list[str] | None = None) -> Wiring:
    """How a module is wired, as seen in a run on x. It gets hooks, so give a copy.

    Args:
        model: Any module that maps one tensor to one tensor.
        x: What it reads.
        stages: Names of its modules that get a box of their own.
    """
    run = Run(model, x, stages or [])
    with torch.no_grad(), run:
        y = model(x)
    run.note(Node("output", "end"), (y,), None)
    wired = Wiring(needed(run.nodes))
    merge_norms(wired)
    merge_formulas(wired)
    merge_repeats(wired, 2)
    merge_boxes(wired)
    merge_repeats(wired, 1)
    return wired


class Run(TorchFunctionMode):
    """Notes which node gave each tensor, in a `with` block; inside a leaf module nothing is noted."""

    def __init__(self, model: nn.Module, x: Tensor, stages: list[str]) -> None:
        super().__init__()
        self.modules, self.stages = dict(model.named_modules()), stages
        self.calls: list[str] = []  # the modules that are running, outermost first
        self.nodes: list[Node] = []
        self.givers: dict[int, Node] = {}
        self.draw = torch.Generator().manual_seed(0)
        self.kept: list[Tensor] = []  # every tensor that was given, lest an id be used twice
        leaves = [name for name, module in self.modules.items() if is_leaf(module)]
        for name, module in self.modules.items():
            if not name.startswith(tuple(f"{leaf}." for leaf in leaves if leaf)):
                module.register_forward_pre_hook(partial(self.enter, name))
                module.register_forward_hook(partial(self.leave, name), with_kwargs=True)
        self.note(Node("input", "end"), (), x)

    def enter(self, name: str, *_: Any) -> None:
        """A module begins."""
        self.calls.append(name)

    def leave(self, name: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> Any:
        """A module ends; a leaf is a node, unless it only views what it got. A silent neuron is made to fire."""
        if isinstance(module, Neuron) and not out.any():
            out = (torch.rand(out.shape, generator=self.draw) < 0.2).to(out)
        if is_leaf(module) and (given := list(tensors(out))):
            read = list(tensors((args, kwargs)))
            same = read and read[0].untyped_storage().data_ptr() == given[0].untyped_storage().data_ptr()
            if same and not getattr(module, "inplace", False):
                self.give(read, out)
            else:
                boxes = self.boxes(name)
                own = name.removeprefix(f"{boxes[-1]}." if boxes else "")
                parameters = tuple(parameter.shape for parameter in module.parameters())
                shape = "neuron" if isinstance(module, Neuron) else "layer"
                self.note(Node(f"{own}: {describe(module)}", shape, boxes, parameters), read, out)
        elif not any(id(tensor) in self.givers for tensor in tensors(out)):
            self.give((), out, self.nodes[-1])  # filled in place by an autograd function, which the mode cannot see
        self.calls.pop()
        return out

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """A function is a node if it joins, changes the kind, or bends."""
        out = func(*args, **(kwargs or {}))
        if self.calls and is_leaf(self.modules[self.calls[-1]]):
            return out
        name = getattr(func, "__name__", "").strip("_")
        result = args[0] if name == "setitem" else out
        read = [tensor for tensor in tensors((args, kwargs)) if id(tensor) in self.givers]
        if not read or not any(True for _ in tensors(result)) or name.endswith("_like") or name.startswith("new_"):
            return out
        givers = {self.givers[id(tensor)] for tensor in read}
        changed = {kind(tensor) for tensor in tensors(result)} != {kind(tensor) for tensor in read}
        if len(givers) > 1 or changed or name in DRAWN:
            text = "mean over T" if name == "mean" and args[1:] == (0,) else SYMBOLS.get(name, name)
            self.note(Node(text, "function", self.boxes(self.calls[-1])), read, result)
        else:
            self.give(read, result)
        return out

    def note(self, node: Node, read: Any, out: Any) -> None:
        """A node read and gave tensors."""
        seen = {(self.givers[id(tensor)], kind(tensor)): None for tensor in read if id(tensor) in self.givers}
        node.inputs = list(seen)
        self.nodes.append(node)
        self.give(out, out, node)

    def give(self, read: Any, out: Any, node: Node | None = None) -> None:
        """Tensors `out` come from a node, or from that which gave what was read."""
        node = node or next((self.givers[id(tensor)] for tensor in tensors(read) if id(tensor) in self.givers), None)
        if node is not None:
            given = list(tensors(out))
            self.givers.update(dict.fromkeys(map(id, given), node))
            self.kept += given

    def boxes(self, name: str) -> tuple[str, ...]:
        """Stage and block of what runs in a module: the outermost stage around it, and the first block in that."""
        parts = name.split(".")
        around = [".".join(parts[: end + 1]) for end in range(len(parts))]
        around = [outer for outer in around if outer and not is_leaf(self.modules[outer])]
        stage = next(([outer] for outer in around if outer in self.stages), [])
        inner = [outer for outer in around if not stage or outer.startswith(f"{stage[0]}.")]
        blocks = [outer for outer in inner if type(self.modules[outer]) not in (nn.Sequential, nn.ModuleList)]
        return (*stage, *blocks[:1])


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is one node: a neuron is, with its recurrent weights."""
    return isinstance(module, Neuron) or not any(module.children())


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors among arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)


def kind(x: Tensor) -> str:
    """What a tensor holds: a key of `ARROWS`."""
    if ((x == 0) | (x == 1)).all():
        return "spikes"
    return "integers" if not x.is_floating_point() or torch.equal(x, x.round()) else "reals"


def describe(module: nn.Module) -> str:
    """A layer in a few words.

    Example:
        >>> describe(nn.Conv2d(8, 16, 3, stride=2, groups=8))
        'Conv2d 3×3, stride 2, 8 groups, 16 channels'
    """
    name, size, stride = type(module).__name__, getattr(module, "kernel_size", None), getattr(module, "stride", 1)
    if size is not None:
        sides = (size, size) if isinstance(size, int) and name.endswith("2d") else size
        name += " " + ("×".join(map(str, sides)) if isinstance(sides, tuple) else str(sides))
    stride = stride[0] if isinstance(stride, tuple) else stride
    groups, width = getattr(module, "groups", 1), getattr(module, "out_channels", getattr(module, "out_features", None))
    words = [f"stride {stride}"] * (stride != 1) + [f"{groups} groups"] * (groups != 1)
    return ", ".join([name, *words, *([f"{width} channels"] if width else [])])


def needed(nodes: list[Node]) -> list[Node]:
    """All but the functions whose result no module needed, such as checks."""
    wanted = {node for node in nodes if node.shape != "function"}
    for node in reversed(nodes):
        if node in wanted:
            wanted.update(giver for giver, _ in node.inputs)
    return [node for node in nodes if node in wanted]


def merge_boxes(wired: Wiring) -> None:
    """Draw no box around a stage that is one block, be it repeated."""
    for stage in {node.boxes[0] for node in wired.nodes if node.boxes}:
        inside = [node for node in wired.nodes if node.boxes[:1] == (stage,)]
        if len({node.boxes for node in inside}) == 1:
            for node in inside:
                node.boxes = node.boxes[-1:]


def merge_norms(wired: Wiring) -> None:
    """Let a norm that alone reads a layer share its node."""
    for norm in list(wired.nodes):
        if "Norm" in norm.text and len(norm.inputs) == 1:
            layer = norm.inputs[0][0]
            alone = layer.boxes == norm.boxes and wired.readers(layer) == [norm]
            if alone and layer.shape == "layer" and layer.parameters:
                layer.text += f"<br/>{norm.text}"
                layer.parameters += norm.parameters
                replace(wired, {norm: layer})


def merge_formulas(wired: Wiring) -> None:
    """Draw a long formula, more than three functions with no layer between them, as one node."""
    for (shape, _), run in groupby(list(wired.nodes), lambda node: (node.shape, node.boxes)):
        nodes = list(run)
        if shape == "function" and len(nodes) > 3:
            formula = nodes[-1]
            outside = [(giver, what) for node in nodes for giver, what in node.inputs if giver not in nodes]
            formula.text, formula.inputs = f"{len(nodes)} operations", outside
            replace(wired, dict.fromkeys(nodes[:-1], formula))


def replace(wired: Wiring, twins: dict[Node, Node]) -> None:
    """Leave nodes out; who read them reads their twins."""
    wired.nodes = [node for node in wired.nodes if node not in twins]
    for node in wired.nodes:
        node.inputs = list(dict.fromkeys((twins.get(giver, giver), what) for giver, what in node.inputs))


def merge_repeats(wired: Wiring, level: int) -> None:
    """Draw equal boxes in a row once; level 1 are the outer boxes."""
    boxes: dict[str, list[Node]] = {}
    for node in wired.nodes:
        if len(node.boxes) >= level:
            boxes.setdefault(node.boxes[level - 1], []).append(node)
    twins: dict[Node, Node] = {}
    first = last = ""
    for box, nodes in boxes.items():
        if last and follows(wired, boxes[last], nodes, level):
            twins.update(zip(nodes, boxes[first], strict=True))
            wired.repeats[first] = wired.repeats.get(first, 1) + wired.repeats.get(box, 1)
        else:
            first = box
        last = box
    replace(wired, twins)


def follows(wired: Wiring, first: list[Node], second: list[Node], level: int) -> bool:
    """Whether a box equals the one before, reads nothing else, and alone reads it."""

    def portrait(nodes: list[Node]) -> list[Any]:
        places: dict[Node, Any] = {node: place for place, node in enumerate(nodes)}
        for node in nodes:
            for giver, _ in node.inputs:
                places.setdefault(giver, f"outside {len(places)}")
        inputs = [[(places[giver], what) for giver, what in node.inputs] for node in nodes]
        repeats = [wired.repeats.get(node.boxes[-1]) for node in nodes if len(node.boxes) > level]
        return [(node.text, node.shape, node.parameters) for node in nodes] + inputs + repeats

    if first[0].boxes[: level - 1] != second[0].boxes[: level - 1] or portrait(first) != portrait(second):
        return False
    within, after = set(first), set(second)
    reads = {giver for node in second for giver, _ in node.inputs} - after
    read_by = {reader for node in first for reader in wired.readers(node)} - within
    return reads <= within and read_by <= after


def mermaid(wired: Wiring) -> str:
    """The text of a Mermaid flowchart."""
    names = {node: f"n{index}" for index, node in enumerate(wired.nodes)}
    edges = [(names[giver], what, names[node]) for node in wired.nodes for giver, what in node.inputs]
    lines = [*boxed(wired, wired.nodes, names, 0), *(f"  {giver} {ARROWS[what]} {node}" for giver, what, node in edges)]
    for what, colour in COLOURS.items():
        if numbers := [str(index) for index, edge in enumerate(edges) if edge[1] == what]:
            lines.append(f"  linkStyle {','.join(numbers)} stroke:{colour},stroke-width:2px")
    if neurons := [name for node, name in names.items() if node.shape == "neuron"]:
        lines += ["  classDef neuron fill:#fdba74,stroke:#c2410c,color:#000", f"  class {','.join(neurons)} neuron"]
    ranks = 38 if any(len(node.boxes) > 1 for node in wired.nodes) else 24  # less, and a box covers the outer's title
    return HEAD.format(ranks, SPACING) + "\n".join(lines) + "\n"


def boxed(wired: Wiring, nodes: list[Node], names: dict[Node, str], level: int) -> Iterator[str]:
    """The lines of the nodes, in their boxes from `level` on."""
    indent, boxes = "  " * (level + 1), dict[str, list[Node]]()
    for node in nodes:
        boxes.setdefault(node.boxes[level] if len(node.boxes) > level else "", []).append(node)
    for node in boxes.pop("", []):
        shape = "sign" if len(node.text) == 1 else node.shape
        yield indent + names[node] + SHAPES[shape].format(node.text)
    for box, inside in boxes.items():
        title = f"{box} (× {wired.repeats[box]})" if box in wired.repeats else box
        yield f'{indent}subgraph {names[inside[0]]}box{level}["{title}"]'
        yield from boxed(wired, inside, names, level + 1)
        yield f"{indent}end"


def page(models: Iterable[tuple[str, Network]]) -> str:
    """A Markdown page of named models: of each a picture, below the command that draws it."""
    sections = [PAGE]
    for name, model in models:
        about = timm.model_entrypoint(str(model.pretrained_cfg["architecture"])).__doc__ or ""
        title = f"## {type(model).__name__}: `{name}`\n\n{about.strip().splitlines()[0]}"
        sections.append(f"{title}\n\n```bash\nsnnzoo draw {name}\n```\n\n```mermaid\n{mermaid(wiring(model))}```\n")
    return "\n".join(sections)
