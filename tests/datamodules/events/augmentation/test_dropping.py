"""What drops events, and how many."""

from collections import Counter

import numpy as np
import pytest

from datamodules.events.arrays import Events
from datamodules.events.augmentation.dropping import Cutout, DropByArea, DropByTime, DropEvents, EventDrop


def kind(augmentation):
    return type(augmentation).__name__


@pytest.mark.parametrize(
    ("augmentation", "whole_box"), [(DropByArea((0.1, 0.3)), True), (Cutout(0.3), False)], ids=kind
)
def test_areas(augmentation, whole_box, uniform_recording, frame, seeded):
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


def test_dropped_times(seeded):
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


def test_dropped_events_are_any(uniform_recording, seeded):
    events, times_kept = uniform_recording(10, 10, each=1), np.zeros(100)
    for seed in range(300):
        after = seeded(seed, DropEvents((0.305,)), events)
        assert len(after) == 100 - 30
        times_kept[after.t] += 1
    assert np.abs(times_kept / 300 - 0.7).max() < 0.12  # 4.5 deviations


@pytest.mark.parametrize(
    "augmentation", [DropByTime((1.0,)), DropByArea((1.0,)), Cutout(1.0), DropEvents((1.0,))], ids=kind
)
def test_no_recording_is_emptied(augmentation, rows, seeded):
    for events in (Events.of([3], [1], [1], [1], (3, 3, 2)), Events.of([], [], [], [], (3, 3, 2))):
        for seed in range(20):
            assert rows(seeded(seed, augmentation, events)) == rows(events)


def test_event_drop_draws_the_published_ratios(uniform_recording, frame, seeded):
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
