"""The Yin-Yang dataset: three classes in a plane, drawn, never downloaded; each sample a handful of spikes."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset
from torchvision.transforms import v2

from ..base import BaseDataModule

BIG, SMALL = 0.5, 0.1  # radius of the symbol around (0.5, 0.5), and of its two dots


class YinYangDataModule(BaseDataModule):
    """5,000 training, 1,000 validation and 1,000 test points of the Yin-Yang symbol, as spike trains [T, 5].

    Splits: drawn with the seeds 42, 41 and 40 of the publication, whatever `seed` is. A point (x, y) is the four values
    (x, y, 1 - x, 1 - y); a value u is one spike of its channel at u * last_spike, on the nearest step, and the fifth
    channel, the bias, fires at 0. x is [T, N, 5] with T = duration / dt.

    Args:
        batch_size: Samples per batch and device.
        num_workers: Loading processes; None and 0 load in the training process.
        seed: Of the order of the training data.
        dt: Length of a step, ms; that of the student.
        duration: Length of a trial, ms.
        last_spike: Latest possible input spike, ms.
        train_size: Training points.

    Raises:
        ValueError: If an argument is out of range.

    Source: Kriener, Göltz and Petrovici 2022, arXiv:2102.08211; the coding in time: Wunderlich and Pehle 2021.
    """

    num_classes = 3
    in_chans = 5
    image_size = 1
    sequence_ndim = 3
    mean = (0.0,) * 5  # spikes are not normalised
    std = (1.0,) * 5
    label_names = ("yin", "yang", "dot")
    max_workers = 0

    def __init__(
        self,
        batch_size: int = 32,
        num_workers: int | None = None,
        seed: int = 0,
        dt: float = 0.2,
        duration: float = 40.0,
        last_spike: float = 30.0,
        train_size: int = 5000,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        for name, value, highest in (("dt", dt, last_spike), ("last_spike", last_spike, duration - dt)):
            if not 0 < value <= highest:
                raise ValueError(f"{name}: expected a time in ms, > 0 and at most {highest:g}, found {value}.")
        if train_size < 1:
            raise ValueError(f"train_size: expected at least 1, found {train_size}.")
        self.dt, self.duration, self.last_spike, self.train_size = dt, duration, last_spike, train_size

    @property
    def input_cfg(self) -> dict[str, Any]:
        """What a model must know of its input: the length of a step, too."""
        return super().input_cfg | {"dt": self.dt}

    def load(self) -> dict[str, Dataset[Any]]:
        """Draw the points and encode them."""
        sizes = {"train": (self.train_size, 42), "val": (1000, 41), "test": (1000, 40)}
        splits: dict[str, Dataset[Any]] = {}
        for split, (size, seed) in sizes.items():
            points, labels = yin_yang(size, seed)
            splits[split] = TensorDataset(self.encode(torch.from_numpy(points)), torch.from_numpy(labels))
        return splits

    def encode(self, points: Tensor) -> Tensor:
        """Spikes [n, T, 5], uint8, of points [n, 4] in 0..1: one spike a channel."""
        steps = (torch.cat([points, points.new_zeros(len(points), 1)], 1) * self.last_spike / self.dt).round().long()
        trains = torch.zeros(len(points), math.ceil(self.duration / self.dt - 1e-9), 5, dtype=torch.uint8)
        return trains.scatter_(1, steps[:, None], 1)

    def transform(self, split: str) -> nn.Module:
        """To float32; spikes stay 0 and 1."""
        return v2.ToDtype(torch.float32)


def yin_yang(size: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points (x, y, 1 - x, 1 - y) [size, 4] and their classes [size], balanced: first a class, then a point of it.

    A class is drawn uniformly, then points of the square until one lies in the symbol and has that class. With numpy's
    legacy generator and the published seeds these are the published points.
    """
    draw = np.random.RandomState(seed)
    points, labels = np.empty((size, 4)), np.empty(size, np.int64)
    for index in range(size):
        labels[index] = draw.randint(3)
        while True:
            x, y = draw.rand(2) * 2 * BIG
            if math.hypot(x - BIG, y - BIG) <= BIG and which_class(x, y) == labels[index]:
                break
        points[index] = x, y, 1 - x, 1 - y
    return points, labels


def which_class(x: float, y: float) -> int:
    """The class of a point of the symbol: 2 in a dot, else 1 in the yang and 0 in the yin.

    The yang is the left half circle of radius 0.25 with the upper half of the symbol without the right one.
    """
    left, right = math.hypot(x - BIG / 2, y - BIG), math.hypot(x - 3 * BIG / 2, y - BIG)
    if left < SMALL or right < SMALL:
        return 2
    return int(left <= BIG / 2 or (y > BIG and right > BIG / 2))
