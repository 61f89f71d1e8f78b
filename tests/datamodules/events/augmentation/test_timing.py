"""Jitter and reversal of times."""

import numpy as np
import pytest

from datamodules.events.arrays import Events
from datamodules.events.augmentation.timing import TimeJitter, TimeReversal


@pytest.mark.parametrize("clock", [0, 2**62 - 9, -(2**62)])
def test_reversal(clock, rows):
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


def test_jitter_has_its_deviation_and_pairs_stay_together(rows, seeded):
    n = 20_000
    events = Events.of(np.arange(n) * 1000, np.arange(n), np.zeros(n), np.arange(n) % 2, (n, 1, 2))
    after = seeded(0, TimeJitter(300.0), events)
    shift = after.t - after.x.astype(np.int64) * 1000  # x tells which event it was
    assert shift.std() == pytest.approx(300, rel=0.03)
    assert abs(shift.mean()) < 10
    assert (after.p == after.x % 2).all()
    assert rows(TimeJitter(0)(events)) == rows(events)


def test_jitter_never_wraps(seeded):
    small = Events.of(np.array([1, 5, 2**62], np.uint64), [0, 1, 2], [0] * 3, [True] * 3, (3, 1, 2))
    for seed in range(50):
        after = seeded(seed, TimeJitter(1e9), small)
        assert after.t[0] >= 1
        assert 0 < 2**62 - after.t[-1] + 1 < 10**11
