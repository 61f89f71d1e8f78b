"""CIFAR10-DVS: images of CIFAR-10, moved on a screen in front of an event camera."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from .arrays import Events
from .published import Layout, PublishedEventDataModule, class_splits, hold_out, number, recordings
from .recordings import EventSample, read_sample

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class CIFAR10DVSDataModule(PublishedEventDataModule):
    """10,000 recordings of 10 classes, 128 x 128 pixels, about 1.3 s each.

    There is no official split. `split` names one of the two that are in use; their accuracies must not be compared:

    - "first_90": the first 90 % of each class for training, the last 10 % for the test, in the order of their names as
      text (0, 1, 10, 100, 101, ...), as SpikingJelly does. The most common one.
    - "tebn": the numbers 0 to 99 of each class for the test, as C. Duan et al. 2022 (TEBN) and others after them do.

    Validation = the last `val_fraction` of the training part of each class, in that order; training = the others.

    Files `root/CIFAR10DVS/<class>/cifar10_<class>_<number>.aedat4`, as tonic downloads them, or the original `.aedat`;
    a recording in both formats is one sample.

    Args:
        root: Folder that holds (or receives) the folder `CIFAR10DVS`, or the folder of the classes itself.
        split: "first_90" or "tebn".
        val_fraction: Part of the training recordings for validation.
        kwargs: Arguments of `EventDataModule`.

    Raises:
        ValueError: If `split` is unknown.

    Source: H. Li et al. 2017, "CIFAR10-DVS: an event-stream dataset for object classification".
    """

    title = "CIFAR10-DVS"
    num_classes = 10
    sensor_size = (128, 128, 2)
    label_names = CLASSES
    home = "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671"
    files = "CIFAR10DVS/<class>/cifar10_<class>_<number>.aedat4 or .aedat"
    layouts = (Layout("CIFAR10DVS", CLASSES), Layout(".", CLASSES))

    def __init__(
        self,
        root: str = "data",
        split: Literal["first_90", "tebn"] = "first_90",
        val_fraction: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, val_fraction=val_fraction, **kwargs)
        if split not in ("first_90", "tebn"):
            raise ValueError(f'split: expected "first_90" or "tebn", found {split!r}.')
        self.split = split
        self.reader = read_turned

    def fetch(self) -> None:
        """Download with tonic."""
        from tonic.datasets import CIFAR10DVS

        CIFAR10DVS(str(self.root))

    def find(self) -> dict[str, list[EventSample]]:
        """The files, by class and name."""
        folder = self.folder
        classes = [recordings(folder / name, (".aedat4", ".aedat")) for name in CLASSES]
        return class_splits([self.cut(files) for files in classes], self.val_fraction)

    def cut(self, files: list[Path]) -> tuple[list[Path], list[Path]]:
        """The files of a class for training, and for the test."""
        if self.split == "first_90":
            return hold_out(files, 0.1)
        return [file for file in files if number(file) >= 100], [file for file in files if number(file) < 100]


def read_turned(sample: EventSample) -> Events:
    """The events of a recording; the original files name no chip, and were recorded with x and y exchanged."""
    if sample.file.suffix.lower() != ".aedat":
        return read_sample(sample)
    events = read_sample(sample, camera="DVS128")
    return replace(events, x=events.y, y=events.x)
