"""The layout against the rules of its docstring, and against closed forms."""

import random
import re
from itertools import combinations

import pytest
from matplotlib.image import imread

import zoo
from cli import main
from commands.draw_figure import GAP, Place, arrange, rows_of, spread
from zoo.wiring import COLOURS, wiring


@pytest.mark.parametrize("name", ["sew_resnet_tiny", "spikformer_cifar_tiny", "delay_mlp_tiny"])
def test_nodes_stand_below_what_they_read_and_beside_each_other(name):
    wired = wiring(zoo.create_model(name))
    places, lanes = rows_of(wired)
    everything = [*places.values(), *(lane for path in lanes.values() for lane in path[1:-1])]
    rows = [[place for place in everything if place.row == row] for row in range(max(p.row for p in everything) + 1)]
    arrange(rows)
    for node in wired.nodes:
        assert all(places[giver].row < places[node].row for giver, _ in node.inputs)
    for path in lanes.values():
        assert [place.row for place in path] == list(range(path[0].row, path[-1].row + 1))
    for row in rows:
        for one, other in combinations(row, 2):
            assert abs(one.x - other.x) >= (one.width + other.width) / 2 + GAP - 1e-6


def test_places_are_the_nearest_without_overlaps():
    """The closed form of isotonic regression: m_i = max over a <= i of min over b >= i of mean(y_a .. y_b)."""
    draw = random.Random(0)
    for _ in range(20):
        row = [Place(0, draw.uniform(0, 90)) for _ in range(6)]
        wanted = [draw.uniform(-200, 200) for _ in row]
        offsets = [sum(p.width + GAP for p in row[:i]) + row[i].width / 2 for i in range(6)]
        y = [goal - offset for goal, offset in zip(wanted, offsets, strict=True)]
        best = [max(min(sum(y[a : b + 1]) / (b + 1 - a) for b in range(i, 6)) for a in range(i + 1)) for i in range(6)]
        spread(row, wanted)
        assert [place.x for place in row] == pytest.approx([m + o for m, o in zip(best, offsets, strict=True)])


def test_a_picture_shows_every_edge_and_nothing_is_cut(tmp_path):
    svg, png = tmp_path / "net.svg", tmp_path / "net.png"
    main(["draw", "sew_resnet_tiny", "--output", str(svg)])
    text = svg.read_text(encoding="utf-8")
    edges = [kind for node in wiring(zoo.create_model("sew_resnet_tiny")).nodes for _, kind in node.inputs]
    for kind, colour in COLOURS.items():
        lines = re.findall(rf"fill: none; .*?stroke: {colour}", text)
        assert len(lines) == edges.count(kind) + 1  # and one of the legend
    main(["draw", "sew_resnet_tiny", "--output", str(svg)])
    assert svg.read_text(encoding="utf-8") == text
    main(["draw", "sew_resnet_tiny", "--output", str(png)])
    pixels = imread(png)
    assert all(edge.min() == 1 for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
