"""AER-DAT2.0, address by address: bits as jAER lays them out."""

import struct

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.events.cifar10_dvs import read_turned
from datamodules.events.readers.formats import read_events
from datamodules.events.recordings import EventSample

HEAD = b"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n"
DAVIS346 = [(259 << 22 | 345 << 12 | 1 << 11, 10), (0, 20)]  # on at x 0, y 0; off at x 345, y 259


def write(path, pairs, head=HEAD):
    path.write_bytes(head + b"".join(struct.pack(">II", *pair) for pair in pairs))
    return path


def columns(found):
    return [part.tolist() for part in (found.t, found.x, found.y, found.p)]


def test_a_file_that_names_no_chip_needs_the_camera(tmp_path):
    file = write(tmp_path / "a.aedat", DAVIS346)
    with pytest.raises(DataError, match=r"expected one of the chips .* found no line # AEChip\. Name the camera"):
        read_events(file)
    found = read_events(file, camera="DAVIS346")
    assert columns(found) == [[10, 20], [0, 345], [0, 259], [1, 0]]
    assert found.sensor_size == (346, 260, 2)
    with pytest.raises(DataError, match=r"event 0 has the address 0x40d59800, expected one of a DVS128"):
        read_events(file, camera="DVS128")
    with pytest.raises(ValueError, match="camera: expected one of DVS128, DAVIS240, DAVIS346, found 'DVS346'"):
        read_events(file, camera="DVS346")


def test_the_chip_in_the_header_wins(tmp_path):
    file = write(tmp_path / "a.aedat", DAVIS346, HEAD + b"# AEChip: eu.seebetter.ini.chips.davis.Davis346blue\r\n")
    assert columns(read_events(file, camera="DVS128"))[1] == [0, 345]


def test_a_name_that_only_begins_like_a_chip(tmp_path):
    file = write(tmp_path / "a.aedat", DAVIS346, HEAD + b"# AEChip: DVS1280\r\n")
    with pytest.raises(DataError, match="found the chip DVS1280"):
        read_events(file)
    assert columns(read_events(file, camera="DAVIS346"))[1] == [0, 345]


def test_dvs128_is_upright_and_its_special_events_are_no_pixels(tmp_path):
    """x_raw = 100, y_raw = 30: x = 27 from the left, y = 97 from the top; CIFAR10-DVS has x and y exchanged."""
    pairs = [(30 << 8 | 100 << 1, 5), (1 << 15, 6), (30 << 8 | 100 << 1 | 1, 7)]
    file = write(tmp_path / "a.aedat", pairs)
    assert columns(read_events(file, camera="DVS128")) == [[5, 7], [27, 27], [97, 97], [1, 0]]
    assert columns(read_turned(EventSample(file, 0)))[1:3] == [[97, 97], [27, 27]]


def test_all_pixels_of_a_davis_by_a_loop(tmp_path):
    draw = np.random.default_rng(0)
    x, y, p = draw.integers(240, size=50), draw.integers(180, size=50), draw.integers(2, size=50)
    address = (179 - y) << 22 | (239 - x) << 12 | p << 11
    pairs = [(a, n) for n, a in enumerate(address.tolist())]
    found = read_events(write(tmp_path / "a.aedat", pairs), camera="DAVIS240")
    assert columns(found) == [list(range(50)), x.tolist(), y.tolist(), p.tolist()]


def test_aedat3_overflow_and_invalid_events(tmp_path, same):
    head = b"#!AER-DAT3.1\r\n#!END-HEADER\r\n"
    events = [(5, 1), (6, 0), (7, 1)]
    body = b"".join(struct.pack("<II", 3 << 17 | 4 << 2 | 2 | valid, t) for t, valid in events)
    (tmp_path / "a.aedat").write_bytes(head + struct.pack("<hhiiiiii", 1, 1, 8, 4, 2, 3, 3, 2) + body)
    found = read_events(tmp_path / "a.aedat")
    same(found, [(2 << 31) + 5, (2 << 31) + 7], [3, 3], [4, 4], [1, 1])
    assert found.sensor_size is None
