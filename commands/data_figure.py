"""The picture of `snnzoo data --show`: samples over time, their events, and the balance of the classes."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from torch import Tensor

from datamodules.base import BaseDataModule
from datamodules.events.arrays import Events
from datamodules.events.recordings import Recordings
from datamodules.survey import Split, labels_of, source_of, survey

MOST_ROWS, MOST_FRAMES, MOST_BARS, MOST_DOTS = 4, 8, 40, 20_000
ON, OFF = "#c0392b", "#2471a3"


def draw(data: BaseDataModule, file: Path) -> None:
    """Write a picture: a sample of each of the first classes over time, and how many samples the classes have."""
    split = data.splits["val"]  # as a network sees them in evaluation: not augmented
    source = source_of(split)
    labels = labels_of(source) or [0] * len(source)
    rows = [labels.index(label) for label in sorted(set(labels))[:MOST_ROWS]]
    figure = Figure(figsize=(12, 1.8 * len(rows) + 2.4), layout="constrained")
    grid = figure.add_gridspec(len(rows) + 1, 1, height_ratios=[1.0] * len(rows) + [1.3])
    for row, index in enumerate(rows):
        x, label = split[index]
        name = str(data.label_names[label]) if isinstance(label, int) else ""
        events = source.events(source.samples[index]) if isinstance(source, Recordings) else None
        draw_sample(figure, grid[row], x, events, name)
    draw_balance(figure.add_subplot(grid[-1]), survey(data))
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110, bbox_inches="tight")


def draw_sample(figure: Figure, place: SubplotSpec, x: Tensor, events: Events | None, name: str) -> None:
    """One row: frames [T, C, H, W] over time, or a spike train [T, F], and the events of which they were made."""
    if x.ndim < 4:  # spikes, sound, tokens: time to the right
        axes = figure.add_subplot(place)
        rows = x.flatten(1).T if x.ndim > 1 else x[None]
        axes.imshow(rows.numpy(), aspect="auto", cmap="Greys", interpolation="nearest")
        axes.set(ylabel=name, xlabel="step")
        return
    chosen = torch.linspace(0, len(x) - 1, min(len(x), MOST_FRAMES)).long().tolist()
    widths = [1.0] * len(chosen) + [2.5] * (events is not None)
    cells = place.subgridspec(1, len(widths), width_ratios=widths, wspace=0.05)
    for cell, step in enumerate(chosen):
        axes = figure.add_subplot(cells[cell])
        axes.imshow(picture(x[step], float(x.abs().max())).numpy(), interpolation="nearest")
        axes.set(xticks=[], yticks=[], title=f"step {step}" if len(x) > 1 else "")
        if cell == 0:
            axes.set_ylabel(name)
    if events is not None:
        draw_events(figure.add_subplot(cells[len(chosen)]), events)


def draw_events(axes: Axes, events: Events) -> None:
    """Columns of events over time, at most `MOST_DOTS` of them."""
    shown = events[:: len(events) // MOST_DOTS + 1]
    since = (shown.t - (shown.t.min() if len(shown) else 0)) / 1000
    axes.scatter(since, shown.x, c=[ON if on else OFF for on in shown.p], s=0.3, linewidths=0)
    axes.set(xlabel="ms", ylabel="x")
    axes.yaxis.set_label_position("right")
    axes.yaxis.tick_right()


def picture(frame: Tensor, largest: float) -> Tensor:
    """RGB [H, W, 3] of a frame [C, H, W]; of two channels, OFF becomes blue and ON red, on white."""
    shade = (frame / max(largest, 1e-12)).clamp(-1, 1).abs().sqrt()  # few events can be seen, too
    if len(frame) == 2:
        off, on = shade
        return torch.stack([1 - off, 1 - torch.maximum(on, off), 1 - on], -1)
    low, high = frame.amin(), frame.amax()
    image = ((frame - low) / (high - low).clamp(min=1e-12)).expand(3, -1, -1) if len(frame) in (1, 3) else shade[:3]
    return image.permute(1, 2, 0)


def draw_balance(axes: Axes, splits: dict[str, Split]) -> None:
    """Samples of every class, one bar a split."""
    for number, (name, split) in enumerate(splits.items()):
        counts = list(split.classes.values())[:MOST_BARS] or [split.samples]
        axes.bar(np.arange(len(counts)) + 0.27 * (number - 1), counts, 0.27, label=f"{name}: {split.samples}")
    names = list(next(iter(splits.values())).classes)
    more = f" (the first {MOST_BARS} of {len(names)} classes)" if len(names) > MOST_BARS else ""
    axes.set_xticks(range(len(names[:MOST_BARS])), names[:MOST_BARS], rotation=90 if len(names) > 12 else 0)
    axes.set(ylabel=f"samples{more}")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
