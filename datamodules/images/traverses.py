"""Places along a route: which of them an image shows, on another day or in another season."""

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2

from ..base import BaseDataModule
from ..errors import DataError
from .image_folder import ImageFiles, open_image

POSITIONS = ("positions.csv", "gps/ins.csv", "ins.csv")
IMAGES = ("", "stereo/centre")
COLUMNS = ("timestamp", "northing", "easting")


@dataclass(frozen=True)
class Traverse:
    """The frames of one drive along the route, in order.

    Args:
        name: The folder.
        frames: Image files [n].
        positions: Northing and easting [n, 2], m; None where frames are aligned by their names.
    """

    name: str
    frames: list[Path]
    positions: NDArray[np.float64] | None = None


class PlacesDataModule(BaseDataModule):
    """Visual place recognition: a class is a place, x [1, N, C, S, S] the image of one traverse there, y [N] the place.

    Layouts, each traverse a folder of images:

    - Nordland: `root/{spring,summer,fall,winter}/*.png`, frames aligned by name: equal names show the same place.
    - Oxford RobotCar: `root/<traverse>/*.png` (or `stereo/centre/*.png`), named by their timestamp in µs, beside
      `positions.csv` (or `gps/ins.csv`, `ins.csv`) with the columns timestamp, northing and easting (m). The position
      of a frame is interpolated in time; frames before the first or after the last one have none and are left out.

    Places are every `skip`-th frame of the first reference, `num_places` of them from `first_place` on. Of another
    traverse a place is the frame of the same name, or the nearest one, which must be within `tolerance`: a RobotCar
    traverse may miss places, a Nordland one must not.

    Splits: training = the references but the last, validation = the last reference (or `val`), test = `query`, whose
    images are never seen before. `matches` is the ground truth: the places that are a right answer to each query. With
    `PlacesModule` a test counts recall@N within the tolerance.

    Args:
        root: Folder of the traverses.
        references: Traverses to know places from; the first defines them.
        query: Traverse to recognise them in.
        val: Traverse to validate on; None takes the last reference out of the training.
        skip: Distance of two places in frames of the first reference.
        num_places: Places K; None for all.
        first_place: The first of them.
        tolerance: Largest distance of a right answer: in places (Nordland; default 0: exactly this place), or in m
            (RobotCar; default 10).
        image_size: Height and width in pixels, S: images are scaled and cropped to it.
        in_chans: 1 = grey, 3 = colour.
        augmentation: Transforms that replace the shift by up to 1/8; see `BaseDataModule`.
        kwargs: Arguments of `BaseDataModule`.

    Raises:
        FileNotFoundError: If a folder or a file of positions is missing.
        DataError: If a file of positions is none.
        ValueError: If an argument is out of range, a traverse is named twice, or lacks frames or all places.

    Source: Hussaini, Milford and Fischer 2023, arXiv:2209.08723 (every 8th frame, places of exact match, recall@N);
    Nordland: NRK, Sünderhauf et al. 2013; RobotCar: Maddern et al. 2017.
    """

    def __init__(
        self,
        root: str = "data/nordland",
        references: Sequence[str] = ("spring", "fall", "winter"),
        query: str = "summer",
        val: str | None = None,
        skip: int = 8,
        num_places: int | None = None,
        first_place: int = 0,
        tolerance: float | None = None,
        image_size: int = 28,
        in_chans: int = 1,
        augmentation: list[nn.Module] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(augmentation=augmentation, **kwargs)
        lowest = {"skip": (skip, 1), "first_place": (first_place, 0), "image_size": (image_size, 1)}
        for name, (value, least) in lowest.items():
            if value < least:
                raise ValueError(f"{name}: expected at least {least}, found {value}.")
        if num_places is not None and num_places < 2:
            raise ValueError(f"num_places: expected at least 2, or None for all, found {num_places}.")
        if in_chans not in (1, 3):
            raise ValueError(f"in_chans: expected 3 (colour) or 1 (grey), found {in_chans}.")
        if tolerance is not None and not 0 <= tolerance < math.inf:
            raise ValueError(f"tolerance: expected a distance >= 0 in places or m, found {tolerance}.")
        named = [*references, query, *([val] if val is not None else [])]
        if len(references) < 1 + (val is None) or len({*named}) < len(named):
            raise ValueError(
                f"references {list(references)}, query {query!r}, val {val!r}: name every traverse once, at least one "
                "reference, and either val or a second reference, of which the last is for validation."
            )
        self.root, self.image_size, self.in_chans = Path(root), image_size, in_chans
        self.mean, self.std = (0.5,) * in_chans, (0.25,) * in_chans
        if augmentation is None:
            self.augmentation = [v2.RandomCrop(image_size, padding=image_size // 8)]
        traverses = {name: read_traverse(self.root / name) for name in named}
        held_out = val if val is not None else references[-1]
        self.roles = {"train": [name for name in references if name != held_out], "val": [held_out], "test": [query]}
        self.by_name = traverses[named[0]].positions is None
        if mixed := [name for name in named if (traverses[name].positions is None) != self.by_name]:
            raise FileNotFoundError(
                f"{self.root}: {named[0]} has {'no ' if self.by_name else 'a '}file of positions, unlike "
                f"{', '.join(mixed)}. Give every traverse one ({', '.join(POSITIONS)}), or none."
            )
        self.tolerance = tolerance if tolerance is not None else 0.0 if self.by_name else 10.0
        first = traverses[named[0]]
        chosen = range(0, len(first.frames), skip)[first_place:][:num_places]
        if len(chosen) < (num_places or 2):
            raise ValueError(
                f"{first.name} has {len(first.frames)} frames, which with skip = {skip} from place {first_place} on "
                f"are {len(chosen)} places; asked for {num_places or 'at least 2'}. Choose a smaller skip, or fewer."
            )
        self.label_names = [first.frames[index].stem for index in chosen]
        self.num_classes = len(chosen)
        self.positions = np.array([[place, 0.0] for place in range(len(chosen))])  # of places [K, 2], in places or m
        if first.positions is not None:
            self.positions = first.positions[chosen]
        self.visits = {name: self.visit(traverse) for name, traverse in traverses.items()}

    @property
    def input_cfg(self) -> dict[str, Any]:
        """What a model must know of its input; with "positions" and "tolerance", which tell right answers."""
        return super().input_cfg | {"positions": self.positions.tolist(), "tolerance": self.tolerance}

    def visit(self, traverse: Traverse) -> list[tuple[Path, int, NDArray[np.float64]]]:
        """The frame of a traverse at every place: its file, the place, and where it was taken."""
        if traverse.positions is None:
            files = {file.stem: file for file in traverse.frames}
            if missing := [name for name in self.label_names if name not in files]:
                raise ValueError(
                    f"{self.root / traverse.name} has {len(files)} frames, but none for {len(missing)} of "
                    f"{self.num_classes} places: {', '.join(missing[:5])}, ... Frames are aligned by name; add them, "
                    "choose fewer places, or give every traverse a file of positions."
                )
            return [(files[name], place, self.positions[place]) for place, name in enumerate(self.label_names)]
        found, shortest = [], math.inf
        for place, position in enumerate(self.positions):  # not all at once: 3,000 places of 30,000 frames take GB
            distances = np.linalg.norm(traverse.positions - position, axis=1)
            frame = int(distances.argmin())
            shortest = min(shortest, distances[frame])
            if distances[frame] <= self.tolerance:
                found.append((traverse.frames[frame], place, traverse.positions[frame]))
        if not found:
            raise ValueError(
                f"{self.root / traverse.name} comes no nearer than {shortest:.0f} m to any of the "
                f"{self.num_classes} places; the tolerance is {self.tolerance:g} m. Is it the same route?"
            )
        return found

    def matches(self, split: str = "test") -> NDArray[np.bool_]:
        """Ground truth [images of the split, K]: which places are within the tolerance of where an image was taken."""
        taken = np.array([position for name in self.roles[split] for *_, position in self.visits[name]])
        return np.linalg.norm(taken[:, None] - self.positions[None], axis=-1) <= self.tolerance

    def load(self) -> dict[str, Dataset[Any]]:
        """Open each file just far enough to know that it is an image; the pixels are read when they are needed."""
        labels = {str(place): place for place in range(self.num_classes)}
        splits: dict[str, Dataset[Any]] = {}
        for split, names in self.roles.items():
            files = [(file, str(place)) for name in names for file, place, _ in self.visits[name]]
            for file, _ in files:
                open_image(file).close()
            splits[split] = ImageFiles(files, labels, self.in_chans, self.image_size)
        return splits


def read_traverse(folder: Path) -> Traverse:
    """The frames of a folder in order, with their positions if it has a file of them.

    Raises:
        FileNotFoundError: If there is no folder, or no images in it.
        DataError: If the positions are none, or no frame has one.
    """
    for place in IMAGES:
        inside = folder / place
        found = sorted(inside.iterdir(), key=by_number) if inside.is_dir() else []
        if frames := [file for file in found if file.suffix.lower() in IMG_EXTENSIONS and file.name[0] != "."]:
            break
    else:
        beside = (
            sorted(path.name for path in folder.parent.iterdir() if path.is_dir()) if folder.parent.is_dir() else []
        )
        raise FileNotFoundError(
            f"There are no images in {folder.absolute()}. Expected a folder of images for each traverse, such as "
            "spring, summer, fall and winter of Nordland, or those of Oxford RobotCar "
            f"(https://robotcar-dataset.robots.ox.ac.uk); found {', '.join(beside) or 'no folder'}."
        )
    file = next((path for name in POSITIONS if (path := folder / name).is_file()), None)
    if file is None:
        return Traverse(folder.name, frames)
    times, points = read_positions(file)
    if unnamed := [frame.name for frame in frames if not frame.stem.isdecimal()]:
        raise DataError(file, f"goes with images named by their timestamp in µs; found {', '.join(unnamed[:3])}.")
    stamps = {frame: int(frame.stem) for frame in frames}
    frames = sorted((frame for frame in frames if times[0] <= stamps[frame] <= times[-1]), key=stamps.__getitem__)
    if not frames:
        raise DataError(file, f"has positions from {times[0]} to {times[-1]}, when no image of {folder} was taken.")
    taken = [stamps[frame] for frame in frames]
    return Traverse(folder.name, frames, np.stack([np.interp(taken, times, line) for line in points.T], 1))


def by_number(file: Path) -> list[str | int]:
    """A key that sorts the numbers in names as numbers: 2.png before 10.png."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.name)]


def read_positions(file: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Timestamps [n] in order, and northing and easting [n, 2].

    Raises:
        DataError: If a column is missing, a value is no number, or there are no rows.
    """
    rows: dict[int, tuple[float, float]] = {}
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as lines:  # -sig: spreadsheets write a mark
        table = csv.DictReader(lines, skipinitialspace=True)
        if missing := [name for name in COLUMNS if name not in (table.fieldnames or ())]:
            raise DataError(file, f"missing column {', '.join(missing)}; found {table.fieldnames or 'nothing'}.")
        for row in table:
            try:
                point = float(row["northing"]), float(row["easting"])
                rows[int(row["timestamp"])] = point
            except (TypeError, ValueError):
                point = (math.nan, math.nan)
            if not all(map(math.isfinite, point)):
                found = [row[name] for name in COLUMNS]
                raise DataError(
                    file, f"line {table.line_num}: expected three numbers {', '.join(COLUMNS)}, found {found}."
                )
    if not rows:
        raise DataError(file, "has no positions.")
    times = sorted(rows)
    return np.array(times), np.array([rows[time] for time in times])
