"""The two splits of CIFAR10-DVS; reading is tested with all published sets."""

import random
from pathlib import Path

import pytest

from datamodules import CIFAR10DVSDataModule
from datamodules.events.published import number

FILES = sorted(Path(f"dog/cifar10_dog_{i}.aedat") for i in range(1000))


def numbers(files):
    return {number(file) for file in files}


def test_the_common_split_is_the_last_tenth_of_the_names_as_text():
    train, test = CIFAR10DVSDataModule().cut(FILES)
    assert (len(train), len(test)) == (900, 100)
    assert numbers(test) == set(map(int, sorted(map(str, range(1000)))[900:]))
    assert {910, 919, 99, 999, 909} <= numbers(test)
    assert {0, 100, 9, 90, 908} <= numbers(train)


def test_the_split_of_tebn_is_the_numbers_below_100():
    files = FILES.copy()
    random.Random(0).shuffle(files)
    train, test = CIFAR10DVSDataModule(split="tebn").cut(files)
    assert numbers(test) == set(range(100))
    assert numbers(train) == set(range(100, 1000))


@pytest.mark.parametrize(("split", "sizes"), [("first_90", [81, 9, 10]), ("tebn", [9, 1, 100])])
def test_validation_is_cut_out_of_training(tmp_path, split, sizes):
    for name in CIFAR10DVSDataModule.label_names:
        (tmp_path / name).mkdir()  # the folder of the classes itself
        for i in range(100 if split == "first_90" else 110):
            (tmp_path / name / f"cifar10_{name}_{i}.aedat").touch()
    found = CIFAR10DVSDataModule(root=str(tmp_path), split=split).find()
    assert [len(found[part]) for part in ("train", "val", "test")] == [10 * size for size in sizes]
    assert len({sample.file for samples in found.values() for sample in samples}) == 10 * sum(sizes)


def test_an_unknown_split():
    with pytest.raises(ValueError, match=r'split: expected "first_90" or "tebn", found \'random\''):
        CIFAR10DVSDataModule(split="random")


def test_too_few_recordings(tmp_path):
    for name in CIFAR10DVSDataModule.label_names:
        (tmp_path / name).mkdir()
        (tmp_path / name / f"cifar10_{name}_0.aedat").touch()
    with pytest.raises(ValueError, match="Of 1 .*cannot be held out"):
        CIFAR10DVSDataModule(root=str(tmp_path)).find()
