"""The Free Spoken Digit Dataset: ten words of six speakers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, TensorDataset

from .wav import SoundDataModule

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


class SpokenDigitsDataModule(SoundDataModule):
    r"""3,000 recordings of the digits 0-9 by six speakers (8 kHz), as x [T, N, F]; see `SoundDataModule`.

    By default spike trains of 32 bands from 0 to 4 kHz, F = 64, in memory.

    Splits are by speaker, so that nobody is heard both in training and in a test: test = `test_speakers`, validation =
    `val_speakers` (500 recordings each by default), training = the others (2,000). The official split, by the number of
    the recording, has every speaker in both parts.

    Args:
        root: Folder that holds the folder `recordings` with files {digit}_{speaker}_{index}.wav.
        test_speakers: Who is heard in the test alone.
        val_speakers: Who is heard in validation alone.
        kwargs: Arguments of `SoundDataModule`.

    Raises:
        FileNotFoundError: If there are no recordings (`setup`).
        ValueError: If an argument is out of range, or a speaker unknown or in two splits.
        DataError: If a file is no such recording.

    Source: Z. Jackson et al., "Free Spoken Digit Dataset", CC BY-SA 4.0.
    """

    num_classes = 10
    label_names = tuple("0123456789")
    max_workers = 0
    rate = 8000
    home = "https://github.com/Jakobovski/free-spoken-digit-dataset"

    def __init__(
        self,
        root: str = "data",
        test_speakers: Sequence[str] = ("yweweler",),
        val_speakers: Sequence[str] = ("theo",),
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, **kwargs)
        held_out = [*test_speakers, *val_speakers]
        if not test_speakers or not val_speakers or len({*held_out}) < len(held_out) or not {*held_out} < {*SPEAKERS}:
            raise ValueError(
                f"test_speakers and val_speakers: expected some of {', '.join(SPEAKERS)}, at least one each, nobody "
                f"twice and one left for training, found {list(test_speakers)} and {list(val_speakers)}."
            )
        self.speakers = {"test": tuple(test_speakers), "val": tuple(val_speakers)}
        self.speakers["train"] = tuple(speaker for speaker in SPEAKERS if speaker not in held_out)

    def find(self) -> dict[str, list[tuple[Path, int]]]:
        """The recordings of every split, by speaker, digit and number."""
        folder = (self.root / "recordings").absolute()
        files = {speaker: sorted(folder.glob(f"[0-9]_{speaker}_*.wav")) for speaker in SPEAKERS}
        if missing := [speaker for speaker, found in files.items() if not found]:
            raise FileNotFoundError(
                f"{folder} has no recordings (0_theo_0.wav, ...) of {', '.join(missing)}. Get the folder from "
                f"{self.home}, or set `root` to the folder that holds it."
            )
        return {
            split: [(file, int(file.name[0])) for speaker in speakers for file in files[speaker]]
            for split, speakers in self.speakers.items()
        }

    def load(self) -> dict[str, Dataset[Any]]:
        """Read and encode all recordings."""
        return {split: in_memory(sounds) for split, sounds in super().load().items()}


def in_memory(source: Dataset[Any]) -> TensorDataset:
    """All samples of a dataset, read."""
    x, y = zip(*(source[index] for index in range(len(source))), strict=True)  # type: ignore[arg-type]  # has a length
    return TensorDataset(torch.stack(x), torch.tensor(y))
