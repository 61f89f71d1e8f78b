"""No event is lost: every representation against a slow definition in Python's own numbers, on drawn recordings."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datamodules.events.arrays import Events
from datamodules.events.frames import Frames, TimeSurface, VoxelGrid

W, H = 5, 3
few = settings(deadline=None, derandomize=True, max_examples=60)


def recording(rows, polarities=2):
    """Events of rows (t, x, y, p)."""
    t, x, y, p = zip(*rows, strict=True) if rows else ([], [], [], [])
    return Events.of(np.array(t, np.int64), x, y, p, (W, H, polarities))


def rows(t):
    return st.lists(st.tuples(t, st.integers(0, W - 1), st.integers(0, H - 1), st.integers(0, 1)), max_size=12)


times = st.one_of(  # unsorted, repeated, near 0, near the largest and as far apart as can be
    rows(st.integers(-300, 300) | st.integers(0, 3)),
    rows(st.integers(2**62 - 300, 2**62)),
    rows(st.integers(-300, 300)).map(lambda drawn: [(t - 2**62 + 300, *rest) for t, *rest in drawn]),
)


def place(drawn, by, num_steps, window_ms):
    """The definition: the step of every event, in the order of time, and T."""
    ordered = sorted(t for t, *_ in drawn)
    if by == "count":
        bounds = [k * len(drawn) // num_steps for k in range(num_steps + 1)]
        return [max(k for k in range(num_steps) if bounds[k] <= i) for i in range(len(drawn))], num_steps
    if window_ms is None:
        span = ordered[-1] - ordered[0] + 1 if ordered else 1
        return [num_steps * (t - ordered[0]) // span for t in ordered], num_steps
    steps = [(t - ordered[0]) // round(1000 * window_ms) for t in ordered]
    num_steps = num_steps or max(steps, default=0) + 1
    return [min(k, num_steps - 1) for k in steps], num_steps


def counts(drawn, polarities, **cut):
    steps, num_steps = place(drawn, cut.get("by", "time"), cut.get("num_steps"), cut.get("window_ms"))
    frames = np.zeros((num_steps, polarities, H, W), int)
    for k, (_, x, y, p) in zip(steps, sorted(drawn, key=lambda event: event[0]), strict=True):
        frames[k, p if polarities > 1 else 0, y, x] += 1
    return frames


cuts = st.one_of(
    st.builds(lambda n: {"num_steps": n}, st.integers(1, 20)),
    st.builds(lambda n: {"num_steps": n, "by": "count"}, st.integers(1, 20)),
    st.builds(lambda w: {"window_ms": w}, st.sampled_from([0.001, 0.0071, 0.1, 5.0, 1e12])),
    st.builds(lambda n, w: {"num_steps": n, "window_ms": w}, st.integers(1, 6), st.sampled_from([0.003, 0.1, 1e12])),
)


@few
@given(times, cuts, st.sampled_from([1, 2]))
@example([], {"num_steps": 3}, 2)
@example([], {"window_ms": 1.0}, 2)
@example([], {"num_steps": 3, "by": "count"}, 2)
@example([(7, 4, 2, 1)], {"num_steps": 4}, 1)
@example([(7, 4, 2, 1)] * 5, {"num_steps": 4}, 2)
@example([(-(2**62), 0, 0, 0), (2**62, 4, 2, 1)], {"num_steps": 7}, 2)
@example([(-(2**62), 0, 0, 0), (2**62, 4, 2, 1)], {"num_steps": 7, "window_ms": 1e12}, 2)
def test_every_event_is_in_one_cell(drawn, cut, polarities):
    frames = Frames(**cut)(recording(drawn), (W, H, polarities))
    assert frames.sum() == len(drawn)
    assert (frames == counts(drawn, polarities, **cut)).all()
    assert frames.shape[1:] == (polarities, H, W)
    binary = Frames(**cut, values="binary")(recording(drawn), (W, H, polarities))
    assert binary.dtype == np.uint8
    assert (binary == (frames > 0)).all()


@few
@given(st.lists(times, min_size=1, max_size=4), cuts, st.sampled_from(["count", "binary", "log", "maximum"]))
def test_a_batch_is_its_recordings(batch, cut, values):
    """On a device, and recording by recording; shorter ones end in empty steps."""
    represent, size = Frames(**cut, values=values), (W, H, 2)
    x = represent.batch([recording(drawn) for drawn in batch], size)
    assert x.dtype == torch.float32
    for n, drawn in enumerate(batch):
        alone = represent.to_float(torch.from_numpy(represent(recording(drawn), size)))
        torch.testing.assert_close(x[: len(alone), n], alone, rtol=0, atol=0)
        assert not x[len(alone) :, n].any()
    assert len(x) == max(len(represent(recording(drawn), size)) for drawn in batch)


@pytest.mark.parametrize("kind", [torch.uint8, torch.uint16, torch.uint32, torch.int32])
def test_values(kind):
    """Of whatever integers the cache gave back."""
    frames = torch.tensor([[0, 1], [3, 0]], dtype=kind).reshape(2, 1, 1, 2)
    assert Frames(2).to_float(frames).flatten().tolist() == [0, 1, 3, 0]
    assert Frames(2, values="maximum").to_float(frames).flatten().tolist() == pytest.approx([0, 1 / 3, 1, 0])
    logs = [0, math.log(2), math.log(4), 0]
    assert Frames(2, values="log").to_float(frames).flatten().tolist() == pytest.approx(logs)
    batch = torch.stack(
        [frames.int() * k for k in (1, 2, 0)], 1
    )  # each recording has its own maximum; an empty one is 0
    assert Frames(2, values="maximum").to_float(batch).amax((0, 2, 3, 4)).tolist() == [1, 1, 0]


def test_numbers_beyond_16_bits():
    n = 70_000
    events = Events.of(np.arange(n), np.full(n, 4), np.full(n, 2), np.ones(n, bool))
    assert Frames(1)(events, (W, H, 2))[0, 1, 2, 4] == n
    assert Frames(1).batch([events], (W, H, 2))[0, 0, 1, 2, 4] == n
    assert VoxelGrid(2)(events, (W, H, 2))[:, 0, 2, 4].tolist() == [n / 2, n / 2]


@few
@given(times, st.integers(1, 20), st.sampled_from([1, 2]))
@example([], 3, 2)
@example([(7, 4, 2, 0)], 3, 2)
@example([(7, 4, 2, 1), (7, 4, 2, 0), (7, 0, 0, 0)], 4, 2)
@example([(-(2**62), 0, 0, 0), (2**62, 4, 2, 1)], 7, 2)
def test_voxel_grid(drawn, num_steps, polarities):
    """Zhu et al.'s sum over events with max(0, 1 - |k - t*|), in fractions."""
    grid = VoxelGrid(num_steps)(recording(drawn), (W, H, polarities))
    assert grid.dtype == np.float32
    assert grid.shape == (num_steps, 1, H, W)
    first, last = min((t for t, *_ in drawn), default=0), max((t for t, *_ in drawn), default=0)
    expected = np.full(grid.shape, Fraction(0))
    for t, x, y, p in drawn:
        at = Fraction((num_steps - 1) * (t - first), max(last - first, 1))
        for k in range(num_steps):
            expected[k, 0, y, x] += (1 if p or polarities == 1 else -1) * max(Fraction(0), 1 - abs(k - at))
    np.testing.assert_allclose(grid, expected.astype(float), rtol=0, atol=1e-6)
    signs = [1 if p or polarities == 1 else -1 for *_, p in drawn]
    assert grid.sum(dtype=float) == pytest.approx(sum(signs), abs=1e-5)


