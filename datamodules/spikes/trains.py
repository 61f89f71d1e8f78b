"""Recorded spike trains: kept as they were recorded, augmented spike by spike, binned when they are asked for."""

import dataclasses
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.transforms import v2

from ..base import BaseDataModule
from ..errors import DataError
from ..hdf5 import refuse_missing_filters


@dataclass(frozen=True, eq=False)
class SpikeTrain:
    """n spikes of one sample, in any order.

    Args:
        time: Times [n], float64, ms from the beginning of the recording.
        unit: Units [n], int64.
        label: Class.
    """

    time: NDArray[np.float64]
    unit: NDArray[np.int64]
    label: int

    def moved(self, time: Any, unit: Any) -> "SpikeTrain":
        """Later by `time` ms and up by `unit` units, numbers or arrays [n]; some spikes may leave the recording."""
        return dataclasses.replace(self, time=self.time + time, unit=self.unit + unit)


class SpikeTrains(Dataset[tuple[SpikeTrain, int]]):
    """Samples whose spikes lie one after another in two compact arrays: 4 bytes a spike for SHD and SSC.

    Subsets share the arrays, and so do loading processes that are forked.

    Args:
        times: Times of all spikes [S], s, in the type of the file (float16 for SHD and SSC).
        units: Units of all spikes [S], uint16.
        starts: Where each of n samples begins, [n].
        stops: Where it ends, [n].
        labels: Classes [n].
    """

    def __init__(
        self,
        times: NDArray[np.floating],
        units: NDArray[np.uint16],
        starts: NDArray[np.int64],
        stops: NDArray[np.int64],
        labels: NDArray[np.int64],
    ) -> None:
        self.times, self.units = times, units
        self.starts, self.stops, self.targets = starts, stops, labels  # targets: torchvision's word

    @classmethod
    def of(cls, times: list[NDArray[Any]], units: list[NDArray[Any]], counts: Any, labels: Any) -> "SpikeTrains":
        """Of pieces of the two arrays, which it empties, and the number of spikes and the class of every sample."""
        stops = np.cumsum(counts, dtype=np.int64)
        joined = []
        for pieces in (times, units):  # one after the other, so that memory holds one of them twice, not both
            joined.append(np.concatenate(pieces) if pieces else np.zeros(0, np.float16))
            pieces.clear()
        starts = stops - np.asarray(counts, np.int64)
        return cls(joined[0], joined[1].astype(np.uint16, copy=False), starts, stops, np.asarray(labels, np.int64))

    def __getitem__(self, index: int) -> tuple[SpikeTrain, int]:
        chosen = slice(self.starts[index], self.stops[index])
        label = int(self.targets[index])
        # To float64 before anything else: 1e6 times a float16 in seconds is beyond float16 (tonic's issue 321).
        return SpikeTrain(
            self.times[chosen].astype(np.float64) * 1000, self.units[chosen].astype(np.int64), label
        ), label

    def __len__(self) -> int:
        return len(self.targets)

    def subset(self, chosen: NDArray[Any]) -> "SpikeTrains":
        """The samples of a mask or of indices."""
        return SpikeTrains(self.times, self.units, self.starts[chosen], self.stops[chosen], self.targets[chosen])

    def share_after(self, time: float) -> float:
        """Part of all spikes, also those of other subsets, that come at `time` ms or later."""
        pieces = np.split(self.times, range(2**24, len(self.times), 2**24))  # so that no mask is large
        late = sum(int(np.count_nonzero(piece >= time / 1000)) for piece in pieces)
        return late / max(1, len(self.times))


def check_spikes(file: Path, sample: str, times: NDArray[Any], units: NDArray[Any], num_units: int) -> None:
    """Refuse spikes of a sample that cannot be.

    Raises:
        DataError: If there are not as many times as units, a time is no finite number >= 0, or a unit no whole number
            in 0..num_units - 1. Names the sample and the first such spike.
    """
    if times.dtype.kind != "f" or units.dtype.kind not in "iuf" or times.ndim != 1 or times.shape != units.shape:
        raise DataError(
            file,
            f"{sample} has times of {times.dtype} {times.shape} and units of {units.dtype} {units.shape}; expected are "
            "floating-point times and whole units in rows of the same length.",
        )
    whole = units % 1 == 0 if units.dtype.kind == "f" else True
    for name, values, bad, accepted in (
        ("time", times, ~((times >= 0) & (times < np.inf)), "finite and >= 0 (s)"),
        ("unit", units, ~((units >= 0) & (units < num_units) & whole), f"0 to {num_units - 1}"),
    ):
        if bad.any():
            first = int(bad.argmax())
            raise DataError(file, f"{sample}, spike {first} has {name} {values[first]}; expected {accepted}.")


