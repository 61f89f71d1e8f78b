"""NDA: its magnitudes and draws."""

from collections import Counter

import pytest

from datamodules.events.arrays import Events
from datamodules.events.augmentation.dropping import Cutout
from datamodules.events.augmentation.policies import NDA
from datamodules.events.augmentation.space import Roll, Rotate, Shear


@pytest.mark.parametrize(("magnitude", "pixels", "degrees", "hole"), [(1, 3, 15, 8), (2, 5, 30, 16), (3, 7, 45, 24)])
def test_magnitudes_of_nda(magnitude, pixels, degrees, hole, uniform_recording, frame, seeded):
    roll, rotate, cutout, shear = NDA(magnitude).choices
    assert (rotate.degrees, shear.degrees) == (degrees, degrees)
    dot = Events.of([0], [24], [24], [0], (48, 48, 2))
    reached = [int(seeded(seed, roll, dot).x[0]) - 24 for seed in range(200)]
    assert (min(reached), max(reached)) == (-pixels, pixels)
    holes = [int((frame(seeded(seed, cutout, uniform_recording(48, 48, 1))).sum(0) == 0).sum()) for seed in range(20)]
    assert max(holes) == hole**2


@pytest.mark.parametrize("number", [1, 2, 4])
def test_nda_draws_different_ones_equally_often(monkeypatch, number, uniform_recording, seeded):
    drawn = []
    for kind in (Roll, Rotate, Cutout, Shear):
        monkeypatch.setattr(kind, "change", lambda self, events, *_: drawn.append(type(self).__name__) or events)
    nda, events = NDA(1, number, flip=0), uniform_recording(4, 4)
    for seed in range(200):
        drawn.append("|")
        seeded(seed, nda, events)
    samples = [sample.split() for sample in " ".join(drawn).split("|")[1:]]
    assert all(len(sample) == len(set(sample)) == number for sample in samples)
    counts = Counter(choice for sample in samples for choice in sample)
    assert all(abs(count - 50 * number) < 26 for count in counts.values())
    assert len(counts) == 4


def test_nda_flips_half_of_the_samples(monkeypatch, seeded):
    for kind in (Roll, Rotate, Cutout, Shear):
        monkeypatch.setattr(kind, "change", lambda self, events, *_: events)
    dot = Events.of([0], [0], [0], [0], (9, 9, 2))
    flipped = [int(seeded(seed, NDA(), dot).x[0]) == 8 for seed in range(300)]
    assert 110 < sum(flipped) < 190
    assert not any(seeded(seed, NDA(flip=0), dot).x[0] for seed in range(50))
