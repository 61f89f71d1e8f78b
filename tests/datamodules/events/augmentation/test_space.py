"""Flips, rolls, crops, rotations and shears, against tonic, frames and plain numbers."""

import math
from collections import Counter

import numpy as np
import pytest
import tonic

from datamodules.events.arrays import Events
from datamodules.events.augmentation import space
from datamodules.events.augmentation.space import Crop, Flip, Roll, Rotate, Shear
from datamodules.events.augmentation.timing import TimeReversal


def kind(augmentation):
    return type(augmentation).__name__


def test_flips_are_tonic_s(uniform_recording):
    events = uniform_recording()
    structured = np.zeros(len(events), [("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", bool)])
    for field in "txyp":
        structured[field] = getattr(events, field)
    for ours, theirs in [
        (Flip(1, 0, 0), tonic.transforms.RandomFlipLR(events.sensor_size, p=1)),
        (Flip(0, 1, 0), tonic.transforms.RandomFlipUD(events.sensor_size, p=1)),
        (Flip(0, 0, 1), tonic.transforms.RandomFlipPolarity(p=1)),
        (TimeReversal(1), tonic.transforms.RandomTimeReversal(p=1)),  # its t begins at 0, and so do these
    ]:
        expected = theirs(structured.copy())
        after = ours(events)
        for field in "txyp":
            np.testing.assert_array_equal(
                getattr(after, field), expected[field], err_msg=f"{type(ours).__name__} {field}"
            )


def test_each_flip_has_its_own_chance(rows, seeded):
    events, flip = Events.of([0], [0], [0], [0], (2, 2, 2)), Flip(0.5, 0.25, 0.75)
    after = [rows(seeded(seed, flip, events))[0] for seed in range(400)]
    assert [sum(column) / 400 for column in list(zip(*after, strict=True))[1:]] == pytest.approx(
        [0.5, 0.25, 0.75], abs=0.1
    )
    assert len(set(after)) == 8


def test_a_sensor_of_one_polarity_keeps_it():
    events = Events.of([5, 9], [0, 1], [1, 1], [0, 0], (2, 2, 1))
    assert Flip(0, 0, 1)(events).p.tolist() == TimeReversal(1)(events).p.tolist() == [0, 0]


def test_roll_is_that_of_frames(uniform_recording, frame, seeded):
    events = uniform_recording(8, 6)[:100]
    before, seen = frame(events), Counter()
    shifts = {(down, right): np.roll(before, (down, right), (1, 2)) for down in range(-1, 2) for right in range(-2, 3)}
    for seed in range(300):
        after = frame(seeded(seed, Roll(0.2), events))  # 0.2 of 8 and 6: at most 2 and 1 pixels
        (shift,) = [shift for shift, expected in shifts.items() if (after == expected).all()]
        seen[shift] += 1
    assert len(seen) == 15
    assert min(seen.values()) > 5


@pytest.mark.parametrize(("scale", "padding"), [(1.0, 0.25), (0.5, 0.0), (0.5, 0.25)])
def test_crop_is_that_of_frames(scale, padding, uniform_recording, frame, seeded):
    width, height = 8, 4
    events, size = uniform_recording(width, height), (round(scale * height), round(scale * width))
    spare = round(padding * height), round(padding * width)
    padded = np.pad(frame(events), ((0, 0), (spare[0],) * 2, (spare[1],) * 2))
    margin = [(height - size[0]) // 2, (width - size[1]) // 2]
    crops = {}
    for top in range(height - size[0] + 2 * spare[0] + 1):
        for left in range(width - size[1] + 2 * spare[1] + 1):
            crop = np.zeros_like(frame(events))
            window = padded[:, top : top + size[0], left : left + size[1]]
            crop[:, margin[0] : margin[0] + size[0], margin[1] : margin[1] + size[1]] = window
            crops[crop.tobytes()] = (top, left)
    found = Counter(crops[frame(seeded(seed, Crop(scale, padding), events)).tobytes()] for seed in range(400))
    assert set(found) == set(crops.values())


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (-90, -1), (180, 2), (0, 0)])
def test_quarter_turns(monkeypatch, degrees, turns, uniform_recording, frame):
    monkeypatch.setattr(space, "uniform", lambda low, high: degrees)
    for side in (7, 8):
        events = uniform_recording(side, side)[:100]
        np.testing.assert_array_equal(frame(Rotate()(events)), np.rot90(frame(events), turns, (1, 2)))
    if turns % 2 == 0:
        events = uniform_recording()[:100]
        np.testing.assert_array_equal(frame(Rotate()(events)), np.rot90(frame(events), turns, (1, 2)))


def slow(events, rows, place):
    """Events at place(x, y), rounded, in plain numbers."""
    width, height, _ = events.sensor_size
    kept = []
    for t, x, y, p in rows(events):
        new_x, new_y = place(x, y)
        column, row = math.floor(new_x + 0.5), math.floor(new_y + 0.5)
        if 0 <= column < width and 0 <= row < height:
            kept.append((t, column, row, p))
    return kept


@pytest.mark.parametrize("angle", [7.3, -33.3, 100.1])
def test_rotation_and_shear_of_plain_numbers(monkeypatch, angle, rows, uniform_recording):
    monkeypatch.setattr(space, "uniform", lambda low, high: angle / 2 if high == 60 else angle)
    events = uniform_recording(19, 10)
    turn = complex(math.cos(math.radians(angle)), -math.sin(math.radians(angle)))  # y points down

    def rotated(x, y):
        place = complex(x - 9, y - 4.5) * turn
        return place.real + 9, place.imag + 4.5

    assert rows(Rotate(180)(events)) == slow(events, rows, rotated)
    slope = math.tan(math.radians(angle / 2))
    assert rows(Shear(60)(events)) == slow(events, rows, lambda x, y: (x + slope * (y - 4.5), y))


@pytest.mark.parametrize(("augmentation", "highest"), [(Rotate(30), 30), (Shear(30), 30)], ids=kind)
def test_angles_fill_their_range(monkeypatch, augmentation, highest, uniform_recording, seeded):
    drawn = []
    uniform = space.uniform
    monkeypatch.setattr(space, "uniform", lambda *ends: drawn.append(uniform(*ends)) or drawn[-1])
    for seed in range(200):
        seeded(seed, augmentation, uniform_recording(5, 5))
    assert -highest <= min(drawn) < -0.95 * highest
    assert highest >= max(drawn) > 0.95 * highest
