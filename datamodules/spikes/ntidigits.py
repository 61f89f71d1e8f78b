"""N-TIDIGITS: spoken digits, recorded with a silicon cochlea."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..splits import check_fraction, stratified_split
from .trains import SpikeTrainDataModule, SpikeTrains, check_spikes, open_h5

DIGITS = "o123456789z"


class NTIDIGITSDataModule(SpikeTrainDataModule):
    """Single digits of N-TIDIGITS18, "oh", 1-9 and "zero", of 64 channels: 2,464 samples for training, 2,486 to test.

    Splits: test = the official test part, of other speakers. Validation = all digits of `val_fraction` of the speakers
    of the training part, men and women in proportion; training = the other speakers.

    File `root/NTIDIGITS18/n-tidigits.hdf5`, as tonic lays it, or directly in root: `{train,test}_labels`, keys such as
    man-im-a-7, i.e. sex, speaker, first or second time, digits; `{train,test}_timestamps/<key>` (s) and
    `{train,test}_addresses/<key>`. Sequences of several digits are left out.

    Args:
        root: Folder of the data.
        duration: Length of a trial, ms.
        val_fraction: Part of the training speakers for validation.
        kwargs: Arguments of `SpikeTrainDataModule`.

    Raises:
        FileNotFoundError: If the file is missing (`setup`).
        ValueError: If an argument is out of range.
        DataError: If the file cannot be read.

    Source: Anumula, Neil, Delbruck and Liu 2018, Frontiers in Neuroscience 12:23.
    """

    num_classes = 11
    num_units = 64
    label_names = tuple(DIGITS)
    home = "https://docs.google.com/document/d/1Uxe7GsKKXcy6SlDUX4hoJVAC0-UkH-8kr5UXp0Ndi1M"

    def __init__(self, root: str = "data", duration: float = 1500.0, val_fraction: float = 0.1, **kwargs: Any) -> None:
        super().__init__(root, duration=duration, **kwargs)
        check_fraction("val_fraction", val_fraction)
        self.val_fraction = val_fraction

    def read(self) -> dict[str, SpikeTrains]:
        """Both parts; the one for training divided by speaker."""
        places = [self.root / "NTIDIGITS18" / "n-tidigits.hdf5", self.root / "n-tidigits.hdf5"]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise FileNotFoundError(
                f"n-tidigits.hdf5 not found in {' or '.join(str(place.parent.absolute()) for place in places)}. Get it "
                f"from {self.home}, or set `root` to its folder."
            )
        known, speakers = read_digits(file, "train", self.num_units)
        names = np.unique(speakers)  # "man-im", "woman-ab", ...
        try:
            _, held_out = stratified_split([name.split("-")[0] for name in names], self.val_fraction)
        except ValueError as error:
            raise DataError(file, f"{len(names)} speakers in training. {error}") from error
        in_val = np.isin(speakers, names[held_out])
        test, _ = read_digits(file, "test", self.num_units)
        return {"train": known.subset(~in_val), "val": known.subset(in_val), "test": test}


def read_digits(file: Path, part: str, num_units: int) -> tuple[SpikeTrains, NDArray[np.str_]]:
    """The single digits of a part, in the order of their keys, and the speaker (sex-name) of each.

    Raises:
        DataError: If the file is damaged, lacks a dataset, or a value cannot be.
    """
    times, units, counts, labels, speakers = [], [], [], [], []
    with open_h5(file) as data:
        for key in sorted(str(key, "utf-8") if isinstance(key, bytes) else str(key) for key in data[f"{part}_labels"]):
            speaker, _, digits = key.rpartition("-")
            if len(digits) > 1:
                continue
            if not digits or digits not in DIGITS or key.count("-") != 3:
                raise DataError(file, f"{part}_labels has {key!r}; expected are keys such as man-im-a-7.")
            time, unit = (np.asarray(data[f"{part}_{name}/{key}"][()]) for name in ("timestamps", "addresses"))
            check_spikes(file, f"{part} sample {key}", time, unit, num_units)
            times.append(time.astype(np.float32))
            units.append(unit.astype(np.uint16))
            counts.append(len(time))
            labels.append(DIGITS.index(digits))
            speakers.append(speaker.rpartition("-")[0])
    return SpikeTrains.of(times, units, counts, labels), np.array(speakers, dtype=np.str_)
