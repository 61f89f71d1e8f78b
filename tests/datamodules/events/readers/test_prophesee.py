"""EVT3 as its maker's decoder (OpenEB) reads it: the low bits of the time, word by word."""

import struct

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
