"""EVT3 as its maker's decoder (OpenEB) reads it: the low bits of the time, word by word."""

import struct

import numpy as np
import pytest

from datamodules.events.readers.formats import read_events

HEAD = b"% evt 3.0\n% format EVT3;height=720;width=1280\n% end\n"
TIME_HIGH, TIME_LOW, Y, X = 0x8000, 0x6000, 0x0000, 0x2000


def times(path, words):
    path.write_bytes(HEAD + struct.pack(f"<{len(words)}H", *words))
    return read_events(path).t.tolist()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        # vectors of 12 pixels and single pixels; the second time high clears the low bits
        ([0x8000, 0x6001, 0x0000, 0x2000, 0x300A, 0x4001, 0x4000, 0x80FF, 0x2001], [1, 1, 0xFF000]),
        # before the first time low, the low bits are 0
        ([TIME_HIGH | 3, Y | 5, X | 7], [3 << 12]),
        # the same time high again, which cameras repeat, changes nothing
        ([TIME_HIGH | 3, TIME_LOW | 9, Y | 5, X | 7, TIME_HIGH | 3, X | 8], [(3 << 12) + 9] * 2),
        # before the first time high there is no time
        ([Y | 5, X | 7, TIME_HIGH | 1, X | 7], [1 << 12]),
        # 24 bits of time begin anew
        ([TIME_HIGH | 0xFFF, TIME_LOW | 1, Y, X, TIME_HIGH, X], [0xFFF001, 1 << 24]),
    ],
)
def test_low_bits_of_the_time(tmp_path, words, expected):
    assert times(tmp_path / "a.raw", words) == expected


def test_the_old_dat(tmp_path, same):
    """Version 1: x of 9 bits, y of 8, polarity of 1."""
    (tmp_path / "a.dat").write_bytes(b"% Version 1\n\x00\x08" + struct.pack("<II", 7, 1 << 17 | 200 << 9 | 300))
    same(read_events(tmp_path / "a.dat"), [7], [300], [200], [1])


def test_a_record_like_a_header(tmp_path, same):
    """0x25 is %, with which Prophesee's header lines begin."""
    words = struct.pack("<III", 8 << 28 | 0x2025, 1 << 28 | 3 << 11 | 4, 0x0A)
    (tmp_path / "a.raw").write_bytes(b"% evt 2.0\n" + words)
    same(read_events(tmp_path / "a.raw"), [0x2025 << 6] * 2, [3, 0], [4, 10], [1, 0])


def test_real_evt3(real, same):
    """expelliarmus 1.1.12 agrees in x, y and p; its times run to 53.9 ms, where the file has 551 ticks of 16 µs."""
    from expelliarmus import Wizard

    file = real / "expelliarmus" / "evt3_sample.raw"
    found, content = read_events(file), file.read_bytes()
    same(found, *by_the_book(content[166:]))
    assert (len(found), found.duration, bool((np.diff(found.t) >= 0).all())) == (219_596, 8801, True)
    other = Wizard(encoding="evt3").read(file)
    for name in "xyp":
        np.testing.assert_array_equal(getattr(found, name), other[name])


def by_the_book(data):
    """EVT3, word by word, in the states of the format's description."""
    state, found = {}, []
    for (word,) in struct.iter_unpack("<H", data):
        kind, value = word >> 12, word & 0xFFF
        if kind == 8 and state.get(8) != value:
            state[6] = 0
        if kind in (0, 3, 6, 8):
            state[kind] = value
        t = (state.get(8, 0) << 12) + state.get(6, 0)
        if kind == 2:
            found.append((t, value & 0x7FF, state[0] & 0x7FF, value >> 11))
        if kind in (4, 5):
            for bit in range(12 if kind == 4 else 8):
                if value & 1 << bit:
                    found.append((t, (state[3] & 0x7FF) + bit, state[0] & 0x7FF, state[3] >> 11))
            state[3] += 12 if kind == 4 else 8
    return np.array(found).T
