"""From recordings on disk to batches: what is read, cut, cached, augmented and left out."""

import numpy as np
import pytest
import torch
from torch import nn

from datamodules.errors import DataError
from datamodules.events.arrays import Events
from datamodules.events.frames import Frames
from datamodules.events.pipeline import EventDataModule
from datamodules.events.recordings import EventSample


def recording(seed, n=200, size=(16, 12), duration=100_000):
    draw = np.random.default_rng(seed)
    t = np.sort(draw.integers(0, duration, n))
    return np.stack([t, draw.integers(0, size[0], n), draw.integers(0, size[1], n), draw.integers(0, 2, n)], 1)


def events_of(array):
    return Events.of(*array.T)


class Recorded(EventDataModule):
    """Three .npy files a split, [n, 4] of t, x, y, p."""

    num_classes, sensor_size, label_names = 3, (16, 12, 2), ("a", "b", "c")

    def find(self):
        return {
            split: [EventSample(file, label) for label, file in enumerate(sorted((self.root / split).glob("*.npy")))]
            for split in ("train", "val", "test")
        }


@pytest.fixture
def root(tmp_path):
    for number, split in enumerate(("train", "val", "test")):
        (tmp_path / "data" / split).mkdir(parents=True)
        for label in range(3):
            np.save(tmp_path / "data" / split / f"{label}.npy", recording(10 * number + label))
    return tmp_path / "data"


def ready(root, **kwargs):
    data = Recorded(root=str(root), num_workers=0, cache_dir=str(root.parent / "cache"), batch_size=3, **kwargs)
    data.setup("fit")
    return data


def files(folder):
    return [file for file in folder.rglob("*") if file.is_file()]