@pytest.mark.parametrize("polarity", [np.array([True, False]), np.array([1, 0]), np.array([1, -1], np.int8)])
def test_polarity_of_any_kind(polarity):
    events = Events.of([0, 9], [1, 2], [0, 0], polarity)
    assert VoxelGrid(2)(events, (W, H, 2))[[0, 1], 0, 0, [1, 2]].tolist() == [1, -1]
    assert Frames(2)(events, (W, H, 2))[[0, 1], [1, 0], 0, [1, 2]].tolist() == [1, 1]


@few
@given(times, cuts.filter(lambda cut: "by" not in cut), st.sampled_from([1, 2]), st.sampled_from([0.05, 2.0, 1e9]))
@example([], {"num_steps": 2}, 2, 1.0)
@example([(-(2**62), 0, 0, 0), (2**62, 4, 2, 1)], {"num_steps": 3}, 2, 1e12)
def test_time_surface(drawn, cut, polarities, tau_ms):
    surfaces = TimeSurface(**cut, tau_ms=tau_ms)(recording(drawn), (W, H, polarities))
    steps, num_steps = place(drawn, "time", cut.get("num_steps"), cut.get("window_ms"))
    first, last = min((t for t, *_ in drawn), default=0), max((t for t, *_ in drawn), default=0)
    expected = np.zeros((num_steps, polarities, H, W))
    for k in range(num_steps):
        if (window_ms := cut.get("window_ms")) is None:  # the first whole µs of the next step
            end = first + math.ceil(Fraction((k + 1) * (last - first + 1), num_steps))
        else:
            end = first + (k + 1) * round(1000 * window_ms)
            end = max(end, last + 1) if k == num_steps - 1 else end
        for step, (t, x, y, p) in zip(steps, sorted(drawn, key=lambda event: event[0]), strict=True):
            if step <= k:  # the latest event of a pixel comes last
                expected[k, p if polarities > 1 else 0, y, x] = math.exp(-(end - t) / (1000 * tau_ms))
    np.testing.assert_allclose(surfaces, expected, rtol=1e-5, atol=1e-7)
    assert surfaces.dtype == np.float32
    assert (surfaces < 1.0 + 1e-7).all()


