"""Recordings, and how they are read off."""

import numpy as np
import pytest
import torch

from datamodules.events.arrays import Events
from datamodules.events.frames import Frames


def _rows(events):
    return list(zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True))


def _uniform_recording(width=20, height=10, each=3):
    """`each` events in every pixel, one µs apart, in an arbitrary order."""
    rng = np.random.default_rng(0)
    x, y = (values.ravel().repeat(each) for values in np.meshgrid(np.arange(width), np.arange(height)))
    order = rng.permutation(len(x))
    return Events.of(np.arange(len(x)), x[order], y[order], rng.integers(0, 2, len(x)), (width, height, 2))


def _frame(events):
    return Frames(1)(events, events.sensor_size)[0]


def _seeded(seed, augmentation, *args):
    torch.manual_seed(seed)
    return augmentation(*args)


@pytest.fixture(scope="session")
def rows():
    return _rows


@pytest.fixture(scope="session")
def uniform_recording():
    return _uniform_recording


@pytest.fixture(scope="session")
def frame():
    return _frame


@pytest.fixture(scope="session")
def seeded():
    return _seeded
