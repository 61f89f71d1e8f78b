"""Fake data in the original idx layout, packed and unpacked; the real Fashion-MNIST where it is at hand."""

import gzip
import struct
from urllib.error import URLError

import numpy as np
import pytest
import torch

from datamodules import FashionMNISTDataModule, MNISTDataModule
from datamodules.images.mnist import read_idx

SIZES = {"train": 120, "t10k": 30}
FILES = [f"{part}-{kind}-ubyte" for part in SIZES for kind in ("images-idx3", "labels-idx1")]


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype("u1").tobytes()


def write(root, name="MNIST", packed=False):
    """Images whose pixels all equal 10 * label + 1."""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for part, size in SIZES.items():
        labels = np.arange(size) % 10
        images = np.broadcast_to((10 * labels + 1)[:, None, None], (size, 28, 28))
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            file = folder / f"{part}-{kind}-ubyte{'.gz' if packed else ''}"
            file.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return folder


def offline(*args, **kwargs):
    raise URLError("no network in tests")


@pytest.fixture
def no_network(monkeypatch):
    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", offline)


def ready(cls, root, **kwargs):
    data = cls(root=str(root), num_workers=0, **kwargs)
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cls", [MNISTDataModule, FashionMNISTDataModule])
def test_images_labels_and_splits(tmp_path, no_network, cls, packed):
    folder = write(tmp_path, cls.dataset.__name__, packed)
    listing = sorted(folder.iterdir())
    data = ready(cls, tmp_path, augment=False, batch_size=10)
    assert sorted(folder.iterdir()) == listing  # a packed file is read in place: the folder may be read-only
    assert {name: len(part) for name, part in data.splits.items()} == {"train": 110, "val": 10, "test": 30}
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for x, y in loader:
            assert x.shape == (1, 10, 1, 28, 28)
            pixels = (x * cls.std[0] + cls.mean[0]) * 255
            assert torch.allclose(pixels, (10 * y + 1.0)[None, :, None, None, None].expand_as(x), atol=1e-3)
    ((_, validation_labels),) = data.val_dataloader()
    assert sorted(validation_labels.tolist()) == list(range(10))


def test_the_official_split_sizes():
    data = FashionMNISTDataModule()
    assert round(data.val_fraction * 60_000) == 5_000
    assert data.label_names[0] == "T-shirt/top"


def test_only_what_fits_the_data_set_is_flipped(tmp_path, no_network):
    for cls, flips in ((MNISTDataModule, False), (FashionMNISTDataModule, True)):
        names = [type(step).__name__ for step in cls.augmentation]
        assert ("RandomHorizontalFlip" in names) == flips
        write(tmp_path, cls.dataset.__name__)
        x, _ = next(iter(ready(cls, tmp_path).train_dataloader()))
        assert x.shape[-2:] == (28, 28)


def test_missing_files_are_named_with_their_paths(tmp_path, no_network):
    folder = write(tmp_path)
    (folder / FILES[1]).unlink()
    (folder / FILES[2]).unlink()
    with pytest.raises(FileNotFoundError, match="could not be downloaded") as error:
        MNISTDataModule(root=str(tmp_path)).prepare_data()
    message = str(error.value)
    assert f"{folder / FILES[1]}.gz" in message
    assert f"{folder / FILES[2]}.gz" in message
    assert FILES[0] not in message.split("missing")[1].split("no network")[-1]
    assert "yann.lecun.com" in message
    assert error.value.__cause__ is not None


def test_setup_does_not_download(tmp_path, monkeypatch):
    monkeypatch.setattr(
        MNISTDataModule, "dataset", type("MNIST", (MNISTDataModule.dataset,), {"download": pytest.fail})
    )
    with pytest.raises(FileNotFoundError, match="`prepare_data` has not been called"):
        MNISTDataModule(root=str(tmp_path)).setup("fit")


def test_a_root_that_cannot_be_written_to(tmp_path, no_network):
    (tmp_path / "MNIST").write_text("a file where the folder should be")
    with pytest.raises(FileNotFoundError, match=r"(?s)could not be downloaded \(.*Not a directory"):
        MNISTDataModule(root=str(tmp_path)).prepare_data()


def test_a_download_is_read(tmp_path, monkeypatch):
    def download(self):
        write(tmp_path)

    monkeypatch.setattr(MNISTDataModule.dataset, "download", download)
    assert len(ready(MNISTDataModule, tmp_path).splits["test"]) == 30


@pytest.mark.parametrize("name", FILES)
def test_truncated_file(tmp_path, name):
    file = write(tmp_path) / name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{file} is truncated or corrupt: its header says .* Delete it"):
        ready(MNISTDataModule, tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[: len(b) // 2], "cannot be unpacked"),
        (lambda b: b"not gzip", "cannot be unpacked"),
        (lambda b: b[:30] + bytes([b[30] ^ 255]) + b[31:], "cannot be unpacked"),
        (lambda b: gzip.compress(b"<html>not found</html>"), "is not an idx file"),
        (lambda b: gzip.compress(gzip.decompress(b) + b"0"), "is truncated or corrupt"),
    ],
)
def test_damaged_packed_file(tmp_path, damage, message):
    file = write(tmp_path, packed=True) / f"{FILES[0]}.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=f"{file} {message}"):
        ready(MNISTDataModule, tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-images-idx3-ubyte", np.zeros((120, 32, 32)), r"images are \(32, 32\), expected \(28, 28\)"),
        ("train-labels-idx1-ubyte", np.zeros(119), r"\(119,\) labels for the 120 images"),
        ("t10k-labels-idx1-ubyte", np.full(30, 10), "found label 10, expected 0..9"),
    ],
)
def test_files_of_another_data_set(tmp_path, name, array, message):
    file = write(tmp_path) / name
    file.write_bytes(idx(array))
    with pytest.raises(ValueError, match=f"{file}: {message}"):
        ready(MNISTDataModule, tmp_path)


@pytest.mark.parametrize("data", [b"", b"\x00\x00\x08", b"\x00\x00\x08\x03\x00", b"\x00\x00\x0d\x01\x00\x00\x00\x00"])
def test_read_idx_refuses_what_is_not_idx(tmp_path, data):
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(ValueError, match=str(tmp_path / "f")):
        read_idx(tmp_path / "f")


def test_real_fashion_mnist(real_data):
    data = ready(FashionMNISTDataModule, real_data("fashion-mnist"))
    labels = {name: torch.bincount(part.source.tensors[1]).tolist() for name, part in data.splits.items()}
    assert labels == {"train": [5500] * 10, "val": [500] * 10, "test": [1000] * 10}
    pixels = data.splits["train"].source.tensors[0].float() / 255
    assert (round(pixels.mean().item(), 4), round(pixels.std().item(), 4)) == (0.2860, 0.3530)
