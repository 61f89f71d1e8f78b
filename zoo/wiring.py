# ruff: noqa: RUF001  # the signs × and − are meant
"""A flowchart of a network, drawn from one run of it: where spikes flow, and where numbers do.

The model runs once, on noise, and its calls are drawn (`zoo.trace`):

    node    a leaf module, a neuron with all it holds, or a function that joins two activations ("+", "×"), turns
            values of one kind into another, or is named in `DRAWN`
    edge    a read of what another node gave; views, constants and calls that return their input (dropout, identity)
            are looked through
    kind    of an edge, by the values that were read: "spikes" are all 0 or 1, "integers" are whole, all else is "reals"
    box     a stage (a module of `feature_info`), and in it a block

A norm that alone reads a layer shares its node. Blocks in a row that are equal (layers, shapes, edges, kinds) and feed
each other alone are drawn once. The text is a Mermaid flowchart, which GitHub and many editors show as a picture.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .model import Network, spiking_neurons
from .neurons import Neuron
from .registry.build import noise_input
from .trace import HIDDEN, Call, CallGraph, is_leaf, trace, watching

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
        text: Its label; `<br/>` divides lines.
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
    """How a model is wired, from one run of a copy of it.

    The batch norms of the copy take the statistics of the batch and none of them is 0, and a neuron that is silent
    fires at random: what nothing flows through would show no kind.
    """
    model, x = copy.deepcopy(model).eval(), noise_input(model)
    for norm in model.modules():
        if isinstance(norm, _BatchNorm):
            norm.train()
            if norm.weight is not None and not norm.weight.any():
                nn.init.ones_(norm.weight)
    x = x[:2] if x.ndim == 4 else x  # two images will do
    return draw_run(model, x, [info["module"] for info in model.feature_info])


def draw_run(model: nn.Module, x: Tensor, stages: Iterable[str] = ()) -> Wiring:
    """How a module that maps one tensor to one tensor is wired, from a run on x; `stages` get boxes of their own."""
    random = torch.Generator().manual_seed(0)

    def fire(name: str, neuron: nn.Module, args: Any, out: Tensor) -> Tensor | None:
        return None if out.any() else (torch.rand(out.shape, generator=random) < 0.2).to(out)

    with watching(spiking_neurons(model), fire):
        graph = trace(model, x, kind)
    wired = Wiring(needed(nodes_of(graph, dict(model.named_modules()), set(stages))))
    merge_norms(wired)
    merge_formulas(wired)
    merge_repeats(wired, 2)
    merge_boxes(wired)
    merge_repeats(wired, 1)
    return wired


def nodes_of(graph: CallGraph, modules: Mapping[str, nn.Module], stages: Set[str]) -> list[Node]:
    """The nodes of a run: its ends, and the calls that are no mere passage from one node to the next."""
    nodes = [Node("input", "end")]
    givers = {graph.input: nodes[0]}
    for call in graph.calls:
        read = {givers[value]: None for value in call.reads}
        node = next(iter(read), None)
        if node is None or is_node(call, len(read)):
            node = node_of(call, modules, stages)
            node.inputs = list(dict.fromkeys((givers[value], value.observed) for value in call.reads))
            nodes.append(node)
        givers.update(dict.fromkeys(call.gives, node))
    end = Node("output", "end", inputs=[(givers[graph.output], graph.output.observed)])
    return [*nodes, end]


def is_node(call: Call, givers: int) -> bool:
    """Whether a call that reads so many nodes is one: a layer; a function that joins, changes the kind, or bends."""
    if not call.function:
        return call.viewed is None
    changed = {value.observed for value in call.gives} != {value.observed for value in call.reads}
    return call.function != HIDDEN and (givers > 1 or changed or call.function in DRAWN)


def node_of(call: Call, modules: Mapping[str, nn.Module], stages: Set[str]) -> Node:
    """The node of a function or of a leaf module."""
    module, boxes = modules[call.name], boxes_of(call.name, modules, stages)
    if call.function:
        over_t = call.function == "mean" and call.args[1:] == (0,)
        return Node("mean over T" if over_t else SYMBOLS.get(call.function, call.function), "function", boxes)
    own = call.name.removeprefix(f"{boxes[-1]}." if boxes else "")
    shape = "neuron" if isinstance(module, Neuron) else "layer"
    return Node(f"{own}: {layer_text(module)}", shape, boxes, tuple(weight.shape for weight in module.parameters()))


def boxes_of(name: str, modules: Mapping[str, nn.Module], stages: Set[str]) -> tuple[str, ...]:
    """Stage and block of what runs in a module: the outermost stage around it, and the first block in that."""
    parts = name.split(".")
    around = [".".join(parts[: end + 1]) for end in range(len(parts))]
    around = [outer for outer in around if outer and not is_leaf(modules[outer])]
    stage = next(([outer] for outer in around if outer in stages), [])
    inner = [outer for outer in around if not stage or outer.startswith(f"{stage[0]}.")]
    blocks = [outer for outer in inner if type(modules[outer]) not in (nn.Sequential, nn.ModuleList)]
    return (*stage, *blocks[:1])


def kind(x: Tensor) -> str:
    """What a tensor holds: a key of `ARROWS`."""
    if ((x == 0) | (x == 1)).all():
        return "spikes"
    return "integers" if not x.is_floating_point() or torch.equal(x, x.round()) else "reals"


def layer_text(module: nn.Module) -> str:
    """A layer in a few words.

    Example:
        >>> layer_text(nn.Conv2d(8, 16, 3, stride=2, groups=8))
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
    """Draw no box around a stage that is one block, even a repeated one."""
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
