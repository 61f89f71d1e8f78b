"""Augmentation keeps what it must, draws what is published, and depends on (seed, epoch, index) only."""

import math
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import tonic
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from datamodules.events.arrays import Events
from datamodules.events.augmentation import space
from datamodules.events.augmentation.dropping import Cutout, DropByArea, DropByTime, DropEvents, EventDrop
from datamodules.events.augmentation.policies import NDA
from datamodules.events.augmentation.space import Crop, Flip, Roll, Rotate, Shear
from datamodules.events.augmentation.timing import TimeJitter, TimeReversal
from datamodules.events.frames import Frames
from datamodules.loading import EpochSampler, SeededDataset, collate

KEEP_ALL = [Flip(0.5, 0.5, 0.5), Roll(0.5), TimeJitter(50.0), TimeJitter(1e9), TimeReversal()]
DROP = [Cutout(0.6), DropByTime(), DropByArea((0.5,)), DropEvents(), EventDrop()]
MOVE = [Crop(0.7, 0.2), Rotate(180), Shear(60), NDA(3, 4)]
CLOCKS = [0, -(10**6), 2**62 - 500, -(2**62), 1_700_000_000_000_000]  # µs: of the recording, of the day, of the camera


def name(augmentation):
    return type(augmentation).__name__


@st.composite
def recordings(draw):
    width, height, polarities = draw(st.integers(1, 20)), draw(st.integers(1, 20)), draw(st.sampled_from([1, 2]))
    n = draw(st.integers(0, 30))
    t = draw(st.lists(st.integers(0, 500), min_size=n, max_size=n))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return Events.of(
        np.array(sorted(t), np.int64) + draw(st.sampled_from(CLOCKS)),
        rng.integers(0, width, n),
        rng.integers(0, height, n),
        rng.integers(0, polarities, n),
        (width, height, polarities),
    )


def rows(events):
    return list(zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True))


def uniform_recording(width=20, height=10, each=3):
    """`each` events in every pixel, one µs apart, in an arbitrary order."""
    rng = np.random.default_rng(0)
    x, y = (values.ravel().repeat(each) for values in np.meshgrid(np.arange(width), np.arange(height)))
    order = rng.permutation(len(x))
    return Events.of(np.arange(len(x)), x[order], y[order], rng.integers(0, 2, len(x)), (width, height, 2))


def frame(events):
    return Frames(1)(events, events.sensor_size)[0]


def seeded(seed, augmentation, *args):
    torch.manual_seed(seed)
    return augmentation(*args)


