"""The Heidelberg spiking datasets: spoken digits (SHD) and Speech Commands (SSC) through a model of the ear."""

from abc import ABC
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .trains import SpikeTrainDataModule, SpikeTrains, check_spikes, open_h5

HOME = "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/"
PIECE = 1024  # samples read at once


class HeidelbergDataModule(SpikeTrainDataModule, ABC):
    """Either of the two: 700 units in the order of their frequencies, files {title}_{part}.h5, unpacked.

    Raises:
        FileNotFoundError: If a file is missing (`setup`).
        DataError: If one cannot be read.
    """

    num_units = 700
    home = HOME
    title: ClassVar[str]  # of the folder that tonic makes, and in small letters of the files
    parts: ClassVar[tuple[str, ...]]

    def file(self, part: str) -> Path:
        """A file, in root or in root/{title}."""
        return next((file for file in self.places(part) if file.is_file()), self.places(part)[0])

    def places(self, part: str) -> list[Path]:
        """Where a file may be."""
        name = f"{self.title.lower()}_{part}.h5"
        return [self.root / self.title / name, self.root / name]

    @cached_property
    def label_names(self) -> Sequence[str]:  # type: ignore[override]  # a constant of other datasets
        """The words, of the file; numbers as long as it is not there."""
        file = self.file("train")
        if not file.is_file():
            return [str(label) for label in range(self.num_classes)]
        with open_h5(file) as data:
            names = [key.decode() if isinstance(key, bytes) else str(key) for key in data["extra/keys"][:]]
        if len(names) != self.num_classes:
            raise DataError(file, f"extra/keys has {len(names)} words; {self.title} has {self.num_classes}.")
        return names

    def check_files(self) -> None:
        """Look for all files before any is read."""
        if missing := [part for part in self.parts if not self.file(part).is_file()]:
            wanted = " and ".join(f"{self.title.lower()}_{part}.h5" for part in missing)
            raise FileNotFoundError(
                f"{wanted} not found in {(self.root / self.title).absolute()} or {self.root.absolute()}. Get "
                f"{self.title.lower()}_*.h5.zip (or .gz) from {self.home} and unpack them there, or set `root`."
            )


class SHDDataModule(HeidelbergDataModule):
    """Spiking Heidelberg Digits: 0-9 in English and in German, 12 speakers, 700 units; 8,156 and 2,264 samples.

    Splits, all fixed: test = the official `shd_test.h5`, which holds the speakers 4 and 5, whom nobody hears in
    training, and further recordings of the others; there is no official validation split, and many published numbers
    come from the epoch that was best in the test. Here validation = all recordings of `val_speakers` in
    `shd_train.h5`, training = all others there, so that the speakers in validation are not in training. For
    leave-one-speaker-out (Nowotny et al. 2025) run it with each speaker in turn.

    Files `root/SHD/shd_{train,test}.h5`, as tonic lays them, or directly in root: `spikes/times` (s) and
    `spikes/units`, rows of different lengths; `labels`; `extra/keys`, `extra/speaker`.

    Args:
        root: Folder of the data.
        duration: Length of a trial, ms; Bittar and Garner 2022 give all samples 1.4 s.
        val_speakers: Speakers of validation.
        kwargs: Arguments of `SpikeTrainDataModule`.

    Raises:
        FileNotFoundError: If a file is missing (`setup`).
        ValueError: If an argument is out of range, or a speaker is not in the training file.
        DataError: If a file cannot be read.

    Source: Cramer, Stradmann, Schemmel and Zenke 2022, "The Heidelberg Spiking Data Sets for the Systematic Evaluation
    of Spiking Neural Networks", IEEE TNNLS 33(7), CC BY 4.0.
    """

    num_classes = 20
    title = "SHD"
    parts = ("train", "test")

    def __init__(
        self, root: str = "data", duration: float = 1400.0, val_speakers: Sequence[int] = (11,), **kwargs: Any
    ) -> None:
        super().__init__(root, duration=duration, **kwargs)
        if not val_speakers or len(set(val_speakers)) < len(val_speakers):
            raise ValueError(f"val_speakers: expected one or more, nobody twice, found {list(val_speakers)}.")
        self.val_speakers = tuple(val_speakers)

    def read(self) -> dict[str, SpikeTrains]:
        """Both files; the one for training divided by speaker."""
        self.check_files()
        file = self.file("train")
        known, speakers = read_trains(file, self.num_units, self.num_classes, speakers=True)
        found = np.unique(speakers).tolist()
        if not set(self.val_speakers) < set(found):
            raise ValueError(
                f"val_speakers: expected some of those in {file}, {', '.join(map(str, found))}, one left for "
                f"training, found {list(self.val_speakers)}."
            )
        held_out = np.isin(speakers, self.val_speakers)
        test, _ = read_trains(self.file("test"), self.num_units, self.num_classes)
        return {"train": known.subset(~held_out), "val": known.subset(held_out), "test": test}


