"""Prophesee's recordings: .dat, and EVT2 and EVT3 in .raw."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ..arrays import Events, SensorSize
from ..compiled import compiled
from .binary import Array, OutsideError, header_lines, records, refuse_outside, unwrapped
from .tables import size_of


def read_dat(file: Path) -> Events:
    """Prophesee's .dat: a header of lines with %, type and size of an event (a byte each), then pairs of 32 bits.

    The first is the time in µs, the second x (14 bits), y (14) and polarity (4); in version 1, x (9), y (8) and
    polarity (1).
    """
    data = file.read_bytes()
    lines, begin = header_lines(file, data, b"%", "% end")
    if not lines:
        raise DataError(file, "there is no header: lines that begin with %.", 0)
    kind, size = data[begin : begin + 2] if len(data) >= begin + 2 else (-1, 0)
    if size != 8 or kind not in (0, 12):
        found = "the file breaks off" if size == 0 else f"found type {kind} of {size} bytes"
        raise DataError(file, f"expected the type of the events, 0 or 12, and 8 after the header; {found}.", begin)
    pairs = records(file, data, begin + 2, [("t", "<u4"), ("a", "<u4")])
    version = re.search(r"% Version (\d+)", "\n".join(lines), re.IGNORECASE)
    x_bits, y_bits = (9, 8) if version and int(version[1]) < 2 else (14, 14)
    a = pairs["a"]
    x, y, p = a & 2**x_bits - 1, a >> x_bits & 2**y_bits - 1, a >> x_bits + y_bits & 15
    if (wrong := p > 1).any():
        first = int(wrong.argmax())
        raise DataError(file, f"event {first} has p = {p[first]}; expected 0 and 1.", begin + 2 + 8 * first)
    events = Events.of(unwrapped(pairs["t"]), x, y, p, prophesee_size(file, lines))
    refuse_outside(file, events, lambda event: begin + 2 + 8 * event)
    return events


def prophesee_size(file: Path, lines: list[str]) -> SensorSize | None:
    """The size in lines such as "% geometry 640x480", "% format EVT3;height=720;width=1280", or "% Width 304"."""
    text = "\n".join(lines).lower()
    found = [re.search(pattern, text) for pattern in (r"width[ =](\d+)", r"height[ =](\d+)")]
    sides = [match[1] for match in found if match]
    if geometry := re.search(r"geometry (\d+)x(\d+)", text):
        sides = [geometry[1], geometry[2]]
    try:
        return size_of(dict(zip(("width", "height"), map(int, sides), strict=True))) if len(sides) == 2 else None
    except ValueError as error:
        raise DataError(file, str(error), 0) from error


def read_raw(file: Path) -> Events:
    """Prophesee's .raw: a header of lines with %, one of which names EVT2 or EVT3, then words.

    Not through expelliarmus, which never returns from a broken header, and invents events behind a header without any.
    """
    data = file.read_bytes()
    lines, begin = header_lines(file, data, b"% ", "% end")
    named = re.search(r"^% (?:evt |format evt)([\d.]+)", "\n".join(lines).lower(), re.MULTILINE)
    version = named[1] if named else "none"
    size = prophesee_size(file, lines)
    width, height, _ = size or (2048, 2048, 2)
    if version in ("2", "2.0"):
        words = records(file, data, begin, "<u4")
        n, decode = len(words), evt2
    elif version in ("3", "3.0"):
        words = records(file, data, begin, "<u2")
        counts = np.bincount(words >> 12, minlength=16)
        n, decode = int(counts[2] + 12 * counts[4] + 8 * counts[5]), evt3
    else:
        accepted = "% evt 2.0, % evt 3.0, % format EVT2 or % format EVT3"
        raise DataError(file, f"expected a line {accepted} in the header, found version {version}.", 0)
    t, (x, y), p = np.empty(n, np.int64), np.empty((2, n), np.int16), np.empty(n, np.uint8)
    n, left_out, wrong = decode(words, width, height, t, x, y, p)
    offset = begin + words.itemsize * (wrong if wrong >= 0 else 0)
    if wrong >= 0:
        n, left_out, unknown = decode(words, 2**15, 2**15, t, x, y, p)  # what int16 holds
        if unknown >= 0:
            offset = begin + words.itemsize * unknown
            raise DataError(file, f"the word {words[unknown]:#x} has an unknown type.", offset)
        problem = f"the word {words[wrong]:#x} is an event off the camera's {width} x {height} pixels."
        raise OutsideError(file, problem, offset, size and Events(t[:n], x[:n], y[:n], p[:n], size))
    if left_out and not n:
        raise DataError(file, f"all {left_out} events stand before the first time.", offset)
    return Events(t[:n], x[:n], y[:n], p[:n], size)


@compiled
def evt2(words: Array, width: int, height: int, t: Array, x: Array, y: Array, p: Array) -> tuple[int, int, int]:
    """Decode words of 32 bits, the upper 4 of which are a type, into t, x, y, p.

    0 and 1: an event of this polarity, 6 low bits of time, x (11), y (11). 8: the 28 upper bits of the time of what
    follows; events before the first have no time, and are left out, as by the maker's decoder.

    Returns:
        How many events there are and how many were left out; and the first wrong word, or -1.
    """
    n, left_out, upper, turns = 0, 0, -1, 0
    for i in range(len(words)):
        word: Any = np.int64(words[i])
        kind = word >> 28
        if kind <= 1:
            column, row = word >> 11 & 2047, word & 2047
            if column >= width or row >= height:
                return n, left_out, i
            if upper < 0:
                left_out += 1
                continue
            t[n], x[n], y[n], p[n] = (turns << 28 | upper) << 6 | (word >> 22 & 63), column, row, kind
            n += 1
        elif kind == 8:
            ticks = word & 0xFFFFFFF
            turns += ticks < upper - 2**27
            upper = ticks
        elif kind not in (2, 3, 10, 13, 14, 15):  # of cameras with other sensors besides, and triggers
            return n, left_out, i
    return n, left_out, -1


@compiled
def evt3(words: Array, width: int, height: int, t: Array, x: Array, y: Array, p: Array) -> tuple[int, int, int]:
    """Decode words of 16 bits, the upper 4 of which are a type; what one sets holds for those that follow.

    0: y (11). 2: an event of polarity (1) at x (11). 3: polarity and x of the first pixel of a row; 4 and 5: the next
    12 and 8 pixels of the row, from the lowest bit, each an event where its bit is set. 6, 8: low and high bits of
    the time (12 each); another value of the high bits sets the low ones to 0, as in the maker's decoder.
    Returns what `evt2` does.
    """
    n, left_out, turns = 0, 0, 0
    high, low, row, base, polarity = -1, 0, -1, -1, 0
    for i in range(len(words)):
        word: Any = np.int64(words[i])
        kind, value = word >> 12, word & 4095
        if kind == 0:
            row = value & 2047
        elif kind == 6:
            low = value
        elif kind == 8:
            turns += value <= high - 2048
            if value != high:
                low = 0
            high = value
        elif kind == 3:
            base, polarity = value & 2047, value >> 11
        elif kind == 2 or kind == 4 or kind == 5:
            start, sign, pixels, step = base, polarity, value, 12
            if kind == 2:
                start, sign, pixels, step = value & 2047, value >> 11, 1, 1
            elif kind == 5:
                pixels, step = value & 255, 8
            for pixel in range(step):
                if pixels >> pixel & 1:
                    if start + pixel >= width or row >= height:
                        return n, left_out, i
                    if high < 0 or row < 0 or start < 0:
                        left_out += 1
                        continue
                    t[n], x[n], y[n], p[n] = (turns << 12 | high) << 12 | low, start + pixel, row, sign
                    n += 1
            if kind != 2 and base >= 0:
                base += step
        elif kind not in (7, 10, 14, 15):  # triggers, and continuations of words that hold no events
            return n, left_out, i
    return n, left_out, -1
