"""The Free Spoken Digit Dataset as spike trains: log-mel bands, and a spike wherever one crosses a level."""

import math
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset
from torchvision.transforms import v2

from .base import BaseDataModule

RATE = 8000  # Hz
WINDOW = 256  # samples under a Hann window: 32 ms
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


class SpokenDigitsDataModule(BaseDataModule):
    r"""3,000 recordings of the digits 0-9 by six speakers (8 kHz), as spike trains [T, 64], T = duration / dt.

    The energy of 32 bands, equal in width on the mel scale from 0 to 4 kHz, is taken every `dt` under a window of 32
    ms, in dB below the loudest point of the recording, no lower than `floor`. A band spikes when it crosses a multiple
    of `level`: channel 2 b fires where band b rises, 2 b + 1 where it falls; once a step, however many levels it
    crosses. A recording starts at the floor, is cut off at `duration`, or ends in silence.

    Splits are by speaker, so that nobody is heard both in training and in a test: test = `test_speakers`, validation =
    `val_speakers` (500 recordings each by default), training = the others (2,000). The official split, by the number of
    the recording, has every speaker in both parts. Augmentation: a shift by up to one band and 5 steps.

    Args:
        root: Folder that holds the folder `recordings` with files {digit}_{speaker}_{index}.wav.
        batch_size: Samples per batch and device.
        num_workers: Loading processes; None and 0 load in the training process.
        seed: Of the order and the augmentation of the training data.
        augment: Whether training data are shifted.
        dt: Length of a step, ms; that of the student.
        duration: Length of a trial, ms.
        level: Distance of two levels, dB.
        floor: Lowest energy, dB below the loudest.
        test_speakers: Who is heard in the test alone.
        val_speakers: Who is heard in validation alone.

    Raises:
        FileNotFoundError: If there are no recordings (`setup`).
        ValueError: If an argument is out of range, a speaker unknown or in two splits, or a file no such recording.

    Source: Z. Jackson et al., "Free Spoken Digit Dataset", CC BY-SA 4.0; spikes at level crossings of spectral bands:
    Gütig and Sompolinsky 2009, PLoS Biology 7(7), with one spike train a direction in place of one a level.
    """

    num_classes = 10
    in_chans = 64
    image_size = 1
    sequence_ndim = 3
    mean = (0.0,) * in_chans  # spikes are not normalised
    std = (1.0,) * in_chans
    label_names = tuple("0123456789")
    max_workers = 0
    home = "https://github.com/Jakobovski/free-spoken-digit-dataset"

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 32,
        num_workers: int | None = None,
        seed: int = 0,
        augment: bool = True,
        dt: float = 10.0,
        duration: float = 1000.0,
        level: float = 5.0,
        floor: float = 50.0,
        test_speakers: Sequence[str] = ("yweweler",),
        val_speakers: Sequence[str] = ("theo",),
    ) -> None:
        super().__init__(batch_size, num_workers, seed, augment=augment)
        for name, value, highest in (
            ("duration", duration, math.inf),
            ("dt", dt, duration),
            ("floor", floor, 200.0),
            ("level", level, floor),
        ):
            if not 0 < value <= highest:
                raise ValueError(f"{name} must be > 0 and at most {highest:g}, got {value}.")
        held_out = [*test_speakers, *val_speakers]
        if not test_speakers or not val_speakers or len({*held_out}) < len(held_out) or not {*held_out} < {*SPEAKERS}:
            raise ValueError(
                f"test_speakers and val_speakers must be some of {', '.join(SPEAKERS)}, at least one each, nobody "
                f"twice and one left for training; got {list(test_speakers)} and {list(val_speakers)}."
            )
        self.root, self.dt, self.duration, self.level, self.floor = root, dt, duration, level, floor
        self.speakers = {"test": tuple(test_speakers), "val": tuple(val_speakers)}
        self.speakers["train"] = tuple(speaker for speaker in SPEAKERS if speaker not in held_out)

    @property
    def input_cfg(self) -> dict[str, Any]:
        """What a model must know of its input: the length of a step, too."""
        return super().input_cfg | {"dt": self.dt}

    def load(self) -> dict[str, Dataset[Any]]:
        """Read and encode all recordings."""
        folder = Path(self.root, "recordings").absolute()
        files = {speaker: sorted(folder.glob(f"[0-9]_{speaker}_*.wav")) for speaker in SPEAKERS}
        if missing := [speaker for speaker, found in files.items() if not found]:
            raise FileNotFoundError(
                f"{folder} has no recordings (0_theo_0.wav, ...) of {', '.join(missing)}. Get the folder from "
                f"{self.home}, or set `root` to the folder that holds it."
            )
        splits: dict[str, Dataset[Any]] = {}
        for split, speakers in self.speakers.items():
            chosen = [file for speaker in speakers for file in files[speaker]]
            trains = torch.stack([self.encode(read_recording(file)) for file in chosen])
            splits[split] = TensorDataset(trains, torch.tensor([int(file.name[0]) for file in chosen]))
        return splits

    def encode(self, sound: NDArray[np.float32]) -> Tensor:
        """Spikes [T, 64], uint8, of samples in -1..1."""
        steps = math.ceil(self.duration / self.dt - 1e-9)
        starts = (np.arange(steps) * self.dt * RATE / 1000).astype(int)
        padded = np.zeros(max(starts[-1], len(sound)) + WINDOW, np.float32)
        padded[: len(sound)] = sound
        frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[starts] * np.hanning(WINDOW)
        energy = np.abs(np.fft.rfft(frames, 2 * WINDOW)) ** 2 @ mel_bands(self.in_chans // 2).T  # [T, bands]
        decibel = 10 * np.log10(np.maximum(energy / max(energy.max(), 1e-12), 10 ** (-self.floor / 10)))
        passed = np.floor((decibel + self.floor) / self.level + 1e-9)
        change = np.diff(passed, axis=0, prepend=0)
        return torch.from_numpy(np.stack([change > 0, change < 0], 2).reshape(steps, -1).astype(np.uint8))

    def transform(self, split: str) -> nn.Module:
        """Shift in training, then to float32; spikes stay 0 and 1."""
        shift = [Shift(1, 5)] if self.augment and split == "train" else []
        return v2.Compose([*shift, v2.ToDtype(torch.float32)])


class Shift(nn.Module):
    """Moves spike trains [T, 2 bands] by random whole numbers of bands and of steps; what leaves is lost.

    Args:
        bands: Most bands up or down.
        steps: Most steps later or earlier.
    """

    def __init__(self, bands: int, steps: int) -> None:
        super().__init__()
        self.bands, self.steps = bands, steps

    def forward(self, x: Tensor) -> Tensor:
        """Spikes [T, F] of spikes x [T, F]."""
        by_time, by_band = (int(torch.randint(-most, most + 1, ())) for most in (self.steps, self.bands))
        padded = nn.functional.pad(x, 2 * [2 * self.bands] + 2 * [self.steps])
        start, first = self.steps - by_time, 2 * (self.bands - by_band)
        return padded[start : start + len(x), first : first + x.shape[1]]


def mel_bands(count: int) -> NDArray[np.float64]:
    """Triangles [count, WINDOW + 1] over the bins of a spectrum, equally wide in mel, 2595 lg(1 + f / 700)."""
    edges = 700 * (10 ** (np.linspace(0, 2595 * math.log10(1 + RATE / 2 / 700), count + 2) / 2595) - 1)
    bins = np.linspace(0, RATE / 2, WINDOW + 1)
    left, middle, right = (edges[i : i + count, None] for i in range(3))
    return np.maximum(0, np.minimum((bins - left) / (middle - left), (right - bins) / (right - middle)))


def read_recording(file: Path) -> NDArray[np.float32]:
    """Samples in -1..1 of a wav file of the data set.

    Raises:
        ValueError: If it is no wav file with one channel of 16 bit at 8 kHz.
    """
    try:
        with wave.open(str(file), "rb") as recording:
            kind = (recording.getnchannels(), recording.getsampwidth(), recording.getframerate())
            data = recording.readframes(recording.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{file} is no wav file ({error}). Delete it and get it again.") from error
    if kind != (1, 2, RATE):
        raise ValueError(
            f"{file} has {kind[0]} channels of {8 * kind[1]} bit at {kind[2]} Hz; the data set has one of 16 bit at "
            f"{RATE} Hz. Convert it."
        )
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(2**15)