@contextmanager
def open_h5(file: Path) -> Iterator[Any]:
    """An HDF5 file, open for reading, then closed.

    Raises:
        DataError: If it is none, is damaged, needs a filter that HDF5 does not have here, or lacks what is asked of it.
    """
    import h5py  # type: ignore[import-untyped]

    try:
        with h5py.File(file, "r") as data:
            data.visititems(lambda _, item: refuse_missing_filters(file, item) if hasattr(item, "chunks") else None)
            yield data
    except DataError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:  # h5py's, by what was asked of what
        raise DataError(file, f"no such HDF5 file as expected, or a damaged one ({error}). Get it again.") from error


class Blend(nn.Module):
    """Replaces a sample by a blend of itself and another one of its class.

    Both are moved to the mean of their centres of mass (mean time, mean unit), then every spike stays with probability
    1/2. The authors add as many blends as there are samples; here an epoch has its length, and `share` of it is blends.

    Args:
        trains: The training data.
        share: Probability of a blend.

    Source: Nowotny, Turner and Knight 2025, "Loss shaping enhances exact gradient learning with EventProp in spiking
    neural networks".
    """

    def __init__(self, trains: SpikeTrains, share: float = 0.5) -> None:
        super().__init__()
        self.trains, self.share = trains, share
        self.members = {label: np.flatnonzero(trains.targets == label) for label in np.unique(trains.targets).tolist()}

    def forward(self, train: SpikeTrain) -> SpikeTrain:
        """A train of the same class."""
        if float(torch.rand(())) >= self.share:
            return train
        members = self.members[train.label]
        other, _ = self.trains[int(members[int(torch.randint(len(members), ()))])]
        if not len(train.time) or not len(other.time):
            return train  # no centre of mass
        centres = np.array([[both.time.mean(), both.unit.mean()] for both in (train, other)])
        parts = []
        for part, (time, unit) in zip((train, other), centres.mean(0) - centres, strict=True):
            kept = (torch.rand(len(part.time)) < 0.5).numpy()
            part = part.moved(time, round(unit))
            parts.append((part.time[kept], part.unit[kept]))
        time, unit = (np.concatenate(pair) for pair in zip(*parts, strict=True))
        return SpikeTrain(time, unit, train.label)


class ShiftTrain(nn.Module):
    """Moves a whole sample by a random number of units and a random time, both uniform.

    Args:
        units: Most units up or down.
        time: Longest time later or earlier, ms.
    """

    def __init__(self, units: int, time: float) -> None:
        super().__init__()
        self.units, self.time = units, time

    def forward(self, train: SpikeTrain) -> SpikeTrain:
        """The same spikes elsewhere."""
        return train.moved(
            self.time * (2 * float(torch.rand(())) - 1), int(torch.randint(-self.units, self.units + 1, ()))
        )


class JitterTrain(nn.Module):
    """Moves every spike by itself, normally distributed around where it was.

    Args:
        units: Standard deviation in units; the move is rounded.
        time: Standard deviation in ms.
    """

    def __init__(self, units: float, time: float) -> None:
        super().__init__()
        self.units, self.time = units, time

    def forward(self, train: SpikeTrain) -> SpikeTrain:
        """As many spikes elsewhere."""
        by_time, by_unit = torch.randn(2, len(train.time), dtype=torch.float64).numpy()
        return train.moved(self.time * by_time, np.rint(self.units * by_unit).astype(np.int64))


