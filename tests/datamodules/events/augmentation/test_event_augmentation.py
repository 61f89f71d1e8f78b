"""Augmentation keeps what it must, draws what is published, and depends on (seed, epoch, index) only."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from datamodules.events.arrays import Events
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


@pytest.mark.parametrize("augmentation", [*KEEP_ALL, *DROP, *MOVE], ids=name)
@given(events=recordings(), seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_what_all_keep(augmentation, events, seed, rows, seeded):
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
def test_no_event_is_lost(augmentation, events, seed, seeded):
    after = seeded(seed, augmentation, events)
    assert len(after) == len(events)
    assert int(after.p.sum()) in {int(events.p.sum()), len(events) - int(events.p.sum())}


@pytest.mark.parametrize("augmentation", DROP, ids=name)
@given(events=recordings(), seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_dropping_invents_nothing_and_keeps_the_order(augmentation, events, seed, rows, seeded):
    remaining = iter(rows(events))
    assert all(row in remaining for row in rows(seeded(seed, augmentation, events)))  # a subsequence


@pytest.mark.parametrize("augmentation", [*KEEP_ALL, *DROP, *MOVE], ids=name)
def test_sensor_must_be_known_and_hold_the_events(augmentation, uniform_recording):
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


class Recordings(torch.utils.data.Dataset):
    """Ten recordings as events."""

    def __init__(self, recording):
        self.recording = recording

    def __getitem__(self, index):
        return self.recording(12, 9, each=index + 1), index

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


def test_a_sample_depends_on_seed_epoch_and_index_only(uniform_recording):
    data, epochs = SeededDataset(Recordings(uniform_recording), ALL), []
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
