"""Recordings in folders: any format, sensor size found or given, splits by name."""

import numpy as np
import pytest
import torch

from datamodules import EventFolderDataModule
from datamodules.errors import DataError
from datamodules.events.frames import Frames


def recording(seed, n=50, size=(20, 10)):
    draw = np.random.default_rng(seed)
    columns = np.sort(draw.integers(0, 9000, n)), draw.integers(0, size[0], n), draw.integers(0, size[1], n)
    return np.stack([*columns, draw.integers(0, 2, n)], 1)


def write(root, kinds=(".npy", ".csv", ".npz", ".txt"), **counts):
    """`counts` recordings of each class, in changing formats."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for n in range(count):
            array, file = recording(100 * label + n), root / name / f"{n:02}{kinds[n % len(kinds)]}"
            if file.suffix == ".npy":
                np.save(file, array)
            elif file.suffix == ".npz":
                np.savez(file, **dict(zip("txyp", array.T, strict=True)))
            else:
                np.savetxt(
                    file,
                    array,
                    "%d",
                    "," if file.suffix == ".csv" else " ",
                    comments="",
                    header="t,x,y,p" * (file.suffix == ".csv"),
                )
    return root


def folder(root, **kwargs):
    return EventFolderDataModule(str(root), num_workers=0, **kwargs)


def ready(root, **kwargs):
    data = folder(root, **kwargs)
    data.setup("fit")
    return data


def test_every_format_gives_the_same(tmp_path):
    data = ready(write(tmp_path / "data", left=8, right=8), representation=Frames(num_steps=1))
    assert data.label_names == ["left", "right"]
    assert data.sensor_size == (20, 10, 2)
    seen = 0
    for split in ("train", "val", "test"):
        source = data.splits[split].source
        for sample, (x, label) in zip(source.samples, (source[i] for i in range(len(source))), strict=True):
            expected = np.zeros((2, 10, 20))
            for _, column, row, p in recording(100 * label + int(sample.file.stem)).tolist():
                expected[p, row, column] += 1
            np.testing.assert_array_equal(x[0].numpy(), expected)
            assert sample.file.parent.name == data.label_names[label]
            seen += 1
    assert seen == 16


def test_splits_depend_on_names_alone(tmp_path):
    def names(data):
        return {split: [str(c.file.relative_to(data.root)) for c in samples] for split, samples in data.find().items()}

    one = folder(write(tmp_path / "one", left=20, right=20), seed=1)
    two = folder(write(tmp_path / "two", right=20, left=20), seed=2)
    for split, files in names(one).items():
        assert sorted(files) == sorted(names(two)[split])
    everything = [file for files in names(one).values() for file in files]
    assert len(everything) == len(set(everything)) == 40


def test_folders_of_splits(tmp_path):
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        write(tmp_path / split, left=count, right=count)
    assert {split: len(samples) for split, samples in folder(tmp_path).find().items()} == {
        "train": 10,
        "val": 4,
        "test": 6,
    }


def test_a_split_file(tmp_path):
    write(tmp_path / "data", left=3, right=3)
    files = sorted((tmp_path / "data").glob("*/*"))
    rows = [
        f"{f.relative_to(tmp_path / 'data')},{f.parent.name},{s}"
        for f, s in zip(files, 2 * ["train", "val", "test"], strict=True)
    ]
    (tmp_path / "split.csv").write_text("\n".join(["path,label,split", *rows]))
    data = folder(tmp_path / "data", split_file=str(tmp_path / "split.csv"))
    assert [sample.file for sample in data.find()["val"]] == [files[1], files[4]]


def test_a_given_sensor(tmp_path):
    write(tmp_path / "data", left=4, right=4)
    x, _ = ready(tmp_path / "data", sensor_size=(40, 30, 1)).splits["test"][0]
    assert x.shape == (10, 1, 30, 40)
    assert x.sum() == 50
    with pytest.raises(DataError, match=r"outside a sensor of 10 x 10 pixels .* Give the sensor_size"):
        list(ready(tmp_path / "data", sensor_size=(10, 10, 2)).test_dataloader())


def test_a_guessed_sensor_is_not_smaller_than_the_frames_asked_for(tmp_path):
    """As when a student of a camera is fine-tuned on recordings in which the last column never fires."""
    write(tmp_path / "data", left=3, right=3)
    data = ready(tmp_path / "data", size=(12, 21), representation=Frames(num_steps=1))
    assert data.sensor_size == (21, 12, 2)
    assert data.splits["test"][0][0].shape == (1, 2, 12, 21)
    assert folder(tmp_path / "data", size=(5, 5)).sensor_size == (20, 10, 2)


@pytest.mark.parametrize("size", [(0, 10, 2), (10, -1, 2), (10, 10, 3), (40_000, 10, 2), (10, 10)])
def test_sensors_that_cannot_be(tmp_path, size):
    write(tmp_path / "data", left=3, right=3)
    with pytest.raises(ValueError, match=rf"sensor_size: expected \(width, height, polarities .*, found \({size[0]},"):
        folder(tmp_path / "data", sensor_size=size)


def test_columns_and_units_that_the_files_do_not_say(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for n in range(3):
            t, x, y, p = recording(n).T
            np.save(tmp_path / name / f"{n}.npy", np.stack([x, y, p, t / 1e6], 1))
    data = ready(tmp_path, columns="xypt", time_unit=1e6, representation=Frames(num_steps=1))
    assert data.sensor_size == (20, 10, 2)
    source = data.splits["test"].source
    expected = recording(int(source.samples[0].file.stem))
    assert source.events(source.samples[0]).t.tolist() == expected[:, 0].tolist()
    with pytest.raises(DataError, match=r"npy.*columns="):
        folder(tmp_path)


def test_bad_files_are_named_or_left_out(tmp_path):
    write(tmp_path / "data", left=9, right=9)
    (tmp_path / "data/left/00.npy").write_bytes(b"\x93NUMPY broken")
    with pytest.raises(DataError, match=r"left/00\.npy"):
        folder(tmp_path / "data")
    with pytest.warns(UserWarning, match=r"Left out 1 samples: .*left/00\.npy"):
        data = ready(tmp_path / "data", on_error="skip")
    assert sum(len(data.splits[split]) for split in ("train", "val", "test")) == 17


def test_nothing_to_see(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for n in range(3):
            np.save(tmp_path / name / f"{n}.npy", np.zeros((0, 4)))
    with pytest.raises(ValueError, match="no event in any file that could be read. Give the sensor_size"):
        folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="root: there is no folder .*/nowhere"):
        folder(tmp_path / "nowhere")


def test_mixing_recordings(tmp_path):
    data = ready(write(tmp_path / "data", left=8, right=8), eventmix=1.0, batch_size=4)
    (mix,) = data.mixes()
    x, y = next(iter(data.train_dataloader()))
    mixed, target = mix(x, y)
    assert mixed.shape == x.shape
    torch.testing.assert_close(target.sum(1), torch.ones(4))
    assert len(ready(tmp_path / "data", eventmix=1.0, mixup=0.2, cutmix=1.0).mixes()) == 3
    assert not ready(tmp_path / "data").mixes()


def test_a_recording_in_two_formats_would_be_in_two_splits(tmp_path):
    root = write(tmp_path / "data", left=4, right=4)
    np.savez(root / "left/00.npz", recording(0))
    with pytest.raises(ValueError, match=r"left/00\.np.* and 00\.np.* seem to be one recording in two formats"):
        folder(root)


def write_cameras(root, sizes, outside=()):
    """One event at the last pixel of a camera that each file states, and events outside of it in some."""
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for n, (width, height) in enumerate(sizes):
            x = np.array([width - 1] + [width + 28] * outside.count(n))
            events = {"t": np.arange(len(x)), "x": x, "y": np.full(len(x), height - 1), "p": np.ones(len(x), int)}
            np.savez(root / name / f"{n}.npz", **events, width=width, height=height)
    return root


def filled(data):
    """(row, column) of the one event of each recording."""
    sources = (data.splits[split].source for split in ("train", "val", "test"))
    frames = [source[n][0].int() for source in sources for n in range(len(source))]
    assert [int(x.sum()) for x in frames] == [1] * len(frames)
    return [tuple(x.nonzero()[0, 2:].tolist()) for x in frames]


@pytest.mark.parametrize("given", [None, (1280, 720, 2), (320, 240, 1)])
def test_every_recording_is_scaled_by_the_camera_that_it_states(tmp_path, given):
    root = write_cameras(tmp_path, [(1280, 720), (640, 480), (346, 260), (128, 128)])
    data = ready(root, size=(72, 128), sensor_size=given, representation=Frames(num_steps=1))
    assert filled(data) == [(71, 127)] * 8


def test_without_a_size_frames_are_as_large_as_the_largest_camera(tmp_path):
    data = ready(write_cameras(tmp_path, [(64, 48), (32, 12), (64, 48)]), representation=Frames(num_steps=1))
    assert data.sensor_size == (64, 48, 2)
    assert sorted(set(filled(data))) == [(44, 62), (47, 63)]  # 11 * 48 / 12 and 31 * 64 / 32


def test_events_outside_of_the_camera_are_dropped_and_counted_if_asked(tmp_path):
    root = write_cameras(tmp_path, [(1280, 720)] * 3, outside=(1, 2, 2))
    with pytest.raises(DataError, match=r"\.npz: event 1 is at x = 1308, y = 719; the camera has 1280 x 720 pix"):
        folder(root)
    with pytest.warns(UserWarning, match=r"Left out 6 events outside of the sensor: .*\.npz: [12]; "):
        data = ready(root, drop_outside=True, size=(72, 128), representation=Frames(num_steps=1))
    assert filled(data) == [(71, 127)] * 6
    with pytest.raises(ValueError, match=r"Left out 2 samples: .* 1 events, fewer than 2.* Left out . events outside"):
        ready(root, drop_outside=True, min_events=2)


def test_dropped_by_the_size_that_is_given(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for n in range(3):
            (tmp_path / name / f"{n}.csv").write_text("t,x,y,p\n0,3,2,1\n1,4,2,1\n2,3,3,0\n")
    with pytest.warns(UserWarning, match="Left out 12 events outside of the sensor"):
        data = ready(tmp_path, drop_outside=True, sensor_size=(4, 3, 2), representation=Frames(num_steps=1))
    assert filled(data) == [(2, 3)] * 6
