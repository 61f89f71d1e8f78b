"""Samples of recordings, their numbers, and the keys under which they are kept."""

import sys
from functools import partial
from importlib import import_module

import numpy as np
import pytest
from torch import nn

import datamodules
from datamodules.cache import Cache, code_of
from datamodules.errors import DataError
from datamodules.events.arrays import Events
from datamodules.events.augmentation.space import Flip
from datamodules.events.camera import EventCamera
from datamodules.events.clouds import Cloud
from datamodules.events.filters import Denoise
from datamodules.events.frames import Frames, TimeSurface
from datamodules.events.recordings import (
    EventSample,
    Recordings,
    between,
    described,
    read_sample,
    recording_stats,
    scaled,
)
from datamodules.events.twin import CameraReader


class Thin(nn.Module):
    """Every `step`-th event."""

    def __init__(self, step):
        super().__init__()
        self.step = step


def test_stats_are_measured_once(tmp_path):
    cache = Cache(tmp_path / "cache", 10**6)
    sample = EventSample(tmp_path / "0.npy", 0)
    array = np.stack([np.arange(200) * 500, np.arange(200) % 16, np.arange(200) % 12, np.arange(200) % 3 > 0], 1)
    np.save(sample.file, array)
    seen = []

    def reader(sample):
        seen.append(sample)
        return Events.of(*array.T)

    for _ in range(2):
        found = recording_stats(sample, reader, cache)
        assert found == (
            200,
            array[:, 3].sum(),
            array[-1, 0] - array[0, 0],
            array[:, 1].max() + 1,
            array[:, 2].max() + 1,
        )
    assert len(seen) == 1


def test_between_and_scaled():
    events = Events.of(*np.array([[5, 0, 0, 1], [1, 7, 3, 0], [9, 15, 11, 1]]).T)
    assert between(events, 5, 9).t.tolist() == [5]
    assert between(events, None, 5).t.tolist() == [1]
    assert between(events, None, None) is events
    small = scaled(events, (16, 12, 2), (4, 3, 2))
    assert (small.x.tolist(), small.y.tolist(), small.sensor_size) == ([0, 1, 3], [0, 0, 2], (4, 3, 2))


def test_descriptions_tell_parts_apart():
    nested = [nn.Sequential(Thin(2)), nn.Sequential(Thin(3))]
    parts = [Frames(4), Frames(5), Thin(2), Thin(3), *nested, Flip(1.0), between, scaled, None, (1, 2)]
    assert len({str(described(part)) for part in parts}) == len(parts)
    assert described(Thin(2)) == described(Thin(2))


def test_the_code_of_a_filter_of_the_users_own_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for kept in ("events[::2]", "events[::3]"):
        (tmp_path / "my_filters.py").write_text(f"def thin(events):\n    return {kept}\n")
        monkeypatch.delitem(sys.modules, "my_filters", raising=False)
        code_of.cache_clear()  # a new process
        found.append(described(import_module("my_filters").thin))
    assert found[0] != found[1]


PARTS = [Frames(4), TimeSurface(4), Cloud(8), Denoise(3.0), Flip(1.0), CameraReader(EventCamera()), between]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: str(described(part))[:30])
def test_a_key_does_not_depend_on_where_the_code_lies(part, monkeypatch):
    key = described(part)
    assert "datamodules" not in str(key)
    monkeypatch.setattr(part if part is between else type(part), "__module__", "datamodules")
    assert described(part) == key


def test_parts_of_one_name_differ_by_their_code(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, kept in (("one", 2), ("two", 3), ("three", 2)):
        (tmp_path / f"thin_{name}.py").write_text(f"def thin(events):\n    return events[::{kept}]\n")
    one, two, three = (described(import_module(f"thin_{name}").thin) for name in ("one", "two", "three"))
    assert one != two
    assert one == three  # the same code in another place


def test_the_public_classes_have_names_of_their_own():
    """Keys tell the parts of this package apart by their names only."""
    public = [getattr(datamodules, name) for name in datamodules.__all__]
    assert len({kind.__qualname__ for kind in public}) == len(public)


@pytest.mark.parametrize(
    ("header", "words", "kind"),
    [
        # EVT3: time, row 0, events at x = 7, 1308 and 5; the same with a vector of 12 pixels from 1275 on
        ("3.0", [0x8000, 0x6001, 0x0000, 0x2807, 0x251C, 0x2005], "<u2"),
        ("3.0", [0x8000, 0x6001, 0x0000, 0x2807, 0x34FB, 0x4021, 0x2005], "<u2"),
        # EVT2: time; type, low bits of the time, x, y
        ("2.0", [0x80000000, 0x10000000 | 7 << 11, 1308 << 11, 5 << 11], "<u4"),
    ],
)
def test_the_other_events_of_a_raw_file_stay(tmp_path, header, words, kind):
    sample = EventSample(tmp_path / "a.raw", 0)
    start = f"% evt {header}\n% geometry 1280x720\n% end\n".encode()
    sample.file.write_bytes(start + np.array(words, kind).tobytes())
    with pytest.raises(DataError, match="off the camera's 1280 x 720 pixels"):
        read_sample(sample)
    how = (partial(read_sample, keep_outside=True), (1280, 720, 2), (720, 1280), (), None, Cache(tmp_path, 0))
    events, dropped = Recordings([sample], *how, drop_outside=True).read_and_count(sample)
    assert events.x[[0, -1]].tolist() == [7, 5]
    assert (len(events), dropped) == (3 if len(words) == 7 else 2, 1)
    with pytest.raises(DataError, match=r"a\.raw: event \d is at x = 1\d+, y = 0 .* outside a sensor of 1280 x 720"):
        Recordings([sample], *how).read(sample)
    unknown = np.array([0xB0000000 if kind == "<u4" else 0xB000], kind)
    sample.file.write_bytes(sample.file.read_bytes() + unknown.tobytes())
    with pytest.raises(DataError, match="0xb0+ has an unknown type"):
        read_sample(sample, keep_outside=True)
