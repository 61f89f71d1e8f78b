"""Heartbeats: the QT database as spikes, with the phase of the beat at every step."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset, TensorDataset
from torchvision.transforms import v2

from ..base import BaseDataModule
from ..errors import DataError
from ..matlab import mat_arrays

STRIDE = 1000  # steps from one window of a record to the next
FIRST = 19  # steps at the beginning of a window that the files call P, whatever they are
UNLABELLED = -100  # what torch's cross-entropy leaves out


class QTDBDataModule(BaseDataModule):
    """Electrocardiograms of two leads as spike trains x [T=1300, N, 4], and the phase of the heartbeat y [T, N].

    A step is 4 ms (250 Hz). A lead spikes in one channel where it rises by a level, in another where it falls. Steps
    have labels of their own, so every step is an answer: `CrossEntropy` is the mean over steps, `test/acc` the share of
    steps. The 8 % of steps that the files leave without a label (y = -100) are read, but neither learned nor counted.

    Splits: the test file (141 windows) is the test. The windows of a file follow each other, 1,000 steps apart, so that
    neighbours of one record share 300 steps, and a random split would validate on what was trained. Here the last
    records of the training file (618 windows) are for validation: a contiguous block of `val_fraction` of the windows,
    rounded up to whole records. Where a record begins is read from the labels, which agree where its windows overlap:
    75 records in the training file, 20 in the test file. Which of the database they are, the files do not say.

    The first 19 steps of a window are called P in the files, and so here, whatever they are. The last, the 1301st,
    holds a mark, -1, in place of a spike, and is left out.

    Args:
        root: Folder of QTDB_train.mat and QTDB_test.mat: x [n, T, 4], y [n, T, 6] one-hot, max_i [n] lengths.
        batch_size: Windows per batch and device.
        num_workers: Loading processes; None and 0 load in the training process.
        seed: Of the order of the training data.
        val_fraction: Part of the training windows that is for validation.

    Raises:
        FileNotFoundError: If a file is missing (`setup`).
        DataError: If a file is no such file (`setup`).
        ValueError: If an argument is out of range, or one record is all there is to train on.

    Source: Laguna et al. 1997, the QT database, PhysioNet (ODC-By); as spikes: Yin, Corradi and Bohté 2021, Nature
    Machine Intelligence 3, arXiv:2103.12593, whose repository has the files.
    """

    num_classes = 6
    in_chans = 4
    image_size = 1
    sequence_ndim = 3
    mean = (0.0,) * in_chans  # spikes are not normalised
    std = (1.0,) * in_chans
    label_names = ("P", "PQ", "QR", "RS", "ST", "TP")
    max_workers = 0
    dt = 4.0  # ms
    home = "https://github.com/byin-cwi/Efficient-spiking-networks"

    def __init__(
        self,
        root: str = "data/ecg_qtdb",
        batch_size: int = 32,
        num_workers: int | None = None,
        seed: int = 0,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(batch_size, num_workers, seed, val_fraction=val_fraction)
        self.root = Path(root)

    @property
    def input_cfg(self) -> dict[str, Any]:
        """What a model must know of its input: the length of a step, too."""
        return super().input_cfg | {"dt": self.dt}

    def load(self) -> dict[str, Dataset[Any]]:
        """Read both files, and keep the last records of the training file for validation."""
        files = {split: self.root / f"QTDB_{split}.mat" for split in ("train", "test")}
        if missing := [file.name for file in files.values() if not file.is_file()]:
            raise FileNotFoundError(
                f"{self.root.absolute()} has no {' and no '.join(missing)}. Get them from {self.home}, or set `root` "
                "to the folder that holds them."
            )
        x, y = read_windows(files["train"])
        starts = record_starts(y)
        cut = max((start for start in starts if start <= round(len(y) * (1 - self.val_fraction))), default=0)
        if cut == 0:
            raise ValueError(
                f"val_fraction = {self.val_fraction} of {len(y)} windows in {len(starts)} records leaves none to train "
                "on. Choose a smaller val_fraction."
            )
        parts = {"train": (x[:cut], y[:cut]), "val": (x[cut:], y[cut:]), "test": read_windows(files["test"])}
        return {split: TensorDataset(*map(torch.from_numpy, arrays)) for split, arrays in parts.items()}

    def transform(self, split: str) -> nn.Module:
        """To float32; spikes stay 0 and 1."""
        return v2.ToDtype(torch.float32)


def record_starts(labels: NDArray[np.int64]) -> list[int]:
    """The windows at which a record begins, of labels [n, T]: those that do not go on as the window before ends."""
    before, after = labels[:-1, STRIDE + FIRST :], labels[1:, FIRST : labels.shape[1] - STRIDE]
    known = (before != UNLABELLED) & (after != UNLABELLED)
    agreeing = (known & (before == after)).sum(1)  # measured: 80 % and more of those known, or none
    return [0, *(np.flatnonzero(2 * agreeing <= known.sum(1)) + 1).tolist()]


def read_windows(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Spikes [n, T, 4] and labels [n, T] of a file, without the last step.

    Raises:
        DataError: If it is no such file.
    """
    content = mat_arrays(file)
    found = {name: content[name].shape for name in ("x", "y", "max_i") if name in content}
    x, y, lengths = (content.get(name, np.empty(0)) for name in ("x", "y", "max_i"))
    steps = x.shape[1] if x.ndim == 3 else 0
    shapes = x.shape == (len(x), steps, 4) and y.shape == (len(x), steps, 6)
    if not shapes or steps <= STRIDE + FIRST + 1 or lengths.size != len(x):
        raise DataError(file, f"expected x [n, 1301, 4], y [n, 1301, 6] and max_i [n], found {found}.")
    if not (lengths == steps).all():
        raise DataError(file, f"max_i says that windows have {lengths.min()}..{lengths.max()} steps, x has {steps}.")
    x, y = x[:, :-1], y[:, :-1]
    if not np.isin(x, (0, 1)).all() or not np.isin(y, (0, 1)).all() or not (y.sum(-1) <= 1).all():
        raise DataError(file, "up to the last step: expected x of 0 and 1, and y one-hot, or 0 without a label.")
    return x.astype(np.uint8), np.where(y.any(-1), y.argmax(-1), UNLABELLED)
