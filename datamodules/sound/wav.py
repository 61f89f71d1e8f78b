"""Sound as sequences [T, F]: log-mel frames, or spikes where a band crosses a level; what recordings of words share."""

import io
import math
import wave
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.transforms import v2

from ..base import BaseDataModule
from ..errors import DataError


class MelFrames:
    r"""Sound -> x [T, bands] float32, real numbers in 0..1: the loudness of bands that are equally wide in mel.

        E[t, b] = sum_f triangle_b(f) |spectrum_t(f)|^2,   x = max(0, 1 + 10 lg(E / max E) / floor)

    so 1 is the loudest point of the recording and 0 everything `floor` dB below it, silence too. The mel of f Hz is
    2595 lg(1 + f / 700). The spectrum of step t is that of the `window` that begins at t * dt, under Hann's window and
    padded with zeros until even the narrowest triangle has a bin: with published settings (140 bands, 256 bins, a
    highest frequency above rate / 2) many triangles are empty, which gives inputs that never say anything.

    Args:
        rate: Samples a second.
        dt: Length of a step, ms.
        duration: Length of a trial, ms; longer sound is cut off, shorter sound ends in silence. T = duration / dt.
        bands: Number of bands.
        window: Length of the window, ms.
        f_min: Where the lowest triangle begins, Hz.
        f_max: Where the highest triangle ends, Hz; default: rate / 2. With 4000 sound of 16 kHz need not be resampled
            to 8 kHz.
        floor: Lowest loudness, dB below the loudest.

    Raises:
        ValueError: If an argument is out of range.
    """

    channels_per_band = 1

    def __init__(
        self,
        rate: int,
        dt: float = 10.0,
        duration: float = 1000.0,
        bands: int = 40,
        window: float = 32.0,
        f_min: float = 0.0,
        f_max: float | None = None,
        floor: float = 50.0,
    ) -> None:
        f_max = rate / 2 if f_max is None else f_max
        check_ranges(("duration", duration, 1e6), ("dt", dt, duration), ("window", window, duration))
        if round(window * rate / 1000) < 3:  # Hann's window begins and ends with 0
            raise ValueError(f"window: expected 3 samples or more, {3000 / rate:g} ms, found {window}.")
        check_ranges(("floor", floor, 200.0), ("f_max", f_max, rate / 2))
        if bands < 1:
            raise ValueError(f"bands: expected at least 1, found {bands}.")
        if not 0 <= f_min < f_max:
            raise ValueError(f"f_min: expected at least 0 and below f_max, {f_max:g} Hz, found {f_min}.")
        self.rate, self.floor, self.in_chans = rate, floor, bands * self.channels_per_band
        self.starts = (np.arange(math.ceil(duration / dt - 1e-9)) * dt * rate / 1000).astype(int)
        self.window = np.hanning(round(window * rate / 1000))
        low, high = (2595 * math.log10(1 + f / 700) for f in (f_min, f_max))
        self.edges = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)  # Hz
        self.n_fft = 2 * len(self.window)
        while rate / self.n_fft > np.diff(self.edges).min():
            self.n_fft *= 2
        self.triangles = triangles(self.edges, np.linspace(0, rate / 2, self.n_fft // 2 + 1))

    def __call__(self, sound: NDArray[np.float32]) -> Tensor:
        """Frames [T, bands] of samples in -1..1."""
        return torch.from_numpy((self.loudness(sound) / self.floor).astype(np.float32))

    def loudness(self, sound: NDArray[np.float32]) -> NDArray[np.float64]:
        """[T, bands], dB above the floor."""
        padded = np.zeros(max(self.starts[-1], len(sound)) + len(self.window), np.float32)
        padded[: len(sound)] = sound
        frames = np.lib.stride_tricks.sliding_window_view(padded, len(self.window))[self.starts] * self.window
        energy = np.abs(np.fft.rfft(frames, self.n_fft)) ** 2 @ self.triangles.T
        floor = 10 ** (-self.floor / 10)
        return 10 * np.log10(np.maximum(energy / max(energy.max(), 1e-12), floor)) + self.floor


class LevelCrossings(MelFrames):
    """Sound -> spikes [T, 2 bands] uint8: a band of `MelFrames` fires when its loudness crosses a multiple of `level`.

    Channel 2 b fires where band b rises, 2 b + 1 where it falls; once a step, however many levels it crosses. Before
    the recording all bands are at the floor.

    Args:
        level: Distance of two levels, dB.
        rate: See `MelFrames`.
        kwargs: See `MelFrames`.

    Raises:
        ValueError: If an argument is out of range.

    Source: Gütig and Sompolinsky 2009, PLoS Biology 7(7), with one spike train a direction in place of one a level.
    """

    channels_per_band = 2

    def __init__(self, rate: int, level: float = 5.0, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)
        check_ranges(("level", level, self.floor))
        self.level = level

    def __call__(self, sound: NDArray[np.float32]) -> Tensor:
        """Spikes [T, 2 bands] of samples in -1..1."""
        passed = np.floor(self.loudness(sound) / self.level + 1e-9)
        change = np.diff(passed, axis=0, prepend=0)
        return torch.from_numpy(np.stack([change > 0, change < 0], 2).reshape(len(change), -1).astype(np.uint8))


class SoundDataModule(BaseDataModule, ABC):
    """Recordings of words, as x [T, N, F]: log-mel frames, or spike trains made of them. A dataset gives its `find`.

    Augmentation: a shift by up to `shift_bands` and `shift_steps`.

    Args:
        root: Folder of the data.
        encoding: "mel": `MelFrames`, real numbers in 0..1, F = bands. "spikes": `LevelCrossings`, F = 2 bands.
        dt: Length of a step, ms; that of the student.
        duration: Length of a trial, ms.
        bands: Number of bands.
        window: Length of the window under which a spectrum is taken, ms.
        f_min: Where the lowest band begins, Hz.
        f_max: Where the highest band ends, Hz; default: half of the sampling rate.
        level: Distance of two levels, dB; of spikes only.
        floor: Lowest loudness, dB below the loudest of the recording.
        shift_bands: Training data move by up to this many bands up or down.
        shift_steps: Training data move by up to this many steps.
        batch_size: Samples per batch and device.
        num_workers: Loading processes; None chooses.
        seed: Of the order and the augmentation of the training data.
        augment: Whether training data are shifted.

    Raises:
        FileNotFoundError: If the recordings are not there (`setup`).
        ValueError: If an argument is out of range.
        DataError: If a file is no such recording.
    """

    image_size = 1
    sequence_ndim = 3
    rate: ClassVar[int]  # samples a second

    def __init__(
        self,
        root: str = "data",
        encoding: Literal["spikes", "mel"] = "spikes",
        dt: float = 10.0,
        duration: float = 1000.0,
        bands: int = 32,
        window: float = 32.0,
        f_min: float = 0.0,
        f_max: float | None = None,
        level: float = 5.0,
        floor: float = 50.0,
        shift_bands: int = 1,
        shift_steps: int = 5,
        batch_size: int = 32,
        num_workers: int | None = None,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        super().__init__(batch_size, num_workers, seed, augment=augment)
        if encoding not in ("spikes", "mel"):
            raise ValueError(f'encoding: expected "spikes" or "mel", found {encoding!r}.')
        for name, value in (("shift_bands", shift_bands), ("shift_steps", shift_steps)):
            if value < 0:
                raise ValueError(f"{name}: expected at least 0, found {value}.")
        bank: dict[str, Any] = {"dt": dt, "duration": duration, "bands": bands, "window": window}
        bank |= {"f_min": f_min, "f_max": f_max, "floor": floor}
        self.encode = (
            MelFrames(self.rate, **bank) if encoding == "mel" else LevelCrossings(self.rate, level=level, **bank)
        )
        self.root, self.dt, self.shift_bands, self.shift_steps = Path(root), dt, shift_bands, shift_steps
        self.in_chans = self.encode.in_chans
        self.mean, self.std = (0.0,) * self.in_chans, (1.0,) * self.in_chans  # x is 0..1 as it is

    @property
    def input_cfg(self) -> dict[str, Any]:
        """What a model must know of its input: the length of a step, too."""
        return super().input_cfg | {"dt": self.dt}

    @abstractmethod
    def find(self) -> dict[str, list[tuple[Path, int]]]:
        """The files and labels of "train", "val" and "test", in an order that depends on their names only."""

    def load(self) -> dict[str, Dataset[Any]]:
        """Find the recordings; they are read and encoded when they are asked for."""
        return {split: Sounds(samples, self.encode) for split, samples in self.find().items()}

    def transform(self, split: str) -> nn.Module:
        """Shift in training, then to float32, unscaled."""
        shift = Shift(self.shift_bands, self.shift_steps, self.encode.channels_per_band)
        return v2.Compose([*([shift] if self.augment and split == "train" else []), v2.ToDtype(torch.float32)])


class Sounds(Dataset[tuple[Tensor, int]]):
    """Wav files, read and encoded when they are asked for.

    Args:
        samples: File and label of every sample.
        encode: Samples of sound -> x [T, F].
    """

    def __init__(self, samples: Sequence[tuple[Path, int]], encode: MelFrames) -> None:
        self.samples, self.encode = samples, encode
        self.targets = [label for _, label in samples]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        file, label = self.samples[index]
        return self.encode(read_wav(file, self.encode.rate)), label

    def __len__(self) -> int:
        return len(self.samples)


class Shift(nn.Module):
    """Moves x [T, F] by random whole numbers of bands and of steps; what leaves is lost, what comes is 0.

    Args:
        bands: Most bands up or down.
        steps: Most steps later or earlier.
        channels_per_band: Channels that move together.
    """

    def __init__(self, bands: int, steps: int, channels_per_band: int = 2) -> None:
        super().__init__()
        self.bands, self.steps, self.channels_per_band = bands, steps, channels_per_band

    def forward(self, x: Tensor) -> Tensor:
        """[T, F] of x [T, F]."""
        by_time, by_band = (int(torch.randint(-most, most + 1, ())) for most in (self.steps, self.bands))
        padded = nn.functional.pad(x, 2 * [self.channels_per_band * self.bands] + 2 * [self.steps])
        start, first = self.steps - by_time, self.channels_per_band * (self.bands - by_band)
        return padded[start : start + len(x), first : first + x.shape[1]]


def triangles(edges: NDArray[np.float64], bins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights [bands, len(bins)] of frequencies: triangle b rises from edge b to b + 1 and falls to b + 2, Hz."""
    left, middle, right = (edges[i : len(edges) - 2 + i, None] for i in range(3))
    return np.maximum(0, np.minimum((bins - left) / (middle - left), (right - bins) / (right - middle)))


def check_ranges(*ranges: tuple[str, float, float]) -> None:
    """Raise a ValueError unless 0 < value <= highest for every (name, value, highest)."""
    for name, value, highest in ranges:
        if not 0 < value <= highest:
            raise ValueError(f"{name}: expected > 0 and at most {highest:g}, found {value}.")


def read_wav(file: Path, rate: int) -> NDArray[np.float32]:
    """Samples in -1..1 of a wav file with one channel of 16 bit (PCM), also with an extensible header.

    Raises:
        DataError: If it is another file, breaks off, or is empty.
    """
    data, code = plain_header(file.read_bytes())
    if code in FORMATS:
        raise DataError(file, f"expected 16-bit PCM, found {FORMATS[code]}. Convert it.")
    try:
        with wave.open(io.BytesIO(data), "rb") as recording:
            kind = (recording.getnchannels(), recording.getsampwidth(), recording.getframerate())
            count = recording.getnframes()
            data = recording.readframes(count)
    except (wave.Error, EOFError, RuntimeError) as error:  # RuntimeError: a chunk shorter than its contents
        raise DataError(file, f"no wav file ({str(error) or 'it breaks off'}). Delete it and get it again.") from error
    if kind != (1, 2, rate):
        raise DataError(
            file,
            f"{kind[0]} channels of {8 * kind[1]} bit at {kind[2]} Hz; the dataset has one of 16 bit at {rate} Hz. "
            "Convert it.",
        )
    if len(data) < 2 * count:
        raise DataError(
            file, f"breaks off: {len(data)} of {2 * count} bytes of sound. Get it again.", file.stat().st_size
        )
    if not count:
        raise DataError(file, "holds no sound. Delete it and get it again.")
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(2**15)


FORMATS = {2: "Microsoft ADPCM", 3: "floating-point numbers", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 85: "MP3"}
EXTENSIBLE = 0xFFFE  # Python 3.11's `wave` does not know it


def plain_header(data: bytes) -> tuple[bytes, int]:
    """A wav file whose format code is no longer "extensible", but that of the samples; and this code, or -1.

    Chunks are a name (4 bytes), a length (4) and a content of even length. That of "fmt " begins with the code (2);
    in an extensible one the code of the samples stands at byte 24.
    """
    at = 12
    while at + 8 <= len(data) and data[at : at + 4] != b"fmt ":
        at += 8 + (length := int.from_bytes(data[at + 4 : at + 8], "little")) + length % 2
    code = int.from_bytes(data[at + 8 : at + 10], "little") if at + 24 <= len(data) else -1
    if code == EXTENSIBLE and at + 34 <= len(data):
        data = data[: at + 8] + data[at + 32 : at + 34] + data[at + 10 :]
        code = int.from_bytes(data[at + 8 : at + 10], "little")
    return data, code
