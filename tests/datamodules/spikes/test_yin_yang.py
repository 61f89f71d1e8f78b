import math

import numpy as np
import pytest
import torch

from datamodules.spikes.yin_yang import YinYangDataModule, which_class, yin_yang


@pytest.fixture(scope="module")
def points():
    return yin_yang(2000, 42)


def test_the_first_points_are_the_published_ones():
    """Of train_samples.npy, validation_samples.npy and test_samples.npy of the publication."""
    published = {
        42: [(0.68030754, 0.45049925), (0.09767211, 0.68423303)],
        41: [(0.68057273, 0.32097339), (0.66851572, 0.91744785)],
        40: [(0.23409665, 0.40172498), (0.75132902, 0.46824252)],
    }
    for seed, expected in published.items():
        assert np.allclose(yin_yang(2, seed)[0][:, :2], expected, atol=5e-9)


def test_the_symbol(points):
    """The dots are small, the symbol is point-symmetric but for its classes, and the classes are balanced."""
    (x, y), labels = points[0][:, :2].T, points[1]
    assert (np.hypot(x - 0.5, y - 0.5) <= 0.5).all()
    assert np.allclose(points[0][:, 2:], 1 - points[0][:, :2])
    assert np.bincount(labels).min() > 600
    to_dot = np.minimum(np.hypot(x - 0.25, y - 0.5), np.hypot(x - 0.75, y - 0.5))
    assert ((to_dot < 0.1) == (labels == 2)).all()
    turned = [which_class(1 - a, 1 - b) for a, b in zip(x, y, strict=True)]
    assert all(two == {0: 1, 1: 0, 2: 2}[one] for one, two in zip(labels.tolist(), turned, strict=True))


@pytest.mark.parametrize(("point", "label"), [((0.5, 0.9), 1), ((0.5, 0.1), 0), ((0.25, 0.65), 1), ((0.75, 0.35), 0)])
def test_points_by_hand(point, label):
    assert which_class(*point) == label


@pytest.mark.parametrize("dt", [0.2, 1.0])
def test_a_spike_a_channel_at_its_time(dt):
    data = YinYangDataModule(batch_size=50, dt=dt, train_size=100)
    data.setup("fit")
    x, labels = next(iter(data.val_dataloader()))
    expected, classes = yin_yang(50, 41)
    assert x.shape == (math.ceil(40 / dt), 50, 5)
    assert x.dtype == torch.float32
    assert torch.equal(x.sum(0), torch.ones(50, 5))
    assert torch.equal(labels, torch.from_numpy(classes))
    times = x.argmax(0) * dt
    assert (times[:, 4] == 0).all()
    assert np.abs(times[:, :4].numpy() - 30 * expected).max() <= dt / 2 + 1e-5
    assert [len(split) for split in data.splits.values()] == [100, 1000, 1000]


@pytest.mark.parametrize(("name", "value"), [("dt", 0.0), ("dt", 40.0), ("last_spike", 40.0), ("train_size", 0)])
def test_arguments_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"{name}: .*found {value}"):
        YinYangDataModule(**{name: value})
