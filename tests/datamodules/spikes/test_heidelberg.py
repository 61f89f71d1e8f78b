import gc
import pickle

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.errors import DataError
from datamodules.spikes.heidelberg import SHDDataModule, SSCDataModule

WORDS = [f"word {label}" for label in range(20)]


def write(file, samples=24, words=20, seed=0, speakers=(0, 1, 11), **other):
    """The real layout; returns times and units of every sample."""
    draw = np.random.default_rng(seed)
    rows = [(draw.random(n).astype(np.float16), draw.integers(0, 700, n).astype(np.uint16)) for n in range(samples)]
    content = {
        "labels": np.arange(samples, dtype=np.uint16) % words,
        "extra/keys": np.array([f"word {label}" for label in range(words)], "S"),
        "extra/speaker": np.array(speakers, np.uint16)[np.arange(samples) % len(speakers)],
    } | other
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as data:
        for part, (name, kind) in enumerate((("times", np.float16), ("units", np.uint16))):
            dataset = data.create_dataset(f"spikes/{name}", samples, h5py.vlen_dtype(kind))
            for index, row in enumerate(rows):
                dataset[index] = row[part]
        for name, values in content.items():
            if values is not None:
                data[name] = values
    return rows


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "SHD/shd_train.h5")
    write(tmp_path / "SHD/shd_test.h5", 7, seed=1, speakers=(4, 5, 0))
    return tmp_path


def test_samples_come_back_as_written(tmp_path, root):
    rows = write(root / "SHD/shd_train.h5", seed=5)
    data = SHDDataModule(str(root), dt=2.0, num_workers=0)
    data.setup("fit")
    assert {split: len(source) for split, source in data.splits.items()} == {"train": 16, "val": 8, "test": 7}
    for split, members in (("train", [i for i in range(24) if i % 3 < 2]), ("val", range(2, 24, 3))):
        for index, member in enumerate(members):
            train, label = data.trains[split][index]
            assert label == member % 20
            assert train.time.tolist() == (1000 * rows[member][0].astype(float)).tolist()
            assert train.unit.tolist() == rows[member][1].tolist()
    x, y = next(iter(data.val_dataloader()))
    assert x.shape == (700, 8, 700)
    assert x.sum((0, 2)).tolist() == list(range(2, 24, 3)), "no spike is lost"
    assert y.tolist() == [i % 20 for i in range(2, 24, 3)]
    assert data.label_names == WORDS
    assert data.input_cfg["dt"] == 2.0
    assert SHDDataModule(root=str(tmp_path / "SHD")).label_names == WORDS, "directly in root"


def test_neighbours_are_summed(root):
    data = SHDDataModule(root=str(root), unit_sum=5, num_workers=0)
    data.setup("fit")
    x, _ = next(iter(data.val_dataloader()))
    fine = SHDDataModule(root=str(root), num_workers=0)
    fine.setup("fit")
    assert x.shape == (140, 8, 140)
    assert torch.equal(x, next(iter(fine.val_dataloader()))[0].unflatten(2, (140, 5)).sum(3))


def test_augmentation_is_for_training_and_travels(root):
    data = SHDDataModule(root=str(root), shift_units=40, shift_time=20.0, jitter_time=1.0, blend=0.5, num_workers=0)
    data.setup("fit")
    train = pickle.loads(pickle.dumps(data.splits["train"]))  # as to a loading process that is spawned
    assert torch.equal(train[9, 1, 0][0], data.splits["train"][9, 1, 0][0])
    assert any(not torch.equal(train[9, 1, 0][0], train[9, seed, 0][0]) for seed in range(2, 5))
    assert torch.equal(data.splits["val"][3, 1, 0][0], data.splits["val"][3, 2, 0][0])
    plain = SHDDataModule(root=str(root), shift_units=40, blend=0.5, augment=False, num_workers=0)
    plain.setup("fit")
    assert torch.equal(plain.splits["train"][9, 1, 0][0], plain.splits["train"][9, 2, 0][0])


def test_loading_processes_see_the_same(root):
    one, two = (
        SHDDataModule(root=str(root), blend=0.5, shift_units=9, batch_size=8, num_workers=n, unit_sum=5) for n in (0, 2)
    )
    batches = []
    for data in (one, two):
        data.setup("fit")
        batches.append([x for x, _ in data.train_dataloader()])
    assert len(batches[0]) == 2
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


def test_no_file_stays_open(root):
    SHDDataModule(root=str(root)).setup("fit")
    gc.collect()
    assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE) == 0


