"""Clouds against a slow reading of the equations, their draws, and SpikePoint on real recordings' layout."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from datamodules.events.arrays import Events
from datamodules.events.clouds import Cloud, SampleEvents
from datamodules.events.pipeline import EventDataModule
from datamodules.events.recordings import EventSample

W, H = 7, 5


class Strips(EventDataModule):
    """Recordings of 1 s in memory: bursts of 200 events, but the second half of every recording has 30 only."""

    sensor_size, num_classes, label_names = (W, H, 2), 2, ("left", "right")

    def __init__(self, root, **kwargs):
        super().__init__(root=root, num_workers=0, **kwargs)
        self.reader = read_strip

    def find(self):
        files = sorted(self.root.glob("*.txt"))
        return {split: [EventSample(file, int(file.stem) % 2) for file in files] for split in ("train", "val", "test")}


def read_strip(sample):
    """Events of the seed in the file, inside the sample."""
    draw = np.random.default_rng(int(sample.file.read_text()))
    t = np.sort(np.concatenate([draw.integers(0, 500_000, 200), draw.integers(500_000, 1_000_000, 30)]))
    t[[0, -1]] = 0, 999_999
    events = Events.of(t, draw.integers(0, W, 230), draw.integers(0, H, 230), draw.integers(0, 2, 230))
    return events[(t >= (sample.start or 0)) & (t < (sample.stop or 10**9))]


@pytest.fixture
def strips(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(str(number))

    def make(**kwargs):
        data = Strips(tmp_path, cache_dir=str(tmp_path / "cache"), **kwargs)
        data.setup("fit")
        return data

    return make


def recordings(most=30):
    """Recordings of up to `most` events, unordered, with times as large as clocks get."""
    event = st.tuples(st.integers(0, 1000), st.integers(0, W - 1), st.integers(0, H - 1), st.integers(0, 1))
    return st.builds(
        lambda rows, start: Events.of(*np.array([(start + t, x, y, p) for t, x, y, p in rows], int).reshape(-1, 4).T),
        st.lists(event, max_size=most),
        st.sampled_from([0, 10**15]),
    )


@given(recordings())
@settings(max_examples=50, deadline=None)
def test_every_event_is_a_row(events):
    rows = sorted(zip(events.t.tolist(), range(len(events)), events.x, events.y, events.p, strict=True))
    expected = np.full((30, 4), -1.0)
    for row, (t, _, x, y, p) in enumerate(rows):
        duration = rows[-1][0] - rows[0][0]
        expected[row] = x / 6, y / 4, p, (t - rows[0][0]) / duration if duration else 0
    assert np.allclose(Cloud(30, polarity=True)(events, (W, H, 2))[0], expected, atol=1e-7)
    cloud = Cloud(30)(events, (W, H, 2))
    assert (cloud.shape, cloud.dtype) == ((1, 30, 3), np.float32)
    assert np.array_equal(cloud[0], np.float32(expected)[:, [0, 1, 3]])


@given(recordings(most=60), st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_a_draw_is_a_part_of_the_recording_and_always_the_same(events, num_points):
    whole, part = (Cloud(size, polarity=True)(events, (W, H, 2))[0] for size in (60, num_points))
    kept = min(num_points, len(events))
    assert (part[kept:] == -1).all()
    assert (np.diff(part[:kept, 3]) >= 0).all()
    left = whole[: len(events)].tolist()
    if kept == len(events):
        assert part[:kept].tolist() == left
    assert np.array_equal(Cloud(num_points, polarity=True)(events, (W, H, 2))[0], part)


def test_a_draw_has_no_event_twice_and_is_spread_evenly():
    n = 10_000
    events = Events.of(np.arange(n), np.zeros(n, int), np.zeros(n, int), np.zeros(n, int))
    t = Cloud(1000)(events, (1, 1, 1))[0, :, 2]
    assert len(np.unique(t)) == 1000
    assert np.allclose(np.histogram(t, 10, (0, 1))[0], 100, atol=40)  # 4 standard deviations
    assert not Cloud(1000)(events, (1, 1, 1))[0, :, :2].any()  # one column and one row: no extent


def test_the_size_of_a_cloud():
    assert Cloud(64).input_size((W, H, 2)) == (3, 64, 1)
    assert Cloud(64, polarity=True).input_size((W, H, 2)) == (4, 64, 1)


def test_events_outside_are_refused():
    with pytest.raises(ValueError, match="event 1 is at x = 7, y = 0 .* outside a sensor of 7 x 5"):
        Cloud()(Events.of([0, 1], [0, 7], [0, 0], [0, 0]), (W, H, 2))


@pytest.mark.parametrize("cls", [Cloud, SampleEvents])
def test_no_points(cls):
    with pytest.raises(ValueError, match="num_points: expected at least 1, found 0"):
        cls(0)


def test_sampled_events_follow_torchs_generator():
    events = Events.of(np.arange(100), np.zeros(100, int), np.zeros(100, int), np.zeros(100, int))
    sampler, seen = SampleEvents(10), np.zeros(100)
    for seed in range(500):
        torch.manual_seed(seed)
        chosen = sampler(events).t
        assert len(chosen) == 10
        assert (np.diff(chosen) > 0).all()
        seen[chosen] += 1
    torch.manual_seed(499)
    assert np.array_equal(sampler(events).t, chosen)
    assert (abs(seen - 50) < 5 * np.sqrt(500 * 0.1 * 0.9)).all()  # each as often as any other
    assert len(SampleEvents(1000)(events)) == 100


def test_training_draws_anew_in_every_epoch_and_evaluation_never(strips):
    data = strips(representation=Cloud(20), augmentation=[SampleEvents(20)], batch_size=4)

    def epoch(number):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(number)
        x, y = next(iter(loader))
        return x[:, y.argsort(stable=True)]

    assert epoch(0).shape == (1, 4, 20, 3)
    assert torch.equal(epoch(0), epoch(0))
    assert not torch.equal(epoch(0).sort(1).values, epoch(1).sort(1).values)
    first, again = (next(iter(strips(representation=Cloud(20)).val_dataloader()))[0] for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(first, next(iter(data.val_dataloader()))[0])


@pytest.mark.parametrize("mix", ["mixup", "cutmix", "eventmix"])
def test_clouds_are_not_mixed(strips, mix):
    with pytest.raises(ValueError, match=f"{mix} mixes frames; Cloud gives none. Leave it off."):
        strips(representation=Cloud(20), **{mix: 0.5})


def test_windows_of_spikepoint(strips):
    """0.5 s, half of which overlap, none of fewer than 100 events; each has a clock of its own."""
    with pytest.warns(UserWarning, match="Left out 12 samples: .* from 500000 to 1000000 µs: .* fewer than 100"):
        data = strips(representation=Cloud(256), window_ms=500, stride_ms=250, min_events=100, batch_size=99)
    x, y = next(iter(data.val_dataloader()))
    assert sorted(y.tolist()) == [0, 0, 0, 0, 1, 1, 1, 1]  # of three windows of each recording, two have 100 events
    for cloud in x[0]:
        t = cloud[cloud[:, 2] >= 0, 2]
        assert 100 <= len(t) <= 200
        assert (t[0], t[-1]) == (0, 1)


def test_spikepoint_takes_them(strips):
    data = strips(representation=Cloud(64))
    assert data.input_cfg["input_size"] == (3, 64, 1)
    assert (data.input_cfg["sequence_ndim"], data.in_chans, len(data.input_cfg["mean"])) == (4, 3, 3)
    model = zoo.create_model("spikepoint_tiny", num_classes=2, in_chans=data.in_chans).eval()
    with torch.no_grad():
        assert model(next(iter(data.val_dataloader()))[0]).shape == (4, 2)
