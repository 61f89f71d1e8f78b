"""The picture of `snnzoo draw`: nodes in rows, each below all that it reads, and edges in the colours of their kinds.

Layers in a row are placed as by Sugiyama et al. 1981: an edge that passes rows gets a lane in each, the order in a row
is that of the neighbours' means, and places are as close to these means as the widths allow.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path as Line
from matplotlib.textpath import TextPath

from zoo.wiring import COLOURS, Node, Wiring

SIZE, LEADING = 8, 11.0  # of letters and from line to line; all lengths are in points
GAP, ROW, TITLE = 14.0, 26.0, 15.0  # between nodes, between rows, above a row for the title of a box
STYLES = {"spikes": ":", "integers": "-", "reals": "-"}
WIDTHS = {"spikes": 1.6, "integers": 1.0, "reals": 2.0}
MEANINGS = {"spikes": "spikes, 0 or 1", "integers": "integers, such as sums of spikes", "reals": "real numbers"}
SWEEPS = 12

Edge = tuple[Node, str, Node]
"""Giver, kind and reader."""


@dataclass(eq=False)
class Place:
    """Where a node is drawn, or where an edge passes a row (no node).

    Attributes:
        row: From the top, 0 first.
        width: In points; 0 for a lane.
        lines: Lines of text.
        x: Middle, in points.
        above: Places of the row before that lead here.
        below: Places of the row after that this leads to.
    """

    row: int
    width: float = 0.0
    lines: list[str] = field(default_factory=list)
    x: float = 0.0
    above: list["Place"] = field(default_factory=list)
    below: list["Place"] = field(default_factory=list)


@dataclass
class Box:
    """A stage or a block: its level, 0 for the outer ones, and the places in it."""

    level: int
    inside: list[Place] = field(default_factory=list)

    @property
    def rows(self) -> tuple[int, int]:
        """The first and the last."""
        rows = [place.row for place in self.inside]
        return min(rows), max(rows)


def draw_picture(wired: Wiring, title: str, file: Path) -> None:
    """Write the picture of a network: SVG or PNG, by the suffix of the file."""
    places, lanes = rows_of(wired)
    rows: dict[int, list[Place]] = defaultdict(list)
    for place in [*places.values(), *(lane for path in lanes.values() for lane in path[1:-1])]:
        rows[place.row].append(place)
    arrange(list(rows.values()))
    boxes = boxes_of(places, lanes)
    middles, heights = heights_of(rows, boxes)

    left = min(place.x - place.width / 2 for place in places.values()) - 4 * GAP
    right = max(place.x + place.width / 2 for place in places.values()) + 4 * GAP
    bottom, top = min(middles.values()) - ROW, max(middles.values()) + ROW
    figure = Figure(figsize=((right - left) / 72, (top - bottom) / 72))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(left, right), ylim=(bottom, top))
    axes.axis("off")
    for name, box in boxes.items():
        text = f"{name} (× {wired.repeats[name]})" if name in wired.repeats else name  # noqa: RUF001
        draw_box(axes, text, box, boxes, middles, heights)
    for (_, kind, _), path in lanes.items():
        axes.add_patch(arrow(path, kind, middles, heights))
    for node, place in places.items():
        draw_node(axes, node, place, middles[place.row])
    handles = [Line2D([], [], label=meaning, **style(kind)) for kind, meaning in MEANINGS.items()]
    figure.legend(handles=handles, title=title, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    undated = {"Date": None} if file.suffix == ".svg" else None
    with mpl.rc_context({"svg.hashsalt": "snnzoo"}):  # with it, and without a date, one network gives one file
        figure.savefig(file, dpi=144, bbox_inches="tight", metadata=undated)


def rows_of(wired: Wiring) -> tuple[dict[Node, Place], dict[Edge, list[Place]]]:
    """The place of every node, and of every edge the places that it passes, both ends among them."""
    places: dict[Node, Place] = {}
    lanes: dict[Edge, list[Place]] = {}
    for node in wired.nodes:  # in the order in which they ran: givers first
        lines = node.text.split("<br/>")
        width = max(text_width(line) for line in lines) + 2 * LEADING
        row = 1 + max((places[giver].row for giver, _ in node.inputs), default=-1)
        places[node] = Place(row, width, lines)
        for giver, kind in node.inputs:
            start = places[giver]
            path = [start, *(Place(between) for between in range(start.row + 1, row)), places[node]]
            for upper, lower in pairwise(path):
                upper.below.append(lower)
                lower.above.append(upper)
            lanes[giver, kind, node] = path
    return places, lanes


def text_width(text: str) -> float:
    """Of a line of text."""
    return float(TextPath((0, 0), text, size=SIZE).get_extents().width)


def arrange(rows: list[list[Place]]) -> None:
    """Order the places of every row and set their x, near the mean of those they are connected to."""
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in sorted(rows, key=lambda row: row[0].row, reverse=not down):
            means = {}
            for place in row:
                near = place.above if down else place.below
                means[place] = sum(other.x for other in near) / len(near) if near else place.x
            row.sort(key=lambda place: means[place])
            spread(row, [means[place] for place in row])


def spread(row: list[Place], wanted: list[float]) -> None:
    """Set x of a row in its order, without overlaps, with the least squared distance to what is wanted.

    With offsets o of places that touch, x - o must not fall: isotonic regression, by pooling adjacent violators.
    """
    offsets, end = [], 0.0
    for place in row:
        offsets.append(end + place.width / 2)
        end += place.width + GAP
    pools: list[list[float]] = []  # sum and number of the shifts of places that touch
    for goal, offset in zip(wanted, offsets, strict=True):
        pools.append([goal - offset, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += count
    shifts = [total / count for total, count in pools for _ in range(int(count))]
    for place, offset, shift in zip(row, offsets, shifts, strict=True):
        place.x = offset + shift


def boxes_of(places: dict[Node, Place], lanes: dict[Edge, list[Place]]) -> dict[str, Box]:
    """The boxes by name, the outer ones first; the lanes that lead to a node in a box are in it, from its first row."""
    boxes: dict[str, Box] = {}
    for node, place in places.items():
        for level, name in enumerate(node.boxes):
            boxes.setdefault(name, Box(level)).inside.append(place)
    for (_, _, reader), path in lanes.items():
        for name in reader.boxes:
            first, _ = boxes[name].rows
            boxes[name].inside += [place for place in path[1:-1] if place.row >= first]
    return dict(sorted(boxes.items(), key=lambda item: item[1].level))


def titles_at(row: int, boxes: dict[str, Box]) -> int:
    """How many titles, one below the other, stand above a row: of levels of boxes that begin there."""
    return len({box.level for box in boxes.values() if box.rows[0] == row})


def heights_of(rows: dict[int, list[Place]], boxes: dict[str, Box]) -> tuple[dict[int, float], dict[int, float]]:
    """Middle and height of every row, downwards."""
    middles, heights, y = {}, {}, 0.0
    for row in sorted(rows):
        heights[row] = LEADING * max(len(place.lines) for place in rows[row]) + 8
        y -= TITLE * titles_at(row, boxes)
        middles[row] = y - heights[row] / 2
        y -= heights[row] + ROW
    return middles, heights


def arrow(path: list[Place], kind: str, middles: dict[int, float], heights: dict[int, float]) -> FancyArrowPatch:
    """An edge: straight through the rows that it passes, curved between two rows."""
    first, last = path[0], path[-1]
    points, codes = [(first.x, middles[first.row] - half_height(first))], [Line.MOVETO]
    for place in path[1:]:
        upper = points[-1]
        edge = half_height(place) if place is last else heights[place.row] / 2
        lower = (place.x, middles[place.row] + edge)
        middle = (upper[1] + lower[1]) / 2
        points += [(upper[0], middle), (lower[0], middle), lower]
        codes += [Line.CURVE4] * 3
        if place is not last:
            points.append((place.x, middles[place.row] - edge))
            codes.append(Line.LINETO)
    return FancyArrowPatch(path=Line(points, codes), arrowstyle="-|>", mutation_scale=8, zorder=4, **style(kind))


def style(kind: str) -> dict[str, Any]:
    """How an edge of a kind looks."""
    return {"linestyle": STYLES[kind], "linewidth": WIDTHS[kind], "color": COLOURS[kind]}


def half_height(place: Place) -> float:
    """Of the frame of a node."""
    return (LEADING * len(place.lines) + 6) / 2


def draw_box(
    axes: Axes, title: str, box: Box, boxes: dict[str, Box], middles: dict[int, float], heights: dict[int, float]
) -> None:
    """The frame of a stage or a block, and its title."""
    margin = GAP * (0.9 - 0.4 * box.level)
    left = min(place.x - place.width / 2 for place in box.inside) - margin
    right = max(place.x + place.width / 2 for place in box.inside) + margin
    first, last = box.rows
    top = middles[first] + heights[first] / 2 + margin / 2 + TITLE * (1 if box.level else titles_at(first, boxes))
    bottom = middles[last] - heights[last] / 2 - margin
    look: dict[str, Any] = {"facecolor": "#f3f4f6", "edgecolor": "#9ca3af", "zorder": box.level}
    axes.add_patch(Rectangle((left, bottom), right - left, top - bottom, **look))
    axes.text(left + 4, top - 3, title, size=SIZE, va="top", color="#374151", zorder=6)


def draw_node(axes: Axes, node: Node, place: Place, y: float) -> None:
    """The frame of a node and its text; neurons are orange, and only layers have corners."""
    size = (place.width - LEADING, 2 * half_height(place) - 2)
    corner = (place.x - size[0] / 2, y - size[1] / 2)
    shape = "square,pad=0" if node.shape == "layer" else "round,pad=0,rounding_size=6"
    face, edge = ("#fdba74", "#c2410c") if node.shape == "neuron" else ("white", "#374151")
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=shape, facecolor=face, edgecolor=edge, zorder=5))
    axes.text(place.x, y, "\n".join(place.lines), size=SIZE, ha="center", va="center", zorder=6, linespacing=1.15)
