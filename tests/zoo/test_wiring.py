"""Pictures of small networks against edges written by hand, and of all tiny students against what ran."""

import re
from collections import Counter

import pytest
import torch
from torch import nn

import zoo
from zoo.layers.stateless import SequenceDropout, over_time
from zoo.neurons import IF, Neuron
from zoo.wiring import ARROWS, draw_run, mermaid, wiring

TINY = [name for name in zoo.list_models() if name.endswith("tiny")]
UNSEEN = (nn.Identity, nn.Dropout, SequenceDropout, nn.Flatten, nn.Sequential)  # an empty nn.Sequential is one, too


class Toy(nn.Module):
    """Two neurons and their sum, a gate of real numbers, and things that must not be seen."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), IF()
        self.branch, self.drop = nn.Sequential(nn.Conv2d(4, 4, 1), IF()), nn.Dropout(0.5)
        self.gate, self.fc = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        assert not x.isnan().any()
        current = over_time(x, self.conv, self.bn)
        spikes = self.act(current.expand(4, *current.shape[1:]))
        both = self.drop(spikes + self.branch[1](over_time(spikes, self.branch[0])))
        y = both.sum((-2, -1)).mean(0)
        return self.fc(y * self.gate(y).sigmoid())


TOY = """
    input    ==>   conv: Conv2d 3×3, 4 channels<br/>bn: BatchNorm2d
    conv     ==>   act: IF
    act      -.->  branch.0: Conv2d 1×1, 4 channels
    branch.0 ==>   branch.1: IF
    act      -.->  +
    branch.1 -.->  +
    +        -->   sum
    sum      -->   mean over T
    mean     ==>   gate: Linear, 4 channels
    gate     ==>   sigmoid
    mean     ==>   ×
    sigmoid  ==>   ×
    ×        ==>   fc: Linear, 3 channels
    fc       ==>   output
