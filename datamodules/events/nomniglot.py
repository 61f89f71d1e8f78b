"""N-Omniglot: characters of 50 alphabets, written stroke by stroke on a screen in front of an event camera."""

import csv
from pathlib import Path
from typing import Any

from ..class_folders import subfolders
from ..errors import DataError
from .published import Layout, PublishedEventDataModule, hold_out, recordings
from .recordings import EventSample

PARTS = ("dvs_background", "dvs_evaluation")
WRITERS = 20


class NOmniglotDataModule(PublishedEventDataModule):
    """1,623 characters, each written by 20 people, 346 x 260 pixels, a few seconds each: many classes, few samples.

    Classification of the characters of all alphabets that are there. Splits by writer, in the authors'
    proportion (15 to 5): test = writers 16 to 20 of each character; validation = the last `val_fraction` of the others
    (14 and 15); training = writers 1 to 13. (Few-shot episodes, in which the characters of
    `dvs_evaluation` are new, are not built here.)

    Files `root/N-Omniglot/{dvs_background,dvs_evaluation}/<alphabet>/character<nn>/<nnnn>.aedat4`, all 20 writers one
    after another, and beside each `<nnnn>.csv`: a header, then a row for each writer, whose second and third columns
    are the first time of a sample and the first time after it, µs. Known from the authors' code only: no real file has
    been read here.

    Args:
        root: Folder that holds `N-Omniglot`, or `dvs_background` and `dvs_evaluation`.
        val_fraction: Part of the training writers for validation.
        kwargs: Arguments of `EventDataModule`.

    Raises:
        FileNotFoundError: If the data are not there, as their folders say what the classes are.

    Source: Y. Li et al. 2022, "N-Omniglot, a large-scale neuromorphic dataset for spatio-temporal sparse few-shot
    learning".
    """

    title = "N-Omniglot"
    sensor_size = (346, 260, 2)
    home = "https://doi.org/10.6084/m9.figshare.16821427"
    files = "N-Omniglot/{dvs_background,dvs_evaluation}/<alphabet>/character<nn>/<nnnn>.aedat4 and .csv"
    layouts = (Layout("N-Omniglot", PARTS), Layout(".", PARTS))

    def __init__(self, root: str = "data", val_fraction: float = 2 / 15, **kwargs: Any) -> None:
        super().__init__(root=root, val_fraction=val_fraction, **kwargs)
        alphabets = [alphabet for part in PARTS for alphabet in subfolders(self.folder / part)]
        self.characters = {
            f"{alphabet.name}/{character.name}": character
            for alphabet in sorted(alphabets, key=lambda folder: folder.name)
            for character in subfolders(alphabet)
        }
        self.label_names = tuple(self.characters)
        self.num_classes = len(self.label_names)

    def find(self) -> dict[str, list[EventSample]]:
        """The samples, by character and writer."""
        writers, test = range(WRITERS)[:15], range(WRITERS)[15:]
        train, val = hold_out(writers, self.val_fraction)
        characters = [read_samples(folder, label) for label, folder in enumerate(self.characters.values())]
        return {
            split: [of_character[writer] for of_character in characters for writer in chosen]
            for split, chosen in (("train", train), ("val", val), ("test", test))
        }


def read_samples(folder: Path, label: int) -> list[EventSample]:
    """The samples of a character, by writer.

    Raises:
        DataError: If its CSV file has no 20 rows of times.
    """
    (file,) = recordings(folder, (".aedat4",))[:1]
    times = file.with_suffix(".csv")
    if not times.is_file():
        raise FileNotFoundError(
            f"{times.absolute()}: this file is missing; it says which part of {file.name} is whose."
        )
    with times.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        rows = [row for row in csv.reader(lines) if "".join(row).strip()][1 : WRITERS + 1]
    try:
        spans = [(round(float(row[1])), round(float(row[2]))) for row in rows]
    except (ValueError, OverflowError, IndexError) as error:
        raise DataError(times, f"expected rows of a number, start and end in µs ({error}).") from error
    if len(spans) < WRITERS or any(start >= stop for start, stop in spans):
        raise DataError(times, f"found {len(spans)} rows; expected {WRITERS} below a header, each with start < end.")
    return [EventSample(file, label, start, stop) for start, stop in spans]
