"""Published sets of event recordings: where they may lie, what must be there, and how a class is cut in two."""

import re
from abc import ABC
from collections.abc import Sequence
from pathlib import Path
from tarfile import TarError
from typing import ClassVar, NamedTuple, TypeVar
from zipfile import BadZipFile

from ..class_folders import has_suffix
from ..download import not_found
from .pipeline import EventDataModule
from .recordings import EventSample

Item = TypeVar("Item")
ARCHIVES = (".zip", ".gz", ".tgz", ".tar", ".xz", ".7z", ".rar")


class Layout(NamedTuple):
    """A way in which people have the files: what must be in a folder below `root`."""

    folder: str
    parts: tuple[str, ...]


class PublishedEventDataModule(EventDataModule, ABC):
    """A dataset by its name: it states its files, where they may be (`layouts`), and how tonic gets them (`fetch`).

    Args of all such datasets: `root`, the folder that holds (or receives) one of the folders of `layouts`, and those
    of `EventDataModule`. A part of a dataset is taken as it is, as long as every folder is there and none is empty.
    """

    title: ClassVar[str]
    files: ClassVar[str]
    layouts: ClassVar[tuple[Layout, ...]]

    def fetch(self) -> None:
        """Download and unpack into `root`; what raises RuntimeError leaves it to the user."""
        raise RuntimeError("request it on its home page")

    @property
    def folder(self) -> Path:
        """The folder of the data.

        Raises:
            FileNotFoundError: If something is missing.
        """
        folder, missing = self.nearest()
        if missing:
            raise self.absent("`prepare_data` has not been called")
        return folder

    def nearest(self) -> tuple[Path, list[Path]]:
        """The folder where most of a layout is, and what is missing there."""
        found = []
        for folder, parts in ((self.root / layout.folder, layout.parts) for layout in self.layouts):
            missing = [folder / part for part in parts if not (folder / part).exists()]
            found.append((len(missing) / len(parts), folder, missing))
        _, folder, missing = min(found, key=lambda place: place[0])  # of equal ones the first
        return folder, missing

    def absent(self, why: str) -> FileNotFoundError:
        """The error that names what is missing, what is expected, and archives that lie there."""
        folder, missing = self.nearest()
        why += f"; expected in {self.root.absolute()}: {self.files}"
        archives = [file for place in dict.fromkeys((folder, self.root)) for file in sorted(place.glob("*"))]
        if names := [str(file.absolute()) for file in archives if has_suffix(file, ARCHIVES)]:
            why += f"; there are archives, which: expected unpacked if they are of this dataset: {', '.join(names)}"
        return not_found(self.title, [file.absolute() for file in missing[:10]], self.home, why)

    def prepare_data(self) -> None:
        """Download what is missing."""
        if not self.nearest()[1]:
            return
        try:
            self.fetch()
        except (OSError, RuntimeError, BadZipFile, TarError) as error:
            raise self.absent(f"could not be downloaded ({error})") from error
        if self.nearest()[1]:
            raise self.absent("were not in what was downloaded")


def recordings(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The recordings in a folder by their names; of one that is there in several formats, that of the first suffix.

    Raises:
        FileNotFoundError: If there are none.
    """
    found: dict[str, Path] = {}
    for suffix in suffixes:
        for file in folder.iterdir():
            if has_suffix(file, (suffix,)):
                found.setdefault(file.stem, file)
    if not found:
        raise FileNotFoundError(f"{folder.absolute()}: there are no recordings, files that end in {suffixes}.")
    return [found[stem] for stem in sorted(found)]


def number(file: Path) -> int:
    """The last number in the name of a file.

    Raises:
        ValueError: If there is none.
    """
    digits = re.findall(r"\d+", file.stem)
    if not digits:
        raise ValueError(f"{file}: the name has no number, by which the dataset is split.")
    return int(digits[-1])


def hold_out(items: Sequence[Item], fraction: float) -> tuple[list[Item], list[Item]]:
    """The first items, and the last floor(fraction n) of them, at least one.

    Raises:
        ValueError: If none would be left.

    >>> hold_out("abcdefghij", 0.25)
    (['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'], ['i', 'j'])
    """
    cut = len(items) - max(1, int(fraction * len(items) + 1e-9))  # 0.1 * 30 is a little less than 3
    if cut < 1:
        raise ValueError(f"Of {len(items)} ({', '.join(map(str, items))}), {fraction} cannot be held out.")
    return list(items[:cut]), list(items[cut:])


def class_splits(classes: Sequence[tuple[list[Path], list[Path]]], val_fraction: float) -> dict[str, list[EventSample]]:
    """The samples of the three splits, of the files for training and for the test of each class.

    Validation is the last `val_fraction` of the files for training of each class.
    """
    splits: dict[str, list[EventSample]] = {"train": [], "val": [], "test": []}
    for label, (train, test) in enumerate(classes):
        train, val = hold_out(train, val_fraction)
        for split, files in (("train", train), ("val", val), ("test", test)):
            splits[split] += [EventSample(file, label) for file in files]
    return splits