def test_a_batch_has_every_event_in_its_place(root):
    data = ready(root, representation=Frames(num_steps=5))
    x, y = next(iter(data.val_dataloader()))
    assert x.shape == (5, 3, 2, 12, 16)
    assert x.dtype == torch.float32
    assert y.tolist() == [0, 1, 2]
    for n in range(3):
        expected = np.zeros((5, 2, 12, 16))
        array = recording(10 + n)
        first, last = array[0, 0], array[-1, 0]
        for t, column, row, p in array.tolist():
            expected[5 * (t - first) // (last - first + 1), p, row, column] += 1
        np.testing.assert_array_equal(x[:, n].numpy(), expected)


def test_the_second_time_nothing_is_read(root, monkeypatch):
    def batches(data):
        return [x for x, _ in data.train_dataloader()] + [x for x, _ in data.test_dataloader()]

    first = batches(ready(root))
    monkeypatch.setattr(
        "datamodules.events.recordings.read_events", lambda file, **_: pytest.fail(f"{file} is read again")
    )
    for one, two in zip(first, batches(ready(root)), strict=True):
        assert torch.equal(one, two)


def changed(**changes):
    return pytest.param(changes, id=next(iter(changes)))


class Halve(nn.Module):
    """Every `step`-th event."""

    def __init__(self, step=2):
        super().__init__()
        self.step = step

    def forward(self, events):
        return events[:: self.step]


@pytest.mark.parametrize(
    "changes",
    [
        changed(representation=Frames(num_steps=4)),
        changed(representation=Frames(num_steps=10, by="count")),
        changed(size=6),
        changed(filters=[Halve()]),
        changed(filters=[Halve(3)]),
    ],
)
def test_a_changed_pipeline_never_meets_what_is_kept(root, changes):
    data = ready(root)
    before = data.splits["test"][0][0]
    after = ready(root, **changes)
    fresh = ready(root, cache_gb=0.0, **changes)
    assert torch.equal(after.splits["test"][0][0], fresh.splits["test"][0][0])
    assert before.shape != after.splits["test"][0][0].shape or not torch.equal(before, after.splits["test"][0][0])


def test_a_changed_file_is_read_again(root):
    before = ready(root).splits["test"][1][0]
    np.save(root / "test/1.npy", recording(99))  # of the same size
    after = ready(root).splits["test"][1][0]
    assert before.sum() == after.sum() == 200
    assert not torch.equal(before, after)


def test_scaling_keeps_every_event(root):
    data = ready(root, size=(6, 4), representation=Frames(num_steps=1))
    assert data.input_cfg["input_size"] == (2, 6, 4)
    found = data.splits["test"][0][0][0]
    expected = np.zeros((2, 6, 4))
    for _, column, row, p in recording(20).tolist():
        expected[p, row // 2, column // 4] += 1
    np.testing.assert_array_equal(found.numpy(), expected)


def test_windows_cover_a_recording_and_overlap_as_asked(root):
    whole = ready(root)
    data = ready(root, window_ms=30.0, representation=Frames(num_steps=1))
    counts = [x.sum().item() for x, _ in data.splits["test"]]
    assert sum(counts) == sum(x.sum().item() for x, _ in whole.splits["test"]) == 600
    assert len(data.splits["test"]) == 12
    overlapping = ready(root, window_ms=40.0, stride_ms=20.0, representation=Frames(num_steps=1))
    t = recording(20)[:, 0]
    begins = [t[0] + 20_000 * k for k in range(4)]
    expected = [((t >= begin) & (t < begin + 40_000)).sum() for begin in begins]
    assert [x.sum().item() for x, label in overlapping.splits["test"] if label == 0] == expected
    assert begins[-1] + 40_000 > t[-1] > begins[-2] + 40_000  # the last window is needed, no further one


def test_the_last_window_of_a_clip_ends_with_the_clip(root):
    class Halves(Recorded):
        def find(self):
            halves = [
                EventSample(root / "test/0.npy", 0, 0, 50_000),
                EventSample(root / "test/0.npy", 1, 50_000, 100_000),
            ]
            return dict.fromkeys(("train", "val", "test"), halves)

    data = Halves(root=str(root), cache_dir=str(root.parent / "cache"), window_ms=30.0, representation=Frames(1))
    data.setup("fit")
    found = [(label, x.sum().item()) for x, label in data.splits["test"]]
    early = (recording(20)[:, 0] < 50_000).sum()
    assert sum(count for label, count in found if label == 0) == early
    assert sum(count for label, count in found if label == 1) == 200 - early


def test_recordings_of_different_lengths_end_in_empty_steps(root):
    np.save(root / "test/1.npy", recording(21, duration=20_000))
    x, _ = next(iter(ready(root, representation=Frames(window_ms=10.0)).test_dataloader()))
    assert x.sum(dim=(0, 2, 3, 4)).tolist() == [200, 200, 200]
    assert len(x) == 10
    assert x[2:, 1].sum() == 0
    assert x[1, 1].sum() > 0


def test_values_are_made_of_what_is_kept(root):
    counts = ready(root).splits["test"][0][0]
    assert torch.equal(ready(root, representation=Frames(10, values="log")).splits["test"][0][0], counts.log1p())
    augmented = ready(root, representation=Frames(10, values="binary"), augmentation=[nn.Identity()])
    assert torch.equal(augmented.splits["train"][0][0], (ready(root).splits["train"][0][0] > 0).float())


def test_few_events_are_left_out_and_counted(root):
    np.save(root / "train/1.npy", recording(1, n=7))
    with pytest.warns(UserWarning, match=r"Left out 1 samples: .*1\.npy from \d+ to \d+ µs: 7 events, fewer than 10"):
        data = ready(root, min_events=10)
    assert [label for _, label in data.splits["train"]] == [0, 2]
    with pytest.raises(ValueError, match="no sample is left in the train split. Left out 3 samples"):
        ready(root, min_events=1000)


def test_a_bad_file_is_named_or_left_out(root):
    (root / "train/1.npy").write_bytes(b"nonsense")
    data = ready(root)
    with pytest.raises(DataError, match=r"train/1\.npy"):
        list(data.train_dataloader())
    with pytest.warns(UserWarning, match=r"Left out 1 samples: .*train/1\.npy"):
        data = ready(root, on_error="skip")
    assert sum(len(y) for _, y in data.train_dataloader()) == 2


def test_a_bad_file_is_named_by_a_worker(root):
    (root / "test/1.npy").write_bytes(b"nonsense")
    data = ready(root)
    data.num_workers = 1
    with pytest.raises(DataError, match=r"test/1\.npy"):
        list(data.test_dataloader())


def test_an_event_outside_of_the_sensor(root):
    array = recording(0)
    array[17, 1] = 16
    np.save(root / "val/2.npy", array)
    with pytest.raises(
        DataError, match=r"val/2\.npy: event 17 is at x = 16, y = \d+ with polarity ., outside a sensor of 16 x 12"
    ):
        list(ready(root).val_dataloader())


class Late(nn.Module):
    """Moves all events right by a random number of pixels, around the edge."""

    def forward(self, events):
        by = int(torch.randint(1, 16, ()))
        return Events(events.t, (events.x + by) % 16, events.y, events.p, events.sensor_size)


def test_augmentation_is_for_training_and_differs_by_epoch(root):
    plain, data = ready(root), ready(root, augmentation=[Late()])
    for split in ("val", "test"):
        assert torch.equal(data.splits[split][0][0], plain.splits[split][0][0])
    one, again, two = (data.splits["train"][(0, seed, 0)][0] for seed in (5, 5, 6))
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
    assert one.sum() == plain.splits["train"][0][0].sum() == 200
    assert torch.equal(one.sum(-1), plain.splits["train"][0][0].sum(-1))
    off = ready(root, augmentation=[Late()], augment=False)
    assert torch.equal(off.splits["train"][(0, 5, 0)][0], plain.splits["train"][0][0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window_ms": 0.0}, r"window_ms: expected a time in ms, 0\.001 \(1 µs\) to 1e12, found 0.0"),
        ({"window_ms": 1.0, "stride_ms": 1e-4}, r"stride_ms: expected a time in ms, 0\.001 .* found 0\.0001"),
        ({"stride_ms": 5.0}, r"stride_ms: expected at most window_ms \(None\), found 5.0"),
        ({"stride_ms": 5.0, "window_ms": 4.0}, r"stride_ms: expected at most window_ms \(4.0\), found 5.0"),
        ({"min_events": -1}, "min_events: expected at least 0 and finite, found -1"),
        ({"cache_gb": float("nan")}, "cache_gb: expected at least 0 and finite, found nan"),
        ({"cache_gb": float("inf")}, "cache_gb: expected at least 0 and finite, found inf"),
        ({"on_error": "ignore"}, 'on_error: expected "raise" or "skip", found \'ignore\''),
        (
            {"size": 13},
            r"size: expected at least 1 and at most the sensor's 12 x 16 .*, found \(13, 13\)",
        ),
    ],
)
def test_arguments_out_of_range(root, arguments, message):
    with pytest.raises(ValueError, match=message):
        ready(root, **arguments).val_dataloader()
