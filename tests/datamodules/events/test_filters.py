"""Each filter against its rule, event by event, and against tonic."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datamodules.events.arrays import Events
from datamodules.events.filters import Denoise, HotPixels, Refractory

W, H = 5, 4
few = settings(deadline=None, derandomize=True, max_examples=60)
FILTERS = [Denoise(0.02), Refractory(0.02), HotPixels(3e4)]
times = st.integers(-60, 60) | st.sampled_from([-(2**62), 2**62 - 20, 2**62 - 1, 2**62])
rows = st.lists(st.tuples(times, st.integers(0, W - 1), st.integers(0, H - 1), st.integers(0, 1)), max_size=20)


def recording(drawn):
    t, x, y, p = zip(*drawn, strict=True) if drawn else ([], [], [], [])
    return Events.of(np.array(t, np.int64), x, y, p)


def listed(events):
    return [tuple(int(v) for v in row) for row in zip(events.t, events.x, events.y, events.p, strict=True)]


def by_rule(drawn, stays):
    """The events, in the order of time, that stay(earlier events, event)."""
    ordered = sorted(drawn, key=lambda event: event[0])
    return [event for i, event in enumerate(ordered) if stays(ordered[:i], event)]


def beside(a, b):
    return abs(a[1] - b[1]) + abs(a[2] - b[2])


@few
@given(rows, st.integers(1, 60))
@example([], 1)
@example([(0, 0, 0, 1)], 1)
@example([(0, 0, 0, 1), (0, 1, 0, 0)], 1)
@example([(0, 0, 0, 1), (0, 1, 1, 0)], 9)  # a diagonal is no neighbour
@example([(0, 4, 3, 1), (1, 0, 3, 1), (2, 4, 0, 1)], 9)  # nor is the other side of the sensor
def test_denoise(drawn, window):
    def stays(earlier, event):
        return any(beside(other, event) == 1 and event[0] - other[0] < window for other in earlier)

    assert listed(Denoise(window / 1000)(recording(drawn))) == by_rule(drawn, stays)


@few
@given(rows, st.integers(1, 60))
@example([], 1)
@example([(0, 0, 0, 1), (0, 0, 0, 0)], 1)
def test_refractory(drawn, period):
    def stays(earlier, event):
        before = [other for other in earlier if beside(other, event) == 0]
        return not before or event[0] - before[-1][0] > period

    assert listed(Refractory(period / 1000)(recording(drawn))) == by_rule(drawn, stays)


@few
@given(rows, st.sampled_from([1.0, 1e4, 3e4, 1e6]))
@example([], 1.0)
@example([(0, 0, 0, 1)] * 2, 1.0)
def test_hot_pixels(drawn, max_rate):
    duration = max(t for t, *_ in drawn) - min(t for t, *_ in drawn) if drawn else 0

    def stays(_, event):
        n = sum(beside(other, event) == 0 for other in drawn)
        return (n - 1) * 1e6 <= max_rate * duration

    assert listed(HotPixels(max_rate)(recording(drawn))) == by_rule(drawn, stays)


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_tonic(seed):
    """From the first window of its clock on."""
    tonic = pytest.importorskip("tonic.functional")
    rng, n = np.random.default_rng(seed), 3_000
    t = np.sort(rng.integers(10_000, 200_000, n))
    events = Events.of(t, rng.integers(0, 34, n), rng.integers(0, 28, n), rng.random(n) < 0.5)
    theirs = np.zeros(n, [("t", int), ("x", int), ("y", int), ("p", int)])
    for name in "txyp":
        theirs[name] = getattr(events, name)
    for ours, their in (
        (Denoise(10.0), tonic.denoise_numpy(theirs, filter_time=10_000)),
        (Refractory(9.0), tonic.refractory_period_numpy(theirs, refractory_period=9_000)),
    ):
        kept = listed(ours(events))
        assert 100 < len(kept) < n - 100
        assert kept == [tuple(row) for row in their.tolist()]


@pytest.mark.parametrize("clean", FILTERS, ids=repr)
@few
@given(rows.map(lambda drawn: [event for event in drawn if abs(event[0]) < 100]), st.integers(-(2**61), 2**61))
def test_clock_mirror_and_polarity_do_not_matter(clean, drawn, shift):
    kept = listed(clean(recording(drawn)))
    moved = [(t + shift, W - 1 - x, H - 1 - y, 1 - p) for t, x, y, p in drawn]
    assert listed(clean(recording(moved))) == [(t + shift, W - 1 - x, H - 1 - y, 1 - p) for t, x, y, p in kept]


@pytest.mark.parametrize("clean", FILTERS, ids=repr)
def test_sensor_size_stays_and_the_recording_is_not_changed(clean):
    events = Events.of([5, 0, 1], [3, 0, 1], [2, 0, 0], [1, 0, 1], (W, H, 2))
    assert clean(events).sensor_size == (W, H, 2)
    assert listed(events) == [(5, 3, 2, 1), (0, 0, 0, 0), (1, 1, 0, 1)]


@pytest.mark.parametrize("clean", [Denoise(1.0), Refractory(1.0)], ids=repr)
def test_a_negative_place_is_refused(clean):
    events = Events(np.arange(2), np.array([0, -7], np.int16), np.zeros(2, np.int16), np.zeros(2, np.uint8))
    with pytest.raises(ValueError, match=r"event 1 .* has x = -7"):
        clean(events)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(("kind", "name"), [(Denoise, "window_ms"), (Refractory, "period_ms"), (HotPixels, "max_rate")])
def test_bad_arguments(kind, name, value):
    with pytest.raises(ValueError, match=f"{name}: expected 0.001 to 1e12, found {value}"):
        kind(**{name: value})


def test_what_it_does_is_in_its_name():
    """A cache of filtered recordings is keyed by it."""
    assert [repr(clean) for clean in FILTERS] == [
        "Denoise(window_ms=0.02)",
        "Refractory(period_ms=0.02)",
        "HotPixels(max_rate=30000.0)",
    ]