class Bin(nn.Module):
    """SpikeTrain -> x [T, F] float32: the spikes of `unit_sum` neighbouring units in each step of `dt`.

    A spike at time t of unit i counts in x[floor(t / dt), floor(i / unit_sum)]; one outside of the units or of the
    duration is lost. T = duration / dt, F = num_units / unit_sum, both rounded up.

    Args:
        num_units: Units of the recording.
        dt: Length of a step, ms.
        duration: Length of a trial, ms.
        unit_sum: Neighbours that are summed.
        binary: 1 for any number of spikes, instead of their number.
    """

    def __init__(self, num_units: int, dt: float, duration: float, unit_sum: int = 1, binary: bool = False) -> None:
        super().__init__()
        self.num_units, self.dt, self.unit_sum, self.binary = num_units, dt, unit_sum, binary
        self.shape = (math.ceil(duration / dt - 1e-9), -(-num_units // unit_sum))

    def forward(self, train: SpikeTrain) -> Tensor:
        """Counts x [T, F], or 0 and 1."""
        steps, chans = self.shape
        step = np.floor(train.time / self.dt).astype(np.int64)
        inside = (step >= 0) & (step < steps) & (train.unit >= 0) & (train.unit < self.num_units)
        cell = (step * chans + train.unit // self.unit_sum)[inside]
        x = np.zeros(steps * chans, np.float32)
        if self.binary:
            x[cell] = 1
        else:
            np.add.at(x, cell, np.float32(1))
        return torch.from_numpy(x.reshape(self.shape))


class SpikeTrainDataModule(BaseDataModule, ABC):
    """Recorded spike trains as x [T, N, F], binned; see `Bin`. A dataset gives its `read`.

    The recordings are read once, and stay in memory as they are. Augmentation, in training only and in this order:
    `Blend`, `ShiftTrain`, `JitterTrain`; each is off by default.

    Args:
        root: Folder of the data.
        dt: Length of a step, ms; that of the student.
        duration: Length of a trial, ms; a warning says so if more than 1 % of the spikes come later, and are lost.
        unit_sum: How many neighbouring units are summed to one input.
        binary: Whether an input is 0 or 1 in every step, instead of a number of spikes.
        shift_units: Training data move by up to this many units.
        shift_time: Training data move by up to this time, ms.
        jitter_units: Standard deviation by which every spike moves, in units.
        jitter_time: The same in time, ms.
        blend: Probability that a training sample is a blend of two.
        batch_size: Samples per batch and device.
        num_workers: Loading processes; None chooses.
        seed: Of the order and the augmentation of the training data.
        augment: Whether training data are augmented.

    Raises:
        FileNotFoundError: If the data are not there (`setup`).
        ValueError: If an argument is out of range.
        DataError: If a file cannot be read.
    """

    image_size = 1
    sequence_ndim = 3
    num_units: ClassVar[int]

    def __init__(
        self,
        root: str = "data",
        dt: float = 10.0,
        duration: float = 1000.0,
        unit_sum: int = 1,
        binary: bool = False,
        shift_units: int = 0,
        shift_time: float = 0.0,
        jitter_units: float = 0.0,
        jitter_time: float = 0.0,
        blend: float = 0.0,
        batch_size: int = 64,
        num_workers: int | None = None,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        super().__init__(batch_size, num_workers, seed, augment=augment)
        for name, value, highest in (("duration", duration, 1e6), ("dt", dt, duration)):
            if not 0 < value <= highest:
                raise ValueError(f"{name}: expected a time in ms, > 0 and at most {highest:g}, found {value}.")
        for name, value, lowest, highest in (
            ("unit_sum", unit_sum, 1, self.num_units),
            ("shift_units", shift_units, 0, self.num_units),
            ("shift_time", shift_time, 0, duration),
            ("jitter_units", jitter_units, 0, self.num_units),
            ("jitter_time", jitter_time, 0, duration),
            ("blend", blend, 0, 1),
        ):
            if not lowest <= value <= highest:
                raise ValueError(f"{name}: expected {lowest} to {highest:g}, found {value}.")
        self.root, self.dt, self.duration, self.blend = Path(root), dt, duration, blend
        self.bin = Bin(self.num_units, dt, duration, unit_sum, binary)
        self.moves: list[nn.Module] = []
        if shift_units or shift_time:
            self.moves.append(ShiftTrain(shift_units, shift_time))
        if jitter_units or jitter_time:
            self.moves.append(JitterTrain(jitter_units, jitter_time))
        self.in_chans = self.bin.shape[1]
        self.mean, self.std = (0.0,) * self.in_chans, (1.0,) * self.in_chans  # counts are not normalised
        self.trains: dict[str, SpikeTrains] = {}

    @property
    def input_cfg(self) -> dict[str, Any]:
        """What a model must know of its input: the length of a step, too."""
        return super().input_cfg | {"dt": self.dt}

    @abstractmethod
    def read(self) -> dict[str, SpikeTrains]:
        """The spikes of "train", "val" and "test"."""

    def load(self) -> dict[str, Dataset[Any]]:
        """Read the spikes."""
        self.trains = self.read()
        end = self.bin.shape[0] * self.dt
        for split, trains in self.trains.items():
            if not len(trains):
                raise DataError(self.root, f"no sample is left in the {split} split.")
            if (lost := trains.share_after(end)) > 0.01:
                warnings.warn(
                    f"{100 * lost:.1f} % of the spikes come after {end:g} ms and are lost. Set a longer `duration`.",
                    stacklevel=2,
                )
        return dict(self.trains)

    def transform(self, split: str) -> nn.Module:
        """Augmentation in training, then bins."""
        if split != "train" or not self.augment:
            return v2.Compose([self.bin])
        blend = [Blend(self.trains["train"], self.blend)] if self.blend else []
        return v2.Compose([*blend, *self.moves, self.bin])
