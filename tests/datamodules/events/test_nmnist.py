"""The splits of N-MNIST, and its real recordings where they are at hand, against tonic's reader."""

import tarfile
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from datamodules import NMNISTDataModule
from datamodules.events.frames import Frames


def write(root, per_digit=24):
    for part in ("Train", "Test"):
        for digit in range(10):
            (root / f"NMNIST/{part}/{digit}").mkdir(parents=True)
            for i in range(per_digit):
                (root / f"NMNIST/{part}/{digit}/{100 * digit + i:05d}.bin").touch()


def test_splits(tmp_path):
    write(tmp_path)
    found = NMNISTDataModule(root=str(tmp_path)).find()
    assert {split: len(samples) for split, samples in found.items()} == {"train": 220, "val": 20, "test": 240}
    assert all({sample.file.parts[-3] for sample in found[split]} == {"Train"} for split in ("train", "val"))
    assert not {sample.file for sample in found["train"]} & {sample.file for sample in found["val"]}
    assert set(Counter(sample.label for sample in found["val"]).values()) == {2}
    assert all(sample.label == int(sample.file.parent.name) for samples in found.values() for sample in samples)


def test_the_official_sizes():
    assert round(60_000 * NMNISTDataModule().val_fraction) == 5_000


def test_an_empty_folder_is_named(tmp_path):
    write(tmp_path, per_digit=2)
    for file in (tmp_path / "NMNIST/Train/7").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="NMNIST/Train/7: a class folder without data"):
        NMNISTDataModule(root=str(tmp_path)).find()


def test_real_recordings(tmp_path, real_data):
    from tonic.io import read_mnist_file

    with tarfile.open(next(real_data("nmnist_small").glob("*.tar.xz"))) as archive:
        archive.extractall(tmp_path, islice(archive, 135), filter="data")  # all of Test, some of Train
    for digit in range(10):
        (tmp_path / f"NMNIST/Train/{digit}").mkdir(parents=True, exist_ok=True)
        for file in (tmp_path / f"NMNIST/Test/{digit}").iterdir():
            (tmp_path / f"NMNIST/Train/{digit}/copy_{file.name}").write_bytes(file.read_bytes())
    data = NMNISTDataModule(root=str(tmp_path), num_workers=0, cache_gb=0.0, representation=Frames(num_steps=10))
    data.setup("fit")
    for index, sample in enumerate(data.find()["test"]):
        expected = read_mnist_file(str(sample.file), np.dtype([("x", int), ("y", int), ("t", int), ("p", int)]))
        events = data.reader(sample)
        for name in "xytp":
            np.testing.assert_array_equal(getattr(events, name), expected[name])
        x, y = data.splits["test"].source[index]
        assert (x.shape, y) == ((10, 2, 34, 34), sample.label)
        assert int(x.sum()) == len(expected) > 500
        assert torch.all(x.sum(dim=(1, 2, 3)) > 0)
