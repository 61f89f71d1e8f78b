"""What a person wants to see of a data set before training: numbers, and a picture."""

import difflib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from torch import Tensor
from torch.utils.data import TensorDataset
from torchvision.datasets.folder import IMG_EXTENSIONS

from .base import BaseDataModule
from .event_data import Facts, Recordings, facts
from .event_files import SUFFIXES
from .events import Events

NOTES = {".txt", ".csv"}  # endings of recordings that beside images are notes, captions or boxes
MOST_SURVEYED = 500  # recordings of a split whose events are counted
MOST_ROWS, MOST_FRAMES, MOST_BARS, MOST_DOTS = 4, 8, 40, 20_000  # of a picture
ON, OFF = "#c0392b", "#2471a3"


@dataclass
class Split:
    """One split of a data set.

    Args:
        samples: Number of samples.
        classes: Samples of every class; empty if a sample has no class.
        surveyed: Facts of recordings, evenly spaced over the split; empty if they are no recordings.
    """

    samples: int
    classes: dict[str, int]
    surveyed: list[Facts]


def find(name: str, root: str | None = None, options: dict[str, Any] | None = None) -> BaseDataModule:
    """The data set of a DataModule's name, of a recipe (.yaml), or of a folder of classes.

    Args:
        name: Of one of the three.
        root: Folder of the data, of a DataModule or a recipe.
        options: Other arguments of the DataModule.

    Raises:
        ValueError: If it is none of them, or does not take an option.
    """
    import datamodules  # here, because it imports this file

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BaseDataModule, "data")
    settings: dict[str, Any]
    if Path(name).is_dir():
        settings = {"class_path": folder_kind(Path(name)).__name__, "init_args": {"root": name, "num_workers": 0}}
    elif name.endswith(".yaml"):
        settings = recipe_data(Path(name))
    else:
        modules = {module.removesuffix("DataModule").lower(): module for module in datamodules.__all__[1:]}
        short = name.removesuffix("DataModule").lower().replace("_", "").replace("-", "")
        if short not in modules:
            close = difflib.get_close_matches(short, modules, n=3)
            hint = ", ".join(modules[match] for match in close or modules)
            raise ValueError(f"{name!r} is no folder, no recipe (.yaml) and no DataModule, such as {hint}.")
        settings = {"class_path": modules[short]}
    settings["init_args"] = (
        (settings.get("init_args") or {}) | ({} if root is None else {"root": root}) | (options or {})
    )
    try:
        return parser.instantiate_classes(parser.parse_object({"data": settings})).data
    except ArgumentError as error:
        raise ValueError(f"{name}: {error}") from error
    except ValueError as error:  # of a class itself, wrapped in what jsonargparse thinks of it
        raise error.__cause__ or error.__context__ or error from None


def recipe_data(recipe: Path) -> dict[str, Any]:
    """The section `data` of a recipe.

    Raises:
        ValueError: If it is no YAML, or has no such section.
    """
    try:
        settings = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{recipe}: this is no YAML: {error}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("data"), dict):
        raise ValueError(f"{recipe}: a recipe must have a section data with class_path and init_args.")
    return settings["data"]


def folder_kind(root: Path) -> type[Any]:
    """Whose a folder of classes is, that of recordings or of images, by the endings of the names in it.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it has neither, or both.
    """
    from .event_folder import EventFolderDataModule
    from .image_folder import ImageFolderDataModule

    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root.absolute()}.")
    if not any(path.is_dir() for path in root.iterdir()):
        raise ValueError(f"{root} has no folders in it. Files lie in one folder a class: {root}/<class>/<file>.")
    files = (path for path in root.glob("*/**/*") if path.is_file() and not path.name.startswith("."))
    endings = {path.suffix.lower() for path in files}
    kinds = {EventFolderDataModule: endings & {*SUFFIXES}, ImageFolderDataModule: endings & {*IMG_EXTENSIONS}}
    if kinds[ImageFolderDataModule]:
        kinds[EventFolderDataModule] -= NOTES
    if sum(map(bool, kinds.values())) != 1:
        raise ValueError(
            f"{root} must have recordings ({', '.join(SUFFIXES)}) or images ({', '.join(IMG_EXTENSIONS)}) in it, and "
            f"not both; found files ending in {', '.join(sorted(endings)) or 'nothing'}."
        )
    return next(kind for kind, found in kinds.items() if found)


def survey(data: BaseDataModule) -> dict[str, Split]:
    """The numbers of every split of a data set that is set up."""
    return {split: survey_split(data, source_of(data.splits[split])) for split in ("train", "val", "test")}


def source_of(split: Any) -> Any:
    """What a split is made of: the samples as they are before their transform; of pairs, the recordings."""
    return getattr(split, "events", split).source


def survey_split(data: BaseDataModule, source: Any) -> Split:
    """The numbers of one split."""
    counts = Counter(labels_of(source)) if data.sequence_ndim > 2 else Counter()  # a text has no classes
    classes = {name: counts[label] for label, name in enumerate(data.label_names)} if counts else {}
    surveyed = []
    if isinstance(source, Recordings):
        some = np.unique(np.linspace(0, len(source) - 1, min(len(source), MOST_SURVEYED)).astype(int))
        surveyed = [facts(source.clips[i], source.reader, source.cache) for i in some]
    return Split(len(source), classes, surveyed)


def labels_of(source: Any) -> list[int]:
    """The class of every sample, if the data set knows them without loading samples; else nothing."""
    labels = source.tensors[1] if isinstance(source, TensorDataset) else getattr(source, "targets", [])
    labels = np.asarray(labels)
    return labels.tolist() if labels.ndim == 1 else []


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
        events = source.events(source.clips[index]) if isinstance(source, Recordings) else None
        draw_sample(figure, grid[row], x, events, name)
    draw_balance(figure.add_subplot(grid[-1]), survey(data))
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


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
