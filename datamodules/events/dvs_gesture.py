"""DVS128 Gesture: hand and arm gestures of 29 people in front of an event camera."""

import csv
import re
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError
from .arrays import Events
from .published import Layout, PublishedEventDataModule, hold_out, recordings
from .readers.formats import read_events
from .recordings import EventSample, between

CLASSES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter-clockwise",
    "left arm clockwise",
    "left arm counter-clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)
TONIC = ("ibmGestureTrain", "ibmGestureTest")
IBM = ("trials_to_train.txt", "trials_to_test.txt")


class Gesture(NamedTuple):
    """A sample and who it is of."""

    user: int
    sample: EventSample


class DVSGestureDataModule(PublishedEventDataModule):
    """Recordings of 11 gestures by 29 people under up to 5 lights, 128 x 128 pixels, about 6 s each.

    Splits by person: test = the official test people (24 to 29); validation = the last `val_fraction` of the official
    training people (22 and 23); training = the others (1 to 21).

    Two forms of the data are read. They are cut differently, so that their accuracies must not be compared:

    - IBM's original, `root/DvsGesture/user<nn>_<light>.aedat` (AER-DAT3.1), with `user<nn>_<light>_labels.csv` (class
      1 to 11, start and end in µs) beside each and the official lists `trials_to_train.txt` and `trials_to_test.txt`.
      A sample is a row of a CSV file: its events from start on and before end.
    - tonic's, `root/DVSGesture/{ibmGestureTrain,ibmGestureTest}/user<nn>_<light>/<label 0 to 10>.npy`: arrays [N, 4] of
      x, y, polarity and time in ms (to which tonic's copy was rounded). Downloaded if neither form is there.

    If both are there, IBM's is taken.

    Args:
        root: Folder that holds (or receives) the folder of the data, or that folder itself.
        other: Whether the class "other gestures" is kept: 11 classes, else 10, as some papers have it.
        val_fraction: Part of the training people for validation.
        kwargs: Arguments of `EventDataModule`.

    Raises:
        DataError: If a CSV file or a list is not what it should be.

    Source: A. Amir et al. 2017, "A low power, fully event-based gesture recognition system".
    """

    title = "DVS128 Gesture"
    sensor_size = (128, 128, 2)
    home = "https://research.ibm.com/interactive/dvsgesture"
    files = (
        "DvsGesture/user<nn>_<light>.aedat and _labels.csv, or "
        "DVSGesture/{ibmGestureTrain,ibmGestureTest}/user<nn>_<light>/<label>.npy"
    )
    layouts = (Layout("DvsGesture", IBM), Layout(".", IBM), Layout("DVSGesture", TONIC), Layout(".", TONIC))

    def __init__(self, root: str = "data", other: bool = True, val_fraction: float = 0.1, **kwargs: Any) -> None:
        super().__init__(root=root, val_fraction=val_fraction, **kwargs)
        self.label_names = CLASSES if other else CLASSES[:-1]
        self.num_classes = len(self.label_names)
        self.reader = read_gesture

    def fetch(self) -> None:
        """Download with tonic."""
        from tonic.datasets import DVSGesture

        for train in (True, False):
            DVSGesture(str(self.root), train=train)

    def find(self) -> dict[str, list[EventSample]]:
        """The gestures, by person."""
        folder = self.folder
        if (folder / IBM[0]).exists():
            train, test = (trials(folder / name) for name in IBM)
        else:
            train, test = (arrays(folder / name) for name in TONIC)
        people = sorted({gesture.user for gesture in train})
        if shared := set(people) & {gesture.user for gesture in test}:
            raise ValueError(f"{folder}: users {sorted(shared)} are both in the training data and in the test data.")
        held_out = hold_out(people, self.val_fraction)[1]
        splits = {
            "train": [gesture for gesture in train if gesture.user not in held_out],
            "val": [gesture for gesture in train if gesture.user in held_out],
            "test": test,
        }
        return {
            split: [gesture.sample for gesture in gestures if gesture.sample.label < self.num_classes]
            for split, gestures in splits.items()
        }


def read_gesture(sample: EventSample) -> Events:
    """The events of a gesture; the times of an array are ms."""
    events = read_events(sample.file, columns="xypt", time_unit=1000 if sample.file.suffix == ".npy" else None)
    return between(events, sample.start, sample.stop)


def arrays(folder: Path) -> list[Gesture]:
    """The gestures of tonic's form: a folder for each person and light, a file for each label."""
    gestures = []
    for trial in sorted(path for path in folder.iterdir() if path.is_dir()):
        for file in recordings(trial, (".npy",)):
            if not (file.stem.isdigit() and int(file.stem) < len(CLASSES)):
                raise DataError(file, f"expected a label as the name, 0 to {len(CLASSES) - 1}.")
            gestures.append(Gesture(user_of(trial), EventSample(file, int(file.stem))))
    return gestures


def trials(names: Path) -> list[Gesture]:
    """The gestures of IBM's form: of a list of recordings, the rows of the CSV file beside each."""
    files = sorted(
        {names.with_name(line.strip()) for line in names.read_text(errors="replace").splitlines() if line.strip()}
    )
    labels = {file: file.with_name(f"{file.stem}_labels.csv") for file in files}
    if missing := [path for pair in labels.items() for path in pair if not path.is_file()]:
        shown = "\n".join(f"  {path.absolute()}" for path in missing[:10])
        raise FileNotFoundError(
            f"{names}: {len(missing)} files of this list are missing:\n{shown}\nAdd them, or cut the list."
        )
    return [gesture for file in files for gesture in rows(file, labels[file])]


def rows(file: Path, labels: Path) -> list[Gesture]:
    """The gestures of one recording."""
    gestures: list[Gesture] = []
    with labels.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        for row in csv.reader(lines):
            if not "".join(row).strip() or (not gestures and row[0].strip() == "class"):
                continue
            try:
                label, start, stop = map(int, row)
            except ValueError as error:
                raise DataError(labels, f"found the row {row}; expected class, start and end in µs.") from error
            if not (1 <= label <= len(CLASSES) and 0 <= start < stop):
                raise DataError(labels, f"found the row {row}; expected a class from 1 to 11, and start < end.")
            gestures.append(Gesture(user_of(file), EventSample(file, label - 1, start, stop)))
    if not gestures:
        raise DataError(labels, "there are no gestures; expected rows of class, start and end in µs.")
    return gestures


def user_of(path: Path) -> int:
    """The number of the person in a name.

    Raises:
        DataError: If there is none.
    """
    match = re.match(r"user(\d+)_", path.name)
    if not match:
        raise DataError(path, "expected a name that begins with user and a number: user01_led.")
    return int(match[1])
