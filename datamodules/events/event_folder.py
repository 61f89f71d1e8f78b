"""Your own recordings of an event camera, in a folder."""

from functools import partial
from pathlib import Path
from typing import Any

from ..class_folders import Files, class_names, find_splits, read_split_file
from ..errors import DataError
from ..splits import check_fraction
from .arrays import SensorSize
from .pipeline import EventDataModule
from .readers.formats import SUFFIXES
from .recordings import EventSample, read_sample, recording_stats


class EventFolderDataModule(EventDataModule):
    """Classification of your own recordings, in one of the three layouts of `ImageFolderDataModule`.

    `root/<class>/*`, `root/{train,val,test}/<class>/*`, or a `split_file`; the splits are found in the same way, by the
    names of the files alone. Several windows of a recording (`window_ms`) stay in its split. If you cut one recording
    into several files, or filmed one person several times, put them into one split yourself.

    Formats, by the ending of the name: see `event_files`.

    Args:
        root: Folder of the recordings.
        sensor_size: (W, H, P) of the camera of files that do not state it; P = 2 for two polarities, 1 to count both
            alike. A file that states its camera is scaled by that. Default: the largest camera that the files state,
            else one more than the largest coordinates of all recordings, which are read for that.
        columns: Order of the columns of files that do not name them: see `read_events`.
        time_unit: µs in one unit of time of files that do not say it: 1e6 for seconds. None: µs.
        camera: DVS128, DAVIS240 or DAVIS346, of AER-DAT2.0 files whose header names no chip.
        drop_outside: Drop events outside of the camera, and say how many; all files are read first. By default the
            first one is an error.
        split_file: CSV file `path,label,split`.
        val_fraction: Part of each class for validation, where the data do not say.
        test_fraction: Part of each class for the test, where the data do not say.
        kwargs: Arguments of `EventDataModule`.

    Raises:
        FileNotFoundError: If `root`, `split_file` or a file it names does not exist.
        ValueError: If there are no recordings, fewer than two classes, a class without a recording in some split, a
            recording in two formats, or an argument out of range.
        DataError: If a file cannot be read.
    """

    def __init__(
        self,
        root: str,
        sensor_size: tuple[int, int, int] | None = None,
        columns: str = "txyp",
        time_unit: float | None = None,
        camera: str | None = None,
        drop_outside: bool = False,
        split_file: str | None = None,
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, val_fraction=val_fraction, **kwargs)
        check_fraction("test_fraction", test_fraction)
        check_fraction("val_fraction + test_fraction", val_fraction + test_fraction)
        self.any_camera, self.drop_outside = True, drop_outside
        self.reader = partial(
            read_sample, keep_outside=drop_outside, columns=columns, time_unit=time_unit, camera=camera
        )
        if not self.root.is_dir():
            raise FileNotFoundError(f"root: there is no folder {self.root.absolute()}.")
        if split_file is None:
            self.files = find_splits(self.root, SUFFIXES, val_fraction, test_fraction)
            refuse_copies(self.files)
        else:
            self.files = read_split_file(Path(split_file), self.root)
        self.label_names = class_names(self.files)
        self.num_classes = len(self.label_names)
        self.sensor_size = check_sensor_size(sensor_size) if sensor_size else self.largest()

    def find(self) -> dict[str, list[EventSample]]:
        """The files of every split."""
        labels = {name: label for label, name in enumerate(self.label_names)}
        return {split: [EventSample(file, labels[name]) for file, name in files] for split, files in self.files.items()}

    def largest(self) -> SensorSize:
        """The smallest sensor that has all cameras and events of all recordings that can be read, and at least `size`.

        In small data a pixel at the edge may never fire, and a frame of `size` is asked for.
        """
        height, width = self.wanted_size or (0, 0)
        events = 0
        for sample in (sample for samples in self.find().values() for sample in samples):
            try:
                found = recording_stats(sample, self.reader, self.cache)
            except DataError:
                if self.on_error == "raise":
                    raise
                continue
            width, height, events = max(width, found.width), max(height, found.height), events + found.events
        if not events:
            raise ValueError(f"{self.root}: there is no event in any file that could be read. Give the sensor_size.")
        return width, height, 2


def refuse_copies(splits: dict[str, Files]) -> None:
    """Raise a ValueError if a recording is there in two formats: one may be in training, the other in the test."""
    seen: dict[Path, Path] = {}
    for file in (file for files in splits.values() for file, _ in files):
        other = seen.setdefault(file.with_suffix(""), file)
        if other != file:
            raise ValueError(
                f"{file} and {other.name} seem to be one recording in two formats, which may come into two splits. "
                "Remove one of them, or rename it if it is another recording."
            )


def check_sensor_size(size: SensorSize) -> SensorSize:
    """Raise a ValueError unless all of (W, H, P) are possible."""
    if not (len(size) == 3 and min(size) >= 1 and max(size[:2]) <= 2**15 and size[2] <= 2):
        raise ValueError(f"sensor_size: expected (width, height, polarities 1 or 2), each at least 1, found {size}.")
    return size
