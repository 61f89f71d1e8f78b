import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.events.arrays import Events


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.uint64, np.float32, np.float64])
def test_every_type_of_number(kind):
    events = Events.of(*(np.array(row, kind) for row in ([5, 7], [1, 2], [3, 0], [1, 0])), (34, 34, 2))
    assert [row.tolist() for row in (events.t, events.x, events.y, events.p)] == [[5, 7], [1, 2], [3, 0], [1, 0]]
    assert [row.dtype for row in (events.t, events.x, events.y, events.p)] == [np.int64, np.int16, np.int16, np.uint8]


@pytest.mark.parametrize("polarity", [[True, False, True], [1, 0, 1], [1, -1, 1], [1.0, -1.0, 1.0]])
def test_every_kind_of_polarity(polarity):
    assert Events.of([0] * 3, [0] * 3, [0] * 3, polarity).p.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"t": [0.0, float("nan")]}, "event 1 has t = nan"),
        ({"t": [float("-inf"), 0.0]}, "event 0 has t = -inf"),
        ({"t": np.array([0, 2**63], np.uint64)}, "event 1 has t = 9223372036854775808"),
        ({"x": [0, -1]}, "event 1 has x = -1"),
        ({"x": [40_000, 0]}, "event 0 has x = 40000"),
        ({"y": [0.5, 0]}, "event 0 has y = 0.5, which is no whole number"),
        ({"p": [2, 0]}, "event 0 has p = 2"),
        ({"p": [-1, 0]}, "event 1 has p = 0 where others have -1"),
        ({"p": ["a", "b"]}, "p: expected numbers"),
        ({"p": [1]}, r"same length, found t \(2,\).*p \(1,\)"),
    ],
)
def test_no_events(changed, problem):
    with pytest.raises(ValueError, match=problem):
        Events.of(**({name: [0, 1] for name in "txyp"} | changed))


@given(st.lists(st.integers(-5, 5), max_size=20))
@settings(max_examples=50, deadline=None)
def test_in_time_is_stable(times):
    order = sorted(range(len(times)), key=lambda i: times[i])  # Python's sort is stable
    events = Events.of(times, range(len(times)), [0] * len(times), [0] * len(times)).in_time()
    assert events.x.tolist() == order
    assert events.duration == (max(times) - min(times) if times else 0)


def test_a_part():
    events = Events.of([3, 1, 2], [0, 1, 2], [0, 1, 2], [1, 0, 1], (3, 3, 2))
    assert len(events) == 3
    for chosen, expected in ((slice(1, None), [1, 2]), (events.p == 1, [3, 2]), ([2, 0], [2, 3])):
        assert events[chosen].t.tolist() == expected
        assert events[chosen].sensor_size == (3, 3, 2)
