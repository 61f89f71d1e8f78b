"""Fake data in the original layout: pickled batches and a meta file, with their md5 sums entered."""

import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import datasets

from datamodules import CIFAR10DataModule, CIFAR100DataModule

CLASSES = [CIFAR10DataModule, CIFAR100DataModule]


def batch(cls, size):
    """Images whose red, green and blue equal label, label + 1 and label + 2."""
    labels = np.arange(size) % cls.num_classes
    planes = (labels[:, None] + np.arange(3)).repeat(32 * 32, axis=1)
    key = "labels" if cls.num_classes == 10 else "fine_labels"
    return {"data": planes.astype("u1"), key: labels.tolist()}


def write(cls, root, monkeypatch):
    folder = root / cls.dataset.base_folder
    folder.mkdir(parents=True)

    def put(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    per_file = 1000 // len(cls.dataset.train_list)
    train = [[name, put(name, batch(cls, per_file))] for name, _ in cls.dataset.train_list]
    test = [[name, put(name, batch(cls, 100))] for name, _ in cls.dataset.test_list]
    meta = cls.dataset.meta
    md5 = put(meta["filename"], {meta["key"]: list(cls.label_names)})
    for name, value in (("train_list", train), ("test_list", test), ("meta", {**meta, "md5": md5})):
        monkeypatch.setattr(cls.dataset, name, value)
    return folder


def ready(cls, root, **kwargs):
    data = cls(root=str(root), num_workers=0, **kwargs)
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.mark.parametrize("cls", CLASSES)
def test_images_labels_and_splits(tmp_path, monkeypatch, cls):
    write(cls, tmp_path, monkeypatch)
    data = ready(cls, tmp_path, augment=False, batch_size=10)
    assert {name: len(part) for name, part in data.splits.items()} == {"train": 900, "val": 100, "test": 100}
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for x, y in loader:
            assert x.shape == (1, 10, 3, 32, 32)
            for channel in range(3):
                value = (x[0, :, channel] * cls.std[channel] + cls.mean[channel]) * 255
                assert torch.allclose(value, (y + channel).float()[:, None, None].expand_as(value), atol=1e-3)
    labels = torch.cat([y for _, y in data.val_dataloader()])
    assert torch.bincount(labels).tolist() == [100 // cls.num_classes] * cls.num_classes


@pytest.mark.parametrize(
    "options", [{}, {"randaugment": True}, {"erasing": 1.0}, {"randaugment": True, "erasing": 0.5}]
)
def test_augmentation(tmp_path, monkeypatch, options):
    write(CIFAR10DataModule, tmp_path, monkeypatch)
    data = ready(CIFAR10DataModule, tmp_path, batch_size=10, **options)
    x, _ = next(iter(data.train_dataloader()))
    plain = torch.stack([data.splits["train"][index][0] for index in range(10)], dim=1)
    assert x.shape == plain.shape
    assert x.unique().numel() > 10
    if options == {"erasing": 1.0}:  # erased to the mean colour, which is 0 after normalisation
        assert (x.abs() < 0.01).all(dim=2).flatten(2).any(dim=2).all()


def test_erasing_is_a_probability():
    with pytest.raises(ValueError, match=r"erasing: expected a probability in 0..1, found 1.5"):
        CIFAR10DataModule(erasing=1.5)


@pytest.mark.parametrize("cls", CLASSES)
def test_missing_files_are_named_with_their_paths(tmp_path, monkeypatch, cls):
    def offline(*args, **kwargs):
        raise URLError("no network in tests")

    folder = write(cls, tmp_path, monkeypatch)
    gone = folder / cls.dataset.train_list[0][0]
    gone.unlink()
    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", offline)
    with pytest.raises(FileNotFoundError, match=f"{gone}\n") as error:
        cls(root=str(tmp_path)).prepare_data()
    assert "no network in tests" in str(error.value)
    assert "www.cs.toronto.edu" in str(error.value)
    assert str(folder / cls.dataset.test_list[0][0]) not in str(error.value)
    assert isinstance(error.value.__cause__, URLError)
    with pytest.raises(FileNotFoundError, match="`prepare_data` has not been called"):
        cls(root=str(tmp_path)).setup("fit")


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_damaged_file_is_named_and_not_replaced(tmp_path, monkeypatch, name):
    file = write(CIFAR10DataModule, tmp_path, monkeypatch) / name
    file.write_bytes(file.read_bytes()[:-5])
    monkeypatch.setattr(datasets.CIFAR10, "download", pytest.fail)
    with pytest.raises(ValueError, match=f"md5 sum, so truncated or corrupt: {file}. Delete it"):
        ready(CIFAR10DataModule, tmp_path)


def test_the_archive_is_unpacked_without_a_network(tmp_path, monkeypatch):
    folder = write(CIFAR10DataModule, tmp_path / "elsewhere", monkeypatch)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.add(folder, folder.name)
    (tmp_path / datasets.CIFAR10.filename).write_bytes(stream.getvalue())
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(stream.getvalue()).hexdigest())
    assert len(ready(CIFAR10DataModule, tmp_path).splits["test"]) == 100


def test_the_labels_of_cifar100_are_in_the_official_order():
    assert list(CIFAR100DataModule.label_names) == sorted(CIFAR100DataModule.label_names)


@pytest.mark.slow
def test_real_cifar10(tmp_path, real_data):
    archive = real_data("cifar10") / "cifar10_webp_lossless.tar"
    subprocess.run([sys.executable, real_data("cifar10") / "unpack_cifar.py", archive, tmp_path], check=True)
    data = ready(CIFAR10DataModule, tmp_path)
    labels = {name: torch.bincount(part.source.tensors[1]).tolist() for name, part in data.splits.items()}
    assert labels == {"train": [4500] * 10, "val": [500] * 10, "test": [1000] * 10}
    official = datasets.CIFAR10(tmp_path)
    assert list(data.label_names) == official.classes
    pixels = torch.from_numpy(official.data).float() / 255
    assert torch.allclose(pixels.mean((0, 1, 2)), torch.tensor(data.mean), atol=1e-4)
    assert torch.allclose(pixels.std((0, 1, 2)), torch.tensor(data.std), atol=1e-4)
