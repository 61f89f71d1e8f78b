"""Events drawn at random, and how those that were read are compared with them."""

import numpy as np
import pytest


def draw(n=60, width=34, height=34, seed=0):
    """n events, ordered in time, as t, x, y, p."""
    draw = np.random.default_rng(seed)
    t = np.sort(draw.integers(0, 100_000, n))
    return t, draw.integers(0, width, n), draw.integers(0, height, n), draw.integers(0, 2, n)


def compare(events, t, x, y, p):
    for found, expected in zip((events.t, events.x, events.y, events.p), (t, x, y, p), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert [a.dtype for a in (events.t, events.x, events.y, events.p)] == [np.int64, np.int16, np.int16, np.uint8]


@pytest.fixture(scope="session")
def sample():
    """`draw`."""
    return draw


@pytest.fixture(scope="session")
def same():
    """`compare`."""
    return compare


@pytest.fixture
def real(real_data):
    """Real recordings in many formats."""
    return real_data("events_samples")