@pytest.mark.parametrize("augmentation", [*KEEP_ALL, *DROP, *MOVE], ids=name)
@given(events=recordings(), seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_what_all_keep(augmentation, events, seed):
    before = rows(events)
    for values in (events.t, events.x, events.y, events.p):
        values.setflags(write=False)
    after = seeded(seed, augmentation, events)
    assert rows(events) == before
    assert [a.dtype for a in (after.t, after.x, after.y, after.p)] == [np.int64, np.int16, np.int16, np.uint8]
    assert after.sensor_size == events.sensor_size
    assert min(1, len(events)) <= len(after) <= len(events)
    assert (np.diff(after.t) >= 0).all()
    width, height, polarities = events.sensor_size
    for values, end in ((after.x, width), (after.y, height), (after.p, polarities)):
        assert ((values >= 0) & (values < end)).all()
    if len(events):
        assert events.t[0] <= after.t[0]
        assert after.t[-1] <= events.t[-1]
    assert rows(seeded(seed, augmentation, events)) == rows(after)


@pytest.mark.parametrize("augmentation", KEEP_ALL, ids=name)
@given(events=recordings(), seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_no_event_is_lost(augmentation, events, seed):
    after = seeded(seed, augmentation, events)
    assert len(after) == len(events)
    assert int(after.p.sum()) in {int(events.p.sum()), len(events) - int(events.p.sum())}


@pytest.mark.parametrize("augmentation", DROP, ids=name)
@given(events=recordings(), seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_dropping_invents_nothing_and_keeps_the_order(augmentation, events, seed):
    remaining = iter(rows(events))
    assert all(row in remaining for row in rows(seeded(seed, augmentation, events)))  # a subsequence


@pytest.mark.parametrize("augmentation", [*KEEP_ALL, *DROP, *MOVE], ids=name)
def test_sensor_must_be_known_and_hold_the_events(augmentation):
    events = uniform_recording()
    with pytest.raises(ValueError, match=rf"{name(augmentation)}: expected events with a sensor_size, found None"):
        augmentation(replace(events, sensor_size=None))
    with pytest.raises(ValueError, match="has x = .*; expected 0 to 18 .columns of a sensor of 19 x 10."):
        augmentation(replace(events, sensor_size=(19, 10, 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip(1.5), r"horizontal: expected 0\.\.1, found 1.5"),
        (lambda: Flip(0, math.nan), r"vertical: expected 0\.\.1, found nan"),
        (lambda: Roll(-0.1), "shift: expected"),
        (lambda: Crop(0), "scale: expected above 0"),
        (lambda: Crop(1.0, 2), "padding: expected"),
        (lambda: Rotate(200), r"degrees: expected 0\.\.180, found 200"),
        (lambda: Shear(90), r"degrees: expected 0\.\.80, found 90"),
        (lambda: Cutout(-1), "length: expected"),
        (lambda: TimeJitter(-1), "std of TimeJitter: expected µs, 0 to"),
        (lambda: TimeJitter(math.inf), "std of TimeJitter"),
        (lambda: TimeReversal(2), "chance: expected"),
        (lambda: DropByTime(()), "ratios: expected at least one ratio"),
        (lambda: DropByArea((0.1, 1.2)), "ratios: expected .* found 1.2"),
        (lambda: NDA(magnitude=4), "magnitude of NDA: expected a whole number from 1 to 3, found 4"),
        (lambda: NDA(number=0), "number of NDA: expected a whole number from 1 to 4, found 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_flips_are_tonic_s():
    events = uniform_recording()
    structured = np.zeros(len(events), [("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", bool)])
    for field in "txyp":
        structured[field] = getattr(events, field)
    for ours, theirs in [
        (Flip(1, 0, 0), tonic.transforms.RandomFlipLR(events.sensor_size, p=1)),
        (Flip(0, 1, 0), tonic.transforms.RandomFlipUD(events.sensor_size, p=1)),
        (Flip(0, 0, 1), tonic.transforms.RandomFlipPolarity(p=1)),
        (TimeReversal(1), tonic.transforms.RandomTimeReversal(p=1)),  # its t begins at 0, and so do these
    ]:
        expected = theirs(structured.copy())
        after = ours(events)
        for field in "txyp":
            np.testing.assert_array_equal(getattr(after, field), expected[field], err_msg=f"{name(ours)} {field}")


def test_each_flip_has_its_own_chance():
    events, flip = Events.of([0], [0], [0], [0], (2, 2, 2)), Flip(0.5, 0.25, 0.75)
    after = [rows(seeded(seed, flip, events))[0] for seed in range(400)]
    assert [sum(column) / 400 for column in list(zip(*after, strict=True))[1:]] == pytest.approx(
        [0.5, 0.25, 0.75], abs=0.1
    )
    assert len(set(after)) == 8


def test_a_sensor_of_one_polarity_keeps_it():
    events = Events.of([5, 9], [0, 1], [1, 1], [0, 0], (2, 2, 1))
    assert Flip(0, 0, 1)(events).p.tolist() == TimeReversal(1)(events).p.tolist() == [0, 0]


@pytest.mark.parametrize("clock", [0, 2**62 - 9, -(2**62)])
def test_reversal(clock):
    events = Events.of(np.array([0, 2, 2, 9]) + clock, [1, 2, 3, 4], [0, 0, 0, 0], [1, 1, 0, 0], (5, 1, 2))
    assert rows(TimeReversal(1)(events)) == [
        (clock + t, x, 0, p) for t, x, p in [(0, 4, 1), (7, 3, 1), (7, 2, 0), (9, 1, 0)]
    ]
    assert rows(TimeReversal(1)(TimeReversal(1)(events))) == rows(events)
    shuffled = events[np.array([2, 0, 3, 1])]
    assert rows(TimeReversal(1)(shuffled))[0] == (clock, 4, 0, 1)


def test_reversal_of_the_longest_recording():
    events = Events.of([-(2**62), -(2**62) + 1, 2**62], [0, 1, 2], [0, 0, 0], [0, 0, 0], (3, 1, 2))
    assert TimeReversal(1)(events).t.tolist() == [-(2**62), 2**62 - 1, 2**62]


def test_jitter_has_its_deviation_and_pairs_stay_together():
    n = 20_000
    events = Events.of(np.arange(n) * 1000, np.arange(n), np.zeros(n), np.arange(n) % 2, (n, 1, 2))
    after = seeded(0, TimeJitter(300.0), events)
    shift = after.t - after.x.astype(np.int64) * 1000  # x tells which event it was
    assert shift.std() == pytest.approx(300, rel=0.03)
    assert abs(shift.mean()) < 10
    assert (after.p == after.x % 2).all()
    assert rows(TimeJitter(0)(events)) == rows(events)


def test_jitter_never_wraps():
    small = Events.of(np.array([1, 5, 2**62], np.uint64), [0, 1, 2], [0] * 3, [True] * 3, (3, 1, 2))
    for seed in range(50):
        after = seeded(seed, TimeJitter(1e9), small)
        assert after.t[0] >= 1
        assert 0 < 2**62 - after.t[-1] + 1 < 10**11


def test_roll_is_that_of_frames():
    events = uniform_recording(8, 6)[:100]
    before, seen = frame(events), Counter()
    shifts = {(down, right): np.roll(before, (down, right), (1, 2)) for down in range(-1, 2) for right in range(-2, 3)}
    for seed in range(300):
        after = frame(seeded(seed, Roll(0.2), events))  # 0.2 of 8 and 6: at most 2 and 1 pixels
        (shift,) = [shift for shift, expected in shifts.items() if (after == expected).all()]
        seen[shift] += 1
    assert len(seen) == 15
    assert min(seen.values()) > 5


@pytest.mark.parametrize(("scale", "padding"), [(1.0, 0.25), (0.5, 0.0), (0.5, 0.25)])
def test_crop_is_that_of_frames(scale, padding):
    width, height = 8, 4
    events, size = uniform_recording(width, height), (round(scale * height), round(scale * width))
    spare = round(padding * height), round(padding * width)
    padded = np.pad(frame(events), ((0, 0), (spare[0],) * 2, (spare[1],) * 2))
    margin = [(height - size[0]) // 2, (width - size[1]) // 2]
    crops = {}
    for top in range(height - size[0] + 2 * spare[0] + 1):
        for left in range(width - size[1] + 2 * spare[1] + 1):
            crop = np.zeros_like(frame(events))
            window = padded[:, top : top + size[0], left : left + size[1]]
            crop[:, margin[0] : margin[0] + size[0], margin[1] : margin[1] + size[1]] = window
            crops[crop.tobytes()] = (top, left)
    found = Counter(crops[frame(seeded(seed, Crop(scale, padding), events)).tobytes()] for seed in range(400))
    assert set(found) == set(crops.values())


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (-90, -1), (180, 2), (0, 0)])
def test_quarter_turns(monkeypatch, degrees, turns):
    monkeypatch.setattr(space, "uniform", lambda low, high: degrees)
    for side in (7, 8):
        events = uniform_recording(side, side)[:100]
        np.testing.assert_array_equal(frame(Rotate()(events)), np.rot90(frame(events), turns, (1, 2)))
    if turns % 2 == 0:
        events = uniform_recording()[:100]
        np.testing.assert_array_equal(frame(Rotate()(events)), np.rot90(frame(events), turns, (1, 2)))


def slow(events, place):
    """Events at place(x, y), rounded, in plain numbers."""
    width, height, _ = events.sensor_size
    kept = []
    for t, x, y, p in rows(events):
        new_x, new_y = place(x, y)
        column, row = math.floor(new_x + 0.5), math.floor(new_y + 0.5)
        if 0 <= column < width and 0 <= row < height:
            kept.append((t, column, row, p))
    return kept


@pytest.mark.parametrize("angle", [7.3, -33.3, 100.1])
def test_rotation_and_shear_of_plain_numbers(monkeypatch, angle):
    monkeypatch.setattr(space, "uniform", lambda low, high: angle / 2 if high == 60 else angle)
    events = uniform_recording(19, 10)
    turn = complex(math.cos(math.radians(angle)), -math.sin(math.radians(angle)))  # y points down

    def rotated(x, y):
        place = complex(x - 9, y - 4.5) * turn
        return place.real + 9, place.imag + 4.5

    assert rows(Rotate(180)(events)) == slow(events, rotated)
    slope = math.tan(math.radians(angle / 2))
    assert rows(Shear(60)(events)) == slow(events, lambda x, y: (x + slope * (y - 4.5), y))


@pytest.mark.parametrize(("augmentation", "highest"), [(Rotate(30), 30), (Shear(30), 30)], ids=name)
def test_angles_fill_their_range(monkeypatch, augmentation, highest):
    drawn = []
    uniform = space.uniform
    monkeypatch.setattr(space, "uniform", lambda *ends: drawn.append(uniform(*ends)) or drawn[-1])
    for seed in range(200):
        seeded(seed, augmentation, uniform_recording(5, 5))
    assert -highest <= min(drawn) < -0.95 * highest
    assert highest >= max(drawn) > 0.95 * highest


@pytest.mark.parametrize(
    ("augmentation", "whole_box"), [(DropByArea((0.1, 0.3)), True), (Cutout(0.3), False)], ids=name
)
def test_areas(augmentation, whole_box):
    events, sizes, places = uniform_recording(20, 10), Counter(), np.zeros((10, 20))
    for seed in range(300):
        empty = frame(seeded(seed, augmentation, events)).sum(0) == 0
        high, wide = empty.any(1).sum(), empty.any(0).sum()
        assert empty.sum() == high * wide  # one full rectangle
        sizes[int(wide), int(high)] += 1
        places += empty
    if whole_box:  # tonic's drops up to 98 % here
        assert set(sizes) == {(2, 1), (6, 3)}
        assert min(sizes.values()) > 100
    else:
        assert set(sizes) <= {(wide, high) for wide in range(3, 7) for high in range(2, 4)}
    assert (places > 0).mean() > 0.95
    assert min(places[0].sum(), places[-1].sum(), places[:, 0].sum(), places[:, -1].sum()) > 0  # up to each edge


def test_dropped_times():
    n = 1000
    events = Events.of(np.arange(n) * 10 + 2**61, np.zeros(n), np.zeros(n), np.zeros(n), (1, 1, 2))
    begins = []
    for seed in range(200):
        after = seeded(seed, DropByTime((0.2,)), events)
        gone = np.setdiff1d(events.t, after.t)
        assert abs(len(gone) - 200) <= 1
        assert (np.diff(gone) == 10).all()
        begins.append((int(gone[0]) - 2**61) / 10)
    assert min(begins) < 30
    assert max(begins) > 770


def test_dropped_events_are_any():
    events, times_kept = uniform_recording(10, 10, each=1), np.zeros(100)
    for seed in range(300):
        after = seeded(seed, DropEvents((0.305,)), events)
        assert len(after) == 100 - 30
        times_kept[after.t] += 1
    assert np.abs(times_kept / 300 - 0.7).max() < 0.12  # 4.5 deviations


@pytest.mark.parametrize(
    "augmentation", [DropByTime((1.0,)), DropByArea((1.0,)), Cutout(1.0), DropEvents((1.0,))], ids=name
)
def test_no_recording_is_emptied(augmentation):
    for events in (Events.of([3], [1], [1], [1], (3, 3, 2)), Events.of([], [], [], [], (3, 3, 2))):
        for seed in range(20):
            assert rows(seeded(seed, augmentation, events)) == rows(events)


def test_event_drop_draws_the_published_ratios():
    """Numbers of the paper's code: nothing, 0.1-0.9 of time, 0.05-0.25 of the sides, 0.1-0.9 of events, 1/4 each."""
    events, drop, seen = uniform_recording(20, 20, each=5), EventDrop(), Counter()
    for seed in range(600):
        after = seeded(seed, drop, events)
        gone = np.setdiff1d(events.t, after.t)
        empty = frame(after).sum(0) == 0
        if not len(gone):
            seen["nothing"] += 1
        elif len(gone) == 5 * empty.sum() and empty.sum() == empty.any(0).sum() * empty.any(1).sum() <= 25:
            seen["area"] += 1
        elif (np.diff(gone) == 1).all():
            seen["time"] += 1
            assert len(gone) / len(events) * 10 == pytest.approx(round(len(gone) / len(events) * 10))
        else:
            seen["events"] += 1
            assert len(gone) / len(events) * 10 == pytest.approx(round(len(gone) / len(events) * 10))
    assert set(seen) == {"nothing", "area", "time", "events"}
    assert all(110 < number < 190 for number in seen.values())  # 150, +- 3.8 deviations


@pytest.mark.parametrize(("magnitude", "pixels", "degrees", "hole"), [(1, 3, 15, 8), (2, 5, 30, 16), (3, 7, 45, 24)])
def test_magnitudes_of_nda(magnitude, pixels, degrees, hole):
    roll, rotate, cutout, shear = NDA(magnitude).choices
    assert (rotate.degrees, shear.degrees) == (degrees, degrees)
    dot = Events.of([0], [24], [24], [0], (48, 48, 2))
    reached = [int(seeded(seed, roll, dot).x[0]) - 24 for seed in range(200)]
    assert (min(reached), max(reached)) == (-pixels, pixels)
    holes = [int((frame(seeded(seed, cutout, uniform_recording(48, 48, 1))).sum(0) == 0).sum()) for seed in range(20)]
    assert max(holes) == hole**2


@pytest.mark.parametrize("number", [1, 2, 4])
def test_nda_draws_different_ones_equally_often(monkeypatch, number):
    drawn = []
    for kind in (Roll, Rotate, Cutout, Shear):
        monkeypatch.setattr(kind, "change", lambda self, events, *_: drawn.append(name(self)) or events)
    nda, events = NDA(1, number, flip=0), uniform_recording(4, 4)
    for seed in range(200):
        drawn.append("|")
        seeded(seed, nda, events)
    samples = [sample.split() for sample in " ".join(drawn).split("|")[1:]]
    assert all(len(sample) == len(set(sample)) == number for sample in samples)
    counts = Counter(choice for sample in samples for choice in sample)
    assert all(abs(count - 50 * number) < 26 for count in counts.values())
    assert len(counts) == 4


def test_nda_flips_half_of_the_samples(monkeypatch):
    for kind in (Roll, Rotate, Cutout, Shear):
        monkeypatch.setattr(kind, "change", lambda self, events, *_: events)
    dot = Events.of([0], [0], [0], [0], (9, 9, 2))
    flipped = [int(seeded(seed, NDA(), dot).x[0]) == 8 for seed in range(300)]
    assert 110 < sum(flipped) < 190
    assert not any(seeded(seed, NDA(flip=0), dot).x[0] for seed in range(50))


class Recordings(torch.utils.data.Dataset):
    """Ten recordings as events."""

    def __getitem__(self, index):
        return uniform_recording(12, 9, each=index + 1), index

    def __len__(self):
        return 10


class ToFrames(torch.nn.Module):
    def forward(self, events):
        return torch.from_numpy(Frames(4)(events, events.sensor_size)).float()


ALL = torch.nn.Sequential(
    Flip(),
    Roll(),
    Crop(),
    TimeJitter(20.0),
    TimeReversal(),
    DropEvents(),
    DropByTime((0.1,)),
    EventDrop(),
    NDA(2, 2),
    ToFrames(),
)


def test_a_sample_depends_on_seed_epoch_and_index_only():
    data, epochs = SeededDataset(Recordings(), ALL), []
    for workers in (0, 2):
        sampler = EpochSampler(data, seed=3)
        loader = DataLoader(
            data, batch_size=2, sampler=sampler, num_workers=workers, collate_fn=collate, generator=torch.Generator()
        )
        for epoch in (1, 0):
            sampler.set_epoch(epoch)
            state = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
            epochs.append({int(y): x for xs, ys in loader for x, y in zip(xs.unbind(1), ys, strict=True)})
            assert torch.equal(torch.get_rng_state(), state[0])
            assert (np.random.get_state()[1].tolist(), random.getstate()) == state[1:]
    assert all(torch.equal(epochs[epoch][index], epochs[2 + epoch][index]) for epoch in (0, 1) for index in range(10))
    assert not any(torch.equal(epochs[0][index], epochs[1][index]) for index in range(10))
    alone = {key[0]: key for key in EpochSampler(data, seed=3)}
    assert torch.equal(data[alone[4]][0], epochs[1][4])
