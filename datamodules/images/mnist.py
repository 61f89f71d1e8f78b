"""MNIST and the datasets in its file format."""

import gzip
import math
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset, TensorDataset
from torchvision import datasets
from torchvision.transforms import v2

from ..base import BaseDataModule
from ..download import download, not_found
from ..splits import stratified_split


class MNISTDataModule(BaseDataModule):
    """70,000 grey images of handwritten digits, 28 x 28 pixels.

    Splits, all fixed: test = the official 10,000; validation = `val_fraction` of the official training images,
    stratified (5,000); training = the other 55,000. Augmentation: small shifts and rotations, no flip.

    The four idx files are read from `root/MNIST/raw`, packed (.gz) or unpacked, and downloaded if one is missing.

    Args:
        root: Folder that holds (or receives) the folder `MNIST`.
        val_fraction: Part of the official training images for validation.
        kwargs: Arguments of `BaseDataModule`.

    Raises:
        FileNotFoundError: If a file is missing and cannot be downloaded (`prepare_data`, `setup`).
        ValueError: If a file is truncated, corrupt or of another dataset (`setup`).

    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998.
    """

    num_classes = 10
    in_chans = 1
    image_size = 28
    mean = (0.1307,)
    std = (0.3081,)
    label_names = tuple("0123456789")
    augmentation: Sequence[nn.Module] = (
        v2.RandomAffine(degrees=10, translate=(0.1, 0.1), interpolation=v2.InterpolationMode.BILINEAR),
    )
    dataset: Any = datasets.MNIST
    home = "http://yann.lecun.com/exdb/mnist"

    def __init__(self, root: str = "data", val_fraction: float = 5_000 / 60_000, **kwargs: Any) -> None:
        super().__init__(val_fraction=val_fraction, **kwargs)
        self.root = root

    @property
    def folder(self) -> Path:
        """Where the idx files are."""
        return Path(self.root, self.dataset.__name__, "raw").absolute()

    def missing(self) -> list[Path]:
        """The idx files that are there neither packed nor unpacked."""
        packed = [self.folder / name for name, _ in self.dataset.resources]
        return [file for file in packed if not (file.exists() or file.with_suffix("").exists())]

    def prepare_data(self) -> None:
        """Download what is missing."""
        fetch = partial(self.dataset, self.root, download=True)
        download(self.dataset.__name__, fetch, self.missing, self.home)

    def load(self) -> dict[str, Dataset[Any]]:
        """Read the idx files and split the training images."""
        if missing := self.missing():
            raise not_found(self.dataset.__name__, missing, self.home, "`prepare_data` has not been called")
        images, labels = self._read("train")
        train, val = stratified_split(labels, self.val_fraction)
        return {
            "train": TensorDataset(images[train], labels[train]),
            "val": TensorDataset(images[val], labels[val]),
            "test": TensorDataset(*self._read("t10k")),
        }

    def _read(self, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Images [n, T=1, C=1, 28, 28] uint8 and labels [n] int64 of "train" or "t10k"."""
        image_file, label_file = (self.folder / f"{part}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
        images, labels = read_idx(image_file), read_idx(label_file)
        if images.shape[1:] != (self.image_size, self.image_size):
            raise ValueError(f"{image_file}: images are {images.shape[1:]}, expected {(self.image_size,) * 2} pixels.")
        if labels.shape != images.shape[:1]:
            raise ValueError(f"{label_file}: {labels.shape} labels for the {len(images)} images of {image_file.name}.")
        if labels.max() >= self.num_classes:
            raise ValueError(f"{label_file}: found label {labels.max()}, expected 0..{self.num_classes - 1}.")
        return torch.from_numpy(images)[:, None, None], torch.from_numpy(labels).long()


class FashionMNISTDataModule(MNISTDataModule):
    """70,000 grey images of clothes, 28 x 28 pixels; a drop-in replacement of MNIST that is harder.

    Splits as for MNIST: test = the official 10,000, validation 5,000 (stratified) and training 55,000 of the official
    training images. Augmentation: shifts by up to 2 pixels and horizontal flips. Files in `root/FashionMNIST/raw`.

    Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", 2017, arXiv:1708.07747, MIT licence.
    """

    mean = (0.2860,)
    std = (0.3530,)
    label_names = tuple(datasets.FashionMNIST.classes)
    augmentation = (v2.RandomCrop(28, padding=2), v2.RandomHorizontalFlip())
    dataset = datasets.FashionMNIST
    home = "https://github.com/zalandoresearch/fashion-mnist"


def read_idx(file: Path) -> NDArray[np.uint8]:
    """The array of bytes in an idx file: 2 zero bytes, the type (8 = uint8), the rank, big-endian sizes, then the data.

    Reads `file` or, if that is not there, `file`.gz: a folder that cannot be written to needs no unpacking.

    Raises:
        ValueError: If the file is no idx file of bytes, or has more or fewer bytes than its header says.
    """
    file = file if file.exists() else file.with_name(f"{file.name}.gz")
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{file} cannot be unpacked ({error}). Delete it; it is downloaded again.") from error
    start = 4 + 4 * data[3] if len(data) > 3 else 4
    if len(data) < start or data[:3] != b"\x00\x00\x08":
        raise ValueError(
            f"{file} is not an idx file of bytes: it starts with {data[:4]!r}. Delete it and get it again."
        )
    shape = tuple(np.frombuffer(data[4:start], ">u4").tolist())
    if len(data) != start + math.prod(shape):
        raise ValueError(
            f"{file} is truncated or corrupt: its header says {shape}, which takes {start + math.prod(shape)} bytes, "
            f"but it has {len(data)}. Delete it; it is downloaded again."
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()  # copy: torch wants to own its memory