class SSCDataModule(HeidelbergDataModule):
    """Spiking Speech Commands: 35 words, 700 units; 75,466 samples for training, 9,981 and 20,382 for val and test.

    Splits: the official ones, the files `ssc_{train,valid,test}.h5` in `root/SSC`, as tonic lays them, or directly in
    root. Format and source: `SHDDataModule`. Expect 4 bytes a spike in memory: a few GB.

    Args:
        root: Folder of the data.
        duration: Length of a trial, ms; the recordings of Speech Commands last a second.
        kwargs: Arguments of `SpikeTrainDataModule`.

    Raises:
        FileNotFoundError: If a file is missing (`setup`).
        ValueError: If an argument is out of range.
        DataError: If a file cannot be read.
    """

    num_classes = 35
    title = "SSC"
    parts = ("train", "valid", "test")

    def __init__(self, root: str = "data", duration: float = 1000.0, **kwargs: Any) -> None:
        super().__init__(root, duration=duration, **kwargs)

    def read(self) -> dict[str, SpikeTrains]:
        """The three files."""
        self.check_files()
        return {
            split: read_trains(self.file(part), self.num_units, self.num_classes)[0]
            for split, part in zip(("train", "val", "test"), self.parts, strict=True)
        }


def read_trains(
    file: Path, num_units: int, num_classes: int, speakers: bool = False
) -> tuple[SpikeTrains, NDArray[np.int64]]:
    """All samples of a file, and, if asked for, the speaker of each of them.

    Raises:
        DataError: If it is damaged, lacks a dataset, or a value cannot be.
    """
    times: list[NDArray[Any]] = []
    units: list[NDArray[Any]] = []
    counts: list[int] = []
    with open_h5(file) as data:
        labels = whole_numbers(file, data, "labels", num_classes - 1)
        speaker = whole_numbers(file, data, "extra/speaker", 2**31) if speakers else labels
        rows = [data["spikes/times"], data["spikes/units"]]
        lengths = {"labels": len(labels), "extra/speaker": len(speaker)}
        lengths |= {dataset.name: len(dataset) for dataset in rows}
        if len(set(lengths.values())) > 1:
            raise DataError(file, f"numbers of samples differ: {lengths}.")
        for start in range(0, len(labels), PIECE):
            for sample, (time, unit) in enumerate(
                zip(*(row[start : start + PIECE] for row in rows), strict=True), start
            ):
                time, unit = np.asarray(time), np.asarray(unit)
                check_spikes(file, f"sample {sample} of spikes", time, unit, num_units)
                times.append(time)
                units.append(unit.astype(np.uint16, copy=False))
                counts.append(len(time))
    return SpikeTrains.of(times, units, counts, labels), speaker


def whole_numbers(file: Path, data: Any, name: str, highest: int) -> NDArray[np.int64]:
    """A dataset of whole numbers in 0..highest.

    Raises:
        DataError: If it holds something else; names the first.
    """
    values = np.asarray(data[name][()])
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise DataError(file, f"{name} is {values.dtype} {values.shape}; expected is a row of whole numbers.")
    bad = (values < 0) | (values > highest)
    if bad.any():
        raise DataError(file, f"{name}[{int(bad.argmax())}] is {values[bad.argmax()]}; expected 0 to {highest}.")
    return values.astype(np.int64)
