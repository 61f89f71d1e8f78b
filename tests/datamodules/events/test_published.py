"""Every published set of event recordings: fake files in the real byte layout, read by the real code."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import datamodules
from datamodules.errors import DataError
from datamodules.events import published as published_events
from datamodules.events.cifar10_dvs import CLASSES as CIFAR10
from datamodules.events.frames import Frames
from datamodules.events.ncaltech101 import CLASSES as CALTECH
from datamodules.events.published import PublishedEventDataModule, hold_out, number, recordings

LETTERS = "abcdefghiklmnopqrstuvwxy"
WRITERS = [(3000 * k, 3000 * (k + 1)) for k in range(20)]  # µs


@dataclass
class Fake:
    """A recording: its file, its class or the (class, start, stop) of its parts, and how it is written."""

    file: str
    label: Any
    how: dict[str, Any] = field(default_factory=dict)


@dataclass
class Set:
    """A dataset: its name, the class in tonic that downloads it, recordings, and text files."""

    name: str
    tonic: str | None
    fakes: list[Fake]
    texts: dict[str, str] = field(default_factory=dict)


def users(numbers):
    return [(f"user{number:02d}_{light}", number) for number in numbers for light in ("lab", "led")]


def ibm(numbers):
    spans = [(1, 0, 20_000), (7, 20_000, 41_000), (11, 45_000, 60_000)]  # classes count from 1
    parts = [(label - 1, start, stop) for label, start, stop in spans]
    rows = "".join(f"{label},{start},{stop}\n" for label, start, stop in spans)
    fakes = [Fake(f"DvsGesture/{name}.aedat", parts, {"version": 3}) for name, _ in users(numbers)]
    texts = {
        f"DvsGesture/{name}_labels.csv": f"class,startTime_usec,endTime_usec\n{rows}" for name, _ in users(numbers)
    }
    return fakes, texts, "".join(f"{name}.aedat\n" for name, _ in users(numbers))


def dvs_gesture_ibm():
    (train, some, first), (test, others, second) = ibm(range(1, 11)), ibm(range(24, 26))
    lists = {"DvsGesture/trials_to_train.txt": first, "DvsGesture/trials_to_test.txt": second}
    return Set("DVSGestureDataModule", None, train + test, some | others | lists)


def dvs_gesture_tonic():
    fakes = [
        Fake(f"DVSGesture/{part}/{name}/{label}.npy", label)
        for part, numbers in (("ibmGestureTrain", range(1, 11)), ("ibmGestureTest", range(24, 26)))
        for name, _ in users(numbers)
        for label in (0, 6, 10)
    ]
    return Set("DVSGestureDataModule", "DVSGesture", fakes)


def nomniglot():
    fakes, texts = [], {}
    rows = "".join(f"{k},{start},{stop}\n" for k, (start, stop) in enumerate(WRITERS))
    names = [("background", "Greek", 1), ("background", "Greek", 2), ("evaluation", "Atlantean", 1)]
    for label, (part, alphabet, k) in zip((1, 2, 0), names, strict=True):
        stem = f"N-Omniglot/dvs_{part}/{alphabet}/character{k:02d}/{100 + label:04d}"
        parts = [(label, start, stop) for start, stop in WRITERS]
        fakes.append(Fake(f"{stem}.aedat4", parts, {"size": (346, 260), "n": 60}))
        texts[f"{stem}.csv"] = f",start,end\n{rows}"
    return Set("NOmniglotDataModule", None, fakes, texts)


SETS = {
    "nmnist": Set(
        "NMNISTDataModule",
        "NMNIST",
        [
            Fake(f"NMNIST/{part}/{k}/{100 * k + i:05d}.bin", k)
            for part, count in (("Train", 12), ("Test", 1))
            for k in range(10)
            for i in range(count)
        ],
    ),
    "ncaltech101": Set(
        "NCaltech101DataModule",
        "NCALTECH101",
        [
            Fake(f"NCALTECH101/Caltech101/{name}/image_{i:04d}.bin", k, {"size": (233, 172)})
            for k, name in enumerate(CALTECH)
            for i in range(1, 4)
        ],
    ),
    "cifar10_dvs": Set(
        "CIFAR10DVSDataModule",
        "CIFAR10DVS",
        [
            Fake(f"CIFAR10DVS/{name}/cifar10_{name}_{i}.aedat4", k, {"size": (128, 128)})
            for k, name in enumerate(CIFAR10)
            for i in range(12)
        ],
    ),
    "cifar10_dvs_original": Set(
        "CIFAR10DVSDataModule",
        None,
        [Fake(f"CIFAR10DVS/{name}/cifar10_{name}_{i}.aedat", k) for k, name in enumerate(CIFAR10) for i in range(12)],
    ),
    "dvs_gesture_ibm": dvs_gesture_ibm(),
    "dvs_gesture_tonic": dvs_gesture_tonic(),
    "ncars": Set(
        "NCARSDataModule",
        None,
        [
            Fake(f"Prophesee_Dataset_n_cars/n-cars_{part}/{name}/obj_{i:06d}_td.dat", k)
            for part in ("train", "test")
            for k, name in enumerate(("background", "cars"))
            for i in range(95, 105)
        ],
    ),
    "asl_dvs": Set(
        "ASLDVSDataModule",
        "ASLDVS",
        [Fake(f"ASLDVS/{letter}/{letter}_{i:04d}.mat", k) for k, letter in enumerate(LETTERS) for i in range(1, 4)],
    ),
    "nomniglot": nomniglot(),
}
each_set = pytest.mark.parametrize("fakes", SETS.values(), ids=SETS.keys())


def build(fakes, root, record, seed=None):
    """Write a dataset, in an order that depends on the seed; the events of each sample."""
    written = {}
    order = list(fakes.fakes)
    if seed is not None:
        random.Random(seed).shuffle(order)
    for fake in order:
        events = record(root / fake.file, seed=fakes.fakes.index(fake), **fake.how)
        for label, start, stop in fake.label if isinstance(fake.label, list) else [(fake.label, None, None)]:
            inside = events[(events[:, 0] >= (start or 0)) & (events[:, 0] < (stop or np.inf))]
            written[fake.file, start, stop] = label, inside
    for file, text in fakes.texts.items():
        (root / file).write_text(text)
    return written


def module(fakes, root, **kwargs) -> Any:
    cls = getattr(datamodules, fakes.name)
    return cls(root=str(root), num_workers=0, cache_gb=0.0, representation=Frames(num_steps=1), **kwargs)


def splits_of(data):
    """(file, start, stop) of the samples of every split, in their order."""
    return {
        split: [(sample.file.relative_to(data.root).as_posix(), sample.start, sample.stop) for sample in samples]
        for split, samples in data.find().items()
    }


@each_set
def test_what_was_written_is_read(fakes, tmp_path, record):
    written = build(fakes, tmp_path, record)
    data = module(fakes, tmp_path)
    data.prepare_data()
    data.setup("fit")
    width, height, _ = data.sensor_size
    for split, keys in splits_of(data).items():
        assert keys
        for index, key in enumerate(keys):
            label, events = written.pop(key)
            x, y = data.splits[split].source[index]
            assert y == label
            assert x.shape == (1, 2, height, width)
            expected = np.zeros((2, height, width))
            np.add.at(expected, (events[:, 3], events[:, 2], events[:, 1]), 1)
            np.testing.assert_array_equal(x[0].numpy(), expected)
            sample = data.find()[split][index] if index == 0 else None
            if sample:
                found = data.reader(sample)
                np.testing.assert_array_equal(np.stack([found.t, found.x, found.y, found.p], 1), events)
    assert not written  # every sample is in a split, and in one only


@each_set
def test_a_batch(fakes, tmp_path, record):
    build(fakes, tmp_path, record)
    data = module(fakes, tmp_path, batch_size=2)
    data.setup("fit")
    x, y = next(iter(data.train_dataloader()))
    assert x.shape == (1, 2, *data.input_cfg["input_size"])
    assert x.dtype == torch.float32
    assert len(data.label_names) == data.num_classes > max(y)


@each_set
def test_the_split_depends_on_names_only(fakes, tmp_path, record):
    build(fakes, tmp_path / "one", record)
    build(fakes, tmp_path / "two", record, seed=1)
    assert splits_of(module(fakes, tmp_path / "one")) == splits_of(module(fakes, tmp_path / "two"))


@each_set
def test_each_class_is_in_each_split(fakes, tmp_path, record):
    build(fakes, tmp_path, record)
    data = module(fakes, tmp_path)
    labels = [{sample.label for sample in samples} for samples in data.find().values()]
    assert labels[0] == labels[1] == labels[2]


@pytest.mark.parametrize("name", [name for name in SETS if name not in ("cifar10_dvs_original", "dvs_gesture_ibm")])
def test_missing_data(name, tmp_path, monkeypatch):
    fakes = SETS[name]
    (tmp_path / "set.zip").touch()
    if fakes.tonic:
        monkeypatch.setattr(f"tonic.datasets.{fakes.tonic}", offline)
    with pytest.raises(FileNotFoundError) as error:  # N-Omniglot needs its folders at once
        module(fakes, tmp_path).prepare_data()
    cls = getattr(datamodules, fakes.name)
    for part in (cls.title, cls.files, cls.home, str(tmp_path / "set.zip"), "unpacked"):
        assert part in str(error.value)
    if fakes.tonic:
        assert "could not be downloaded (no network)" in str(error.value)
        with pytest.raises(FileNotFoundError, match="`prepare_data` has not been called"):
            module(fakes, tmp_path).setup("fit")


def offline(*args, **kwargs):
    raise OSError("no network")


@pytest.mark.parametrize("name", [name for name, fakes in SETS.items() if fakes.tonic])
def test_tonic_downloads_what_is_missing(name, tmp_path, record, monkeypatch):
    fakes, calls = SETS[name], []

    def fetch(root, **kwargs):
        calls.append(kwargs)
        build(fakes, Path(root), record)

    monkeypatch.setattr(f"tonic.datasets.{fakes.tonic}", fetch)
    data = module(fakes, tmp_path)
    data.prepare_data()
    assert data.find()["test"]
    number_of_calls = len(calls)
    data.prepare_data()
    assert len(calls) == number_of_calls > 0


@pytest.mark.parametrize("name", ["cifar10_dvs", "nmnist"])
def test_a_download_without_what_is_needed(name, tmp_path, monkeypatch):
    monkeypatch.setattr(f"tonic.datasets.{SETS[name].tonic}", lambda root, **kwargs: None)
    with pytest.raises(FileNotFoundError, match="were not in what was downloaded"):
        module(SETS[name], tmp_path).prepare_data()


@each_set
def test_a_missing_folder_is_named(fakes, tmp_path, record):
    build(fakes, tmp_path, record)
    data = module(fakes, tmp_path)
    folder = next(place for layout in data.layouts if (place := tmp_path / layout.folder / layout.parts[-1]).exists())
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(FileNotFoundError, match=str(folder)):
        data.find()


def sample_of(data, file):
    """Split and index of the last sample of a file."""
    found = [
        (split, i) for split, samples in data.find().items() for i, sample in enumerate(samples) if sample.file == file
    ]
    return found[-1]


@each_set
@pytest.mark.parametrize(
    "damage", [lambda content: content[:-3], lambda content: b"", lambda content: b"<html>not found</html>"]
)
def test_a_damaged_file_is_named(fakes, tmp_path, record, damage):
    build(fakes, tmp_path, record)
    file = tmp_path / fakes.fakes[-1].file
    file.write_bytes(damage(file.read_bytes()))
    data = module(fakes, tmp_path)
    data.setup("fit")
    split, index = sample_of(data, file)
    with pytest.raises(DataError) as error:
        data.splits[split].source[index]
    assert error.value.file == file


@each_set
def test_a_damaged_file_is_left_out_if_asked(fakes, tmp_path, record):
    build(fakes, tmp_path, record)
    file = tmp_path / fakes.fakes[-1].file
    file.write_bytes(b"")
    data = module(fakes, tmp_path, on_error="skip")
    with pytest.warns(UserWarning, match=str(file)):
        data.setup("fit")
    for split, samples in data.find().items():
        assert len(data.splits[split]) == len([sample for sample in samples if sample.file != file])


@each_set
def test_an_event_outside_of_the_sensor_is_an_error(fakes, tmp_path, record):
    if fakes.name in ("DVSGestureDataModule", "CIFAR10DVSDataModule") and not fakes.tonic:
        pytest.skip("the format itself has no such address")
    build(fakes, tmp_path, record)
    fake = fakes.fakes[-1]
    data = module(fakes, tmp_path)
    width, height, _ = data.sensor_size
    if fake.file.endswith(".bin"):
        (tmp_path / fake.file).write_bytes(bytes([250, 33, 0, 0, 1]))
    else:
        record(tmp_path / fake.file, seed=0, **{**fake.how, "size": (width + 200, height)})
    data.setup("fit")
    split, index = sample_of(data, tmp_path / fake.file)
    with pytest.raises(DataError, match="x = "):
        data.splits[split].source[index]


def test_a_recording_in_two_formats_counts_once(tmp_path):
    for name in ("b.aedat", "b.aedat4", "a.aedat", "._a.aedat", "c.txt"):
        (tmp_path / name).touch()
    assert [file.name for file in recordings(tmp_path, (".aedat4", ".aedat"))] == ["a.aedat", "b.aedat4"]
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        recordings(tmp_path, (".mat",))


@pytest.mark.parametrize(
    ("n", "fraction", "count"), [(1000, 0.1, 100), (30, 0.1, 3), (31, 0.1, 3), (5, 0.1, 1), (2, 0.9, 1)]
)
def test_hold_out(n, fraction, count):
    first, last = hold_out(range(n), fraction)
    assert (first, last) == (list(range(n - count)), list(range(n - count, n)))


def test_nothing_to_hold_out_of():
    with pytest.raises(ValueError, match="Of 1 "):
        hold_out([1], 0.5)


def test_the_number_in_a_name():
    assert number(Path("cifar10_dog_7.aedat")) == 7
    with pytest.raises(ValueError, match="no number"):
        number(Path("dog.aedat"))


def test_every_published_set_is_tested():
    names = {name for name in dir(datamodules) if name.endswith("DataModule")}
    classes = [getattr(datamodules, name) for name in names]
    published = {cls.__name__ for cls in classes if issubclass(cls, PublishedEventDataModule)}
    assert published - {"PublishedEventDataModule"} == {fakes.name for fakes in SETS.values()}
    assert published_events.ARCHIVES