def test_ssc_has_official_splits(tmp_path):
    for part, samples in (("train", 12), ("valid", 5), ("test", 6)):
        write(tmp_path / f"ssc_{part}.h5", samples, 35)
    data = SSCDataModule(root=str(tmp_path), num_workers=0)
    assert data.label_names[34] == "word 34"
    data.setup("fit")
    assert {split: len(source) for split, source in data.splits.items()} == {"train": 12, "val": 5, "test": 6}
    assert next(iter(data.test_dataloader()))[0].shape == (100, 6, 700)
    (tmp_path / "ssc_valid.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"ssc_valid.h5 not found in .*SSC or .*zenkelab.org"):
        SSCDataModule(root=str(tmp_path)).setup("fit")


def test_late_spikes_are_told(root):
    with pytest.warns(UserWarning, match=r"% of the spikes come after 500 ms and are lost. Set a longer `duration`"):
        SHDDataModule(root=str(root), duration=500.0).setup("fit")


def test_speakers_must_be_there(root):
    with pytest.raises(ValueError, match=r"val_speakers: expected some of those in .*, 0, 1, 11, one left"):
        SHDDataModule(root=str(root), val_speakers=[3]).setup("fit")
    with pytest.raises(ValueError, match="one left for training"):
        SHDDataModule(root=str(root), val_speakers=[0, 1, 11]).setup("fit")
    with pytest.raises(ValueError, match="nobody twice, found"):
        SHDDataModule(val_speakers=[])
    with pytest.raises(ValueError, match=r"duration: expected a time in ms, > 0 and at most 1e\+06, found inf"):
        SHDDataModule(duration=float("inf"))
    assert SHDDataModule(root="nowhere").label_names[19] == "19"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": None}, r"\(.*labels.*\). Get it again"),
        ({"labels": np.full(24, 20, np.uint16)}, r"labels\[0\] is 20; expected 0 to 19"),
        ({"labels": np.full(24, 0.5)}, "labels is float64"),
        ({"labels": np.zeros(20, np.uint16)}, "numbers of samples differ"),
        ({"extra/speaker": np.zeros(3, np.uint16)}, "numbers of samples differ"),
        ({"spikes/other": None, "labels": np.zeros((24, 1), np.uint16)}, r"labels is uint16 \(24, 1\)"),
    ],
)
def test_files_that_are_wrong(root, content, message):
    write(root / "SHD/shd_train.h5", **content)
    with pytest.raises(DataError, match=message) as error:
        SHDDataModule(root=str(root)).setup("fit")
    assert error.value.file.name == "shd_train.h5"


@pytest.mark.parametrize(
    ("name", "kind", "row", "message"),
    [
        ("times", np.float16, [0.1, np.nan], "sample 2 of spikes, spike 1 has time nan"),
        ("units", np.uint16, [3, 700], "sample 2 of spikes, spike 1 has unit 700"),
        ("units", np.uint16, [3], r"sample 2 of spikes has times of float16 \(2,\) and units of uint16 \(1,\)"),
        ("times", np.int32, [3, 4], "has times of int32"),
    ],
)
def test_spikes_that_are_wrong(root, name, kind, row, message):
    file = root / "SHD/shd_train.h5"
    write(file)
    with h5py.File(file, "a") as data:
        kept = list(data[f"spikes/{name}"][:])
        del data[f"spikes/{name}"]
        dataset = data.create_dataset(f"spikes/{name}", 24, h5py.vlen_dtype(kind))
        for index, values in enumerate(kept):
            dataset[index] = row if index == 2 else values.astype(kind)
    with pytest.raises(DataError, match=message):
        SHDDataModule(root=str(root)).setup("fit")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels", "a group"),
        ("spikes", np.arange(3)),
        ("spikes/times", np.float16(3)),
        ("extra/keys", "a group"),
        ("extra/keys", b"zero"),
        ("extra/keys", np.array([b"\xff"] * 20)),
    ],
)
def test_something_else_in_the_place_of_rows(root, name, content):
    with h5py.File(root / "SHD/shd_train.h5", "a") as file:
        del file[name]
        if isinstance(content, str):
            file.create_group(name)
        else:
            file[name] = content
    data = SHDDataModule(root=str(root))
    with pytest.raises(DataError, match="shd_train.h5: no such HDF5 file as expected"):
        data.setup("fit" if data.label_names else "")


def test_spikes_in_no_rows(root):
    file = root / "SHD/shd_train.h5"
    with h5py.File(file, "a") as data:
        del data["spikes/times"]
        data["spikes/times"] = np.zeros(24)
    with pytest.raises(DataError, match=r"has times of float64 \(\)"):
        SHDDataModule(root=str(root)).setup("fit")


@settings(max_examples=25)
@given(st.data())
def test_a_truncated_file_is_named(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("shd")
    write(root / "shd_train.h5")
    write(root / "shd_test.h5", 3)
    whole = (root / "shd_test.h5").read_bytes()
    (root / "shd_test.h5").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DataError, match="shd_test.h5"):
        SHDDataModule(root=str(root)).setup("fit")


@pytest.mark.parametrize(
    ("name", "value"),
    [("dt", 0), ("duration", float("nan")), ("unit_sum", 0), ("shift_units", -1), ("blend", 1.5), ("jitter_time", -1)],
)
def test_arguments_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"{name}: .*found {value}"):
        SHDDataModule(**{name: value})
