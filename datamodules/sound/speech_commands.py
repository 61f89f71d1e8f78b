"""Google Speech Commands, version 2: 35 words of 2,618 speakers."""

from pathlib import Path
from typing import Any, Literal

from ..errors import DataError
from .wav import SoundDataModule

WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy"),
    *("house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop"),
    *("three", "tree", "two", "up", "visual", "wow", "yes", "zero"),
)
LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}


class SpeechCommandsDataModule(SoundDataModule):
    r"""105,829 recordings of 35 words, of a second at most (16 kHz), as x [T, N, F]; see `SoundDataModule`.

    By default log-mel frames of 40 bands. Shorter recordings end in silence. A recording is read and encoded whenever
    it is asked for, by the loading processes.

    Splits, the official ones: validation and test are the recordings in `validation_list.txt` (9,981) and
    `testing_list.txt` (11,005), training all others (84,843). A speaker is in one split only: the lists were made from
    a hash of the speaker. `_background_noise_` and folders that are none of the 35 words are left out.

    The published front ends, as near as this encoding comes: of Bittar and Garner 2022, `bands: 40`, `window: 25`; of
    Hammouamri et al. 2024, `bands: 140`, `f_min: 50`, `f_max: 4000` (the authors resample to 8 kHz and ask for 14 kHz,
    so that their upper bands are empty; a sound of 8 kHz ends at 4). Both use decibels as they are, not 0..1.

    Args:
        root: Folder of the words and lists, or one that holds it as `speech_commands_v0.02` or
            `SpeechCommands/speech_commands_v0.02` (as torchaudio lays it).
        encoding: "mel" or "spikes".
        bands: Number of bands.
        kwargs: Arguments of `SoundDataModule`.

    Raises:
        FileNotFoundError: If a word or a list is missing (`setup`).
        ValueError: If an argument is out of range.
        DataError: If a file is no such recording, or a list names one that is not there.

    Source: P. Warden 2018, "Speech Commands", arXiv:1804.03209, CC BY 4.0.
    """

    num_classes = 35
    label_names = WORDS
    rate = 16000
    home = "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz"

    def __init__(
        self, root: str = "data", encoding: Literal["spikes", "mel"] = "mel", bands: int = 40, **kwargs: Any
    ) -> None:
        super().__init__(root=root, encoding=encoding, bands=bands, **kwargs)

    def find(self) -> dict[str, list[tuple[Path, int]]]:
        """The recordings of every split, by word and name."""
        folder = self.folder()
        label_of = {
            f"{word}/{file.name}": label
            for label, word in enumerate(WORDS)
            for file in sorted((folder / word).glob("*.wav"))
        }
        listed = {split: read_list(folder / name, label_of) for split, name in LISTS.items()}
        if twice := listed["val"] & listed["test"]:
            raise DataError(folder / LISTS["test"], f"{min(twice)} is in the validation list, too.")
        listed["train"] = set(label_of) - listed["val"] - listed["test"]
        if empty := [split for split, names in listed.items() if not names]:
            raise DataError(folder, f"no recording is left for {' and '.join(empty)}.")
        return {
            split: [(folder / name, label) for name, label in label_of.items() if name in listed[split]]
            for split in ("train", "val", "test")
        }

    def folder(self) -> Path:
        """The folder of the words.

        Raises:
            FileNotFoundError: If it is not there, or not whole.
        """
        version = "speech_commands_v0.02"
        places = [self.root, self.root / version, self.root / "SpeechCommands" / version]
        for folder in places:
            if (folder / LISTS["test"]).is_file():
                missing = [word for word in WORDS if not (folder / word).is_dir()]
                missing += [name for name in LISTS.values() if not (folder / name).is_file()]
                if missing:
                    raise FileNotFoundError(f"{folder.absolute()} lacks {', '.join(missing)}. Unpack {self.home} anew.")
                return folder
        raise FileNotFoundError(
            f"None of {', '.join(str(place.absolute()) for place in places)} holds {LISTS['test']} and the folders of "
            f"the words (backward/*.wav, ...). Unpack {self.home} in one of them, or set `root`."
        )


def read_list(file: Path, known: dict[str, int]) -> set[str]:
    """The recordings a list names, word/name.wav.

    Raises:
        DataError: If one of them is not known.
    """
    names = file.read_bytes().decode(errors="replace").split()
    for number, name in enumerate(names, 1):
        if name not in known:
            raise DataError(file, f"entry {number}, {name!r}, is no recording that is there. Unpack the data anew.")
    return set(names)