@pytest.mark.parametrize("represent", [Frames(2), Frames(2, by="count"), VoxelGrid(2), TimeSurface(2)])
@pytest.mark.parametrize(
    ("event", "size"), [((W, 0, 0), (W, H, 2)), ((0, H, 0), (W, H, 2)), ((0, 0, 1), (W, H, 3)), ((-1, 0, 0), (W, H, 2))]
)
def test_an_event_outside_is_named(represent, event, size):
    x, y, p = (np.array([0, part, 0]) for part in event)
    if size[2] == 3:
        p = p * 3
    events = Events(np.array([3, 2, 1]), x.astype(np.int16), y.astype(np.int16), p.astype(np.uint8))
    message = rf"event 1 is at x = {x[1]}, y = {y[1]} with polarity {p[1]}, outside a sensor of {W} x {H} pixels"
    with pytest.raises(ValueError, match=message):
        represent(events, size)
    if isinstance(represent, Frames):
        with pytest.raises(ValueError, match=message):
            represent.batch([events], size)


def test_the_recording_is_not_changed():
    events = recording([(9, 1, 1, 0), (3, 0, 2, 1)])
    kept = [array.copy() for array in (events.t, events.x, events.y, events.p)]
    for represent in (Frames(2), VoxelGrid(2), TimeSurface(2)):
        represent(events, (W, H, 1))
    assert all((a == b).all() for a, b in zip(kept, (events.t, events.x, events.y, events.p), strict=True))


def test_input_size():
    for represent in (Frames(2), VoxelGrid(2), TimeSurface(2)):
        assert represent(recording([]), (W, H, 2)).shape == (2, *represent.input_size((W, H, 2)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Give num_steps, .* or window_ms"),
        ({"num_steps": 0}, "num_steps: expected at least 1, found 0"),
        ({"window_ms": 0.0}, "window_ms: expected 0.001"),
        ({"window_ms": float("nan")}, "window_ms: expected 0.001"),
        ({"num_steps": 2, "by": "event"}, 'by: expected "time" or "count", found \'event\''),
        ({"num_steps": 2, "by": "count", "window_ms": 1.0}, "takes num_steps, and no window_ms"),
        ({"window_ms": 1.0, "by": "count"}, "takes num_steps, and no window_ms"),
        ({"num_steps": 2, "values": "sum"}, "values: expected .*'sum'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Frames(**arguments)


def test_bad_arguments_of_the_others():
    with pytest.raises(ValueError, match="num_steps: expected at least 1, found 0"):
        VoxelGrid(0)
    with pytest.raises(ValueError, match="tau_ms: expected more than 0, found 0"):
        TimeSurface(2, tau_ms=0)
    with pytest.raises(ValueError, match="Give num_steps, .* or window_ms"):
        TimeSurface()


def test_a_wrong_time_takes_no_memory():
    with pytest.raises(ValueError, match="takes 4611686018428 windows of 1000.0 ms"):
        Frames(window_ms=1000.0)(Events.of([0, 2**62], [0, 0], [0, 0], [0, 0]), (W, H, 2))