"""  # noqa: RUF001


def edges(wired):
    """(first word of the giver, arrow, text of the reader) of every edge."""
    found = [(giver.text, ARROWS[kind], node.text) for node in wired.nodes for giver, kind in node.inputs]
    return Counter((re.split("[: ]", giver)[0], arrow, reader) for giver, arrow, reader in found)


def test_edges_written_by_hand():
    wired = draw_run(Toy().eval(), torch.randn(1, 3, 1, 6, 6))
    assert edges(wired) == Counter(tuple(line.split(maxsplit=2)) for line in TOY.strip().splitlines())
    shapes = {node.text: node.shape for node in wired.nodes}
    assert (shapes["act: IF"], shapes["sum"], shapes["input"]) == ("neuron", "function", "end")


class Residual(nn.Module):
    """x + neuron(linear(x)): sums of spikes."""

    def __init__(self):
        super().__init__()
        self.linear, self.act = nn.Linear(8, 8), IF(v_threshold=0.1)

    def forward(self, x):
        return x + self.act(self.linear(x))


class Stage(nn.Module):
    """A neuron, five residual blocks and a sum of the features named in `taps`."""

    def __init__(self, taps):
        super().__init__()
        self.act, self.blocks, self.taps = IF(v_threshold=0.1), nn.Sequential(*(Residual() for _ in range(5))), taps

    def forward(self, x):
        features = [self.act(x)]
        for block in self.blocks:
            features.append(block(features[-1]))
        return torch.stack([features[index] for index in self.taps]).mean(0)


@pytest.mark.parametrize(
    ("taps", "titles"),
    [
        ((5,), {"blocks.0": 1, "blocks.1": 4}),  # the first reads spikes, the others read sums
        ((5, 3), {"blocks.0": 1, "blocks.1": 2, "blocks.3": 2}),  # what the third gives is read by another, too
        ((5, 4, 3, 2, 1), {f"blocks.{index}": 1 for index in range(5)}),
    ],
)
def test_equal_blocks_in_a_row_are_drawn_once(taps, titles):
    wired = draw_run(Stage(taps).eval(), torch.rand(4, 2, 8), ["blocks"])
    found = {node.boxes[-1]: wired.repeats.get(node.boxes[-1], 1) for node in wired.nodes if node.boxes}
    assert found == titles
    assert all(f"{box} (× {times})" in mermaid(wired) for box, times in titles.items() if times > 1)  # noqa: RUF001


class Unit(nn.Module):
    """Neuron behind a linear layer."""

    def __init__(self, size):
        super().__init__()
        self.linear, self.act = nn.Linear(size, 8), IF(v_threshold=0.1)

    def forward(self, x):
        return self.act(self.linear(x))


def test_blocks_of_other_sizes_are_not_equal():
    wired = draw_run(nn.Sequential(Unit(4), Unit(8), Unit(8)).eval(), torch.ones(2, 2, 4))
    assert wired.repeats == {"1": 2}


def test_what_is_silent_has_a_kind():
    """Without spikes the second linear layer would give zeros, which are no spikes."""
    quiet = nn.Sequential(nn.Linear(4, 8), IF(v_threshold=1e9), nn.Linear(8, 3, bias=False))
    wired = draw_run(quiet.eval(), torch.rand(2, 2, 4))
    assert [kind for node in wired.nodes for _, kind in node.inputs] == ["reals", "reals", "spikes", "reals"]


@pytest.mark.parametrize("name", TINY)
def test_every_module_that_ran_is_in_the_picture(name):
    model = zoo.create_model(name)
    wired, before = wiring(model), Counter(leaves_that_run(model))
    drawn = Counter()
    for node in wired.nodes:
        if node.shape in ("layer", "neuron"):
            times = 1
            for box in node.boxes:
                times *= wired.repeats.get(box, 1)
            for line in node.text.split("<br/>"):
                drawn[re.match("[^ ]* ([^ ,]*)", line)[1]] += times
    assert drawn == before
    assert not any(module._forward_hooks for module in model.modules()), "the model was touched"
    assert all(node.inputs or node.text == "input" for node in wired.nodes), "something reads nothing"
    read = {giver for node in wired.nodes for giver, _ in node.inputs}
    assert all(node in read or node.text == "output" for node in wired.nodes), "something is read by nothing"
    of_neurons = {(giver.text, kind) for node in wired.nodes for giver, kind in node.inputs if giver.shape == "neuron"}
    assert all(kind == ("reals" if text.endswith("Integer") else "spikes") for text, kind in of_neurons)


def leaves_that_run(model):
    """Class of every leaf module, or neuron, at each of its calls; `UNSEEN` ones left out."""
    ran = []
    neurons = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, Neuron))
    hooks = [
        module.register_forward_hook(lambda module, *_: ran.append(type(module).__name__))
        for name, module in model.named_modules()
        if (isinstance(module, Neuron) or not any(module.children()))
        and not isinstance(module, UNSEEN)
        and not name.startswith(neurons)
    ]
    with torch.no_grad():
        model.eval()(zoo.noise_input(model))
    for hook in hooks:
        hook.remove()
    return ran


NODE = re.compile(r'(n\d+)(\["[^"]+"\]|\(\["[^"]+"\]\)|\("[^"]+"\)|\(\("[^"]+"\)\)|\[/"[^"]+"/\])')
EDGE = re.compile(r"(n\d+) (-\.->|-->|==>) (n\d+)")
STYLE = re.compile(r"linkStyle (\d+(?:,\d+)*) stroke:#[0-9a-f]{6},stroke-width:2px")


@pytest.mark.parametrize("name", TINY)
def test_the_text_is_a_flowchart(name):
    comment, spacing, kind, *lines = mermaid(wiring(zoo.create_model(name))).splitlines()
    assert comment.startswith("%% ")
    assert re.fullmatch(r"%%\{init: \{.*\}\}%%", spacing)
    assert kind == "flowchart TD"
    nodes, links, styled, depth, boxes = set(), [], [], 0, set()
    for line in map(str.strip, lines):
        if box := re.fullmatch(r'subgraph (n\d+box\d)\["[^"]+"\]', line):
            assert box[1] not in boxes
            boxes.add(box[1])
            depth += 1
        elif line == "end":
            depth -= 1
            assert depth >= 0
        elif node := NODE.fullmatch(line):
            assert node[1] not in nodes, "a node is declared once"
            nodes.add(node[1])
        elif edge := EDGE.fullmatch(line):
            links.append(edge)
        elif style := STYLE.fullmatch(line):
            styled += map(int, style[1].split(","))
        else:
            assert re.fullmatch(r"classDef neuron .*|class n\d+(,n\d+)* neuron", line), line
    assert depth == 0
    assert {edge[index] for edge in links for index in (1, 3)} == nodes
    assert sorted(styled) == list(range(len(links)))
