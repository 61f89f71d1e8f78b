"""What readers of event files share: errors that name the file and the byte, headers, records, clocks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..arrays import Events

Array = NDArray[Any]
CAMERAS = {"DVS128": (128, 128, 2), "DAVIS240": (240, 180, 2), "DAVIS346": (346, 260, 2)}


class OutsideError(DataError):
    """Events of a recording are outside of its camera.

    Args:
        file: See `DataError`.
        problem: See `DataError`.
        offset: See `DataError`.
        events: All events of the recording; None in another process than the one that read it.
    """

    def __init__(
        self, file: Path | str, problem: str = "", offset: int | None = None, events: Events | None = None
    ) -> None:
        super().__init__(file, problem, offset)
        self.events = events


def refuse_outside(file: Path, events: Events, begin: Callable[[int], int | None] = lambda event: None) -> None:
    """Raise an OutsideError at the first event that is not on the camera; `begin` tells where it is in the file."""
    if events.sensor_size is None or not len(events):
        return
    x, y, (width, height, _) = events.x, events.y, events.sensor_size
    if x.min() >= 0 and y.min() >= 0 and x.max() < width and y.max() < height:
        return
    first = int(((x < 0) | (x >= width) | (y < 0) | (y >= height)).argmax())
    problem = f"event {first} is at x = {x[first]}, y = {y[first]}; the camera has {width} x {height} pixels."
    raise OutsideError(file, problem, begin(first), events)


def records(file: Path, data: bytes, begin: int, dtype: Any) -> Array:
    """The fixed-size records from byte `begin` to the end."""
    size = np.dtype(dtype).itemsize
    if rest := (len(data) - begin) % size:
        raise DataError(file, f"the file breaks off: the last record has {rest} of {size} bytes.", len(data) - rest)
    return np.frombuffer(data, dtype, offset=begin)


def header_lines(file: Path, data: bytes, mark: bytes, end: str) -> tuple[list[str], int]:
    """The printable lines at the beginning that start with `mark`, up to one that starts with `end`; and their length.

    Raises:
        DataError: If the file breaks off in one of them.
    """
    lines: list[str] = []
    begin = 0
    while data.startswith(mark, begin):
        stop = data.find(b"\n", begin)
        line = data[begin : stop if stop >= 0 else None].decode("latin-1").strip()
        if not all(char.isprintable() or char == "\t" for char in line):
            break  # a record that begins like a line
        if stop < 0:
            raise DataError(file, "the file breaks off in its header.", begin)
        lines.append(line)
        begin = stop + 1
        if line.startswith(end):
            break
    return lines, begin


def unwrapped(t: Array) -> NDArray[np.int64]:
    """Times of a 32-bit counter that begins anew at 0 every 71.6 minutes."""
    wide = t.astype(np.int64)
    turns = np.diff(wide, prepend=wide[:1]) < -(2**31)
    return wide + (np.cumsum(turns) << 32) if turns.any() else wide
