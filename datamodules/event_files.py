"""Files of event cameras: one reader for each format, all to `Events`."""

import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .events import DataError, Events, SensorSize

Array = NDArray[Any]
Table = Mapping[str, Array] | Array  # columns by their names, or [N, 4] without names

NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "pol", "polarity", "polarities", "on"),
}
CAMERAS = {"DVS128": (128, 128, 2), "DAVIS240": (240, 180, 2), "DAVIS346": (346, 260, 2)}


def read_events(file: Path | str, columns: str = "txyp", time_unit: float | None = None) -> Events:
    """The events of a recording, in the order of the file; x from the left, y from the top, t in µs.

    =================== ===================================================================== ===========================
    suffix              format                                                                sensor_size
    =================== ===================================================================== ===========================
    `.npy`, `.npz`      structured array, [N, 4], or one array for each of t, x, y, p         `width`, `height` (npz)
    `.bin`              N-MNIST, N-Caltech101: 5 bytes an event                               None
    `.aedat`            AER-DAT2.0 of DVS128, in CIFAR10-DVS's orientation, or of DAVIS;      of the camera in the header
                        AER-DAT3.1, as of IBM's DVS128 Gesture
    =================== ===================================================================== ===========================

    Args:
        file: The recording; its suffix says the format.
        columns: Order of the columns, where the file does not name them: of an array [N, 4], or of text without a
            header. DVS128 Gesture as tonic has it: "xypt".
        time_unit: µs in one unit of time, where the format leaves it open (arrays, tables, text): 1e6 if the file
            has seconds, 1000 for ms. Times are rounded to µs. None: µs, and times that are not whole are refused.

    Returns:
        The events; none if the recording is valid and has none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If no format has the suffix, or columns is no order of t, x, y and p.
        DataError: If the file is not of its format, or breaks off.
    """
    file = Path(file)
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{file} has no suffix of an event recording; accepted: {', '.join(SUFFIXES)}.")
    if sorted(columns) != list("ptxy"):
        raise ValueError(f"columns must be an order of t, x, y and p, such as 'txyp', got {columns!r}.")
    if file.stat().st_size == 0:
        raise DataError(file, "the file is empty.", 0)
    if suffix in RECORDINGS:
        return RECORDINGS[suffix](file)
    return from_table(file, TABLES[suffix](file), columns, time_unit)


def from_table(file: Path, table: Table, columns: str = "txyp", time_unit: float | None = None) -> Events:
    """Events of columns, which are found by their names, or else by their order."""
    hint = ""
    if isinstance(table, np.ndarray) and table.dtype.names:
        table = {name: table[name] for name in table.dtype.names}
    if isinstance(table, np.ndarray):
        if table.ndim != 2 or table.shape[1] != 4:
            raise DataError(
                file, f"found an array {table.shape} of {table.dtype}; expected [N, 4], or fields t, x, y, p."
            )
        hint = f" Its columns were read as {', '.join(columns)}; if their order is another, say so with columns=."
        table = dict(zip(columns, table.T, strict=True))
    by_name = {name.strip(" \"'").lower(): values for name, values in table.items()}
    found = {key: next((by_name[name] for name in names if name in by_name), None) for key, names in NAMES.items()}
    if missing := [key for key, values in found.items() if values is None]:
        raise DataError(file, f"found no column {', '.join(missing)} among {', '.join(table) or 'none'}.")
    t, x, y, p = (
        np.asarray(values).squeeze() if np.ndim(values) > 1 else np.asarray(values) for values in found.values()
    )
    try:
        events = Events.of(in_us(t, time_unit), x, y, p, size_of(by_name))
    except ValueError as error:
        raise DataError(file, f"{error}{hint}") from error
    refuse_outside(file, events)
    return events


def in_us(t: Array, time_unit: float | None) -> Array:
    """Times in µs, not yet integers."""
    if t.dtype.kind != "f" and time_unit is None:
        return t
    if time_unit is not None and t.dtype.kind in "iuf":
        return np.rint(t * np.float64(time_unit))
    if t.dtype.kind == "f" and (broken := np.isfinite(t) & (t % 1 != 0)).any():
        first = int(broken.argmax())
        raise ValueError(
            f"event {first} has t = {t[first]}, which is no whole µs; give time_unit, the µs in one unit of time of "
            "the file: 1e6 if it has seconds, 1000 for ms, 1 to round."
        )
    return t


def size_of(values: Mapping[str, Any]) -> SensorSize | None:
    """The sensor size of a file that holds a width and a height."""
    if "width" not in values or "height" not in values:
        return None
    width, height = (np.asarray(values[name]).squeeze() for name in ("width", "height"))
    if width.ndim or height.ndim or not (0 < width < 2**15 and 0 < height < 2**15):
        raise ValueError(f"width and height must be whole numbers from 1 to 32767, found {width} and {height}.")
    return int(width), int(height), 2


def refuse_outside(file: Path, events: Events, begin: Callable[[int], int] = lambda event: None) -> None:  # type: ignore
    """Raise a DataError at the first event that is not on the camera; `begin` tells where it stands in the file."""
    if events.sensor_size is None or not len(events):
        return
    width, height, _ = events.sensor_size
    if events.x.max() < width and events.y.max() < height and events.x.min() >= 0 and events.y.min() >= 0:
        return
    first = int(((events.x < 0) | (events.x >= width) | (events.y < 0) | (events.y >= height)).argmax())
    where = f"x = {events.x[first]}, y = {events.y[first]}"
    raise DataError(file, f"event {first} is at {where}; the camera has {width} x {height} pixels.", begin(first))


@contextmanager
def parsing(file: Path, what: str, offset: int | None = None) -> Iterator[None]:
    """Turn whatever a library raises at a broken file into a DataError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(file, f"this is no valid {what}: {type(error).__name__}: {error}", offset) from error


def records(file: Path, data: bytes, begin: int, dtype: Any) -> Array:
    """The fixed-size records from byte `begin` to the end."""
    size = np.dtype(dtype).itemsize
    if rest := (len(data) - begin) % size:
        raise DataError(file, f"the file breaks off: the last record has {rest} of {size} bytes.", len(data) - rest)
    return np.frombuffer(data, dtype, offset=begin)


def header_lines(data: bytes, mark: bytes, end: bytes) -> tuple[list[str], int]:
    """The lines at the beginning that begin with `mark`, up to one that begins with `end`, and where they end."""
    lines, begin = [], 0
    while data.startswith(mark, begin) and (stop := data.find(b"\n", begin)) >= 0:
        lines.append(data[begin:stop].decode("latin-1").strip())
        begin = stop + 1
        if data.startswith(end, begin - len(lines[-1]) - 1):
            break
    return lines, begin


# ---------------------------------------------------------------------------------------------------- arrays


def read_npy(file: Path) -> Table:
    """An array of numpy; the sizes in its header are compared with the file before anything is allocated."""
    return array_of(file, file.read_bytes())


def array_of(file: Path, data: bytes, place: int | None = None) -> Array:
    stream = io.BytesIO(data)
    with parsing(file, ".npy array", place or 0):
        version = np.lib.format.read_magic(stream)
        if version > (2, 0):
            raise ValueError(f"version {version} of the format; accepted: 1.0 and 2.0")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        if dtype.hasobject or dtype.subdtype or not dtype.itemsize:
            raise ValueError(f"it holds {dtype}, not numbers")
        if min(shape, default=0) < 0:
            raise ValueError(f"its shape is {shape}")
    begin = stream.tell()
    count, size = 1, dtype.itemsize
    for length in shape:
        count *= length
    if (found := len(data) - begin) != count * size:
        offset = begin + found // size * size if place is None else place
        raise DataError(file, f"the header promises {count} x {size} bytes of {dtype}, found {found} bytes.", offset)
    return np.frombuffer(data, dtype, offset=begin).reshape(shape, order="F" if fortran else "C")


def read_npz(file: Path) -> Table:
    """Arrays t, x, y and p, or a single array."""
    arrays = {}
    with parsing(file, ".npz archive", 0), zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            with parsing(file, f".npz archive ({member.filename})", member.header_offset):
                content = archive.read(member)
            arrays[member.filename.removesuffix(".npy")] = array_of(file, content, member.header_offset)
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


# ---------------------------------------------------------------------------------------------------- recordings


def read_bin(file: Path) -> Events:
    """N-MNIST and N-Caltech101: x, y, then polarity (1 bit) and time (23 bits); y = 240 marks a timer overflow.

    An overflow record is no event; it adds 2^13 µs to all later times (Orchard et al. 2015, Read_Ndataset).
    """
    raw = records(file, file.read_bytes(), 0, np.dtype((np.uint8, 5)))
    x, y = raw[:, 0], raw[:, 1]
    t = (raw[:, 2] & 127).astype(np.int64) << 16 | raw[:, 3].astype(np.int64) << 8 | raw[:, 4]
    overflow = y == 240
    if overflow.any():
        t += np.cumsum(overflow) << 13
    return Events.of(t, x, y, raw[:, 2] >> 7)[~overflow if overflow.any() else slice(None)]


def read_aedat(file: Path) -> Events:
    """AER-DAT2.0 or AER-DAT3.1, as the first line says."""
    data = file.read_bytes()
    lines, begin = header_lines(data, b"#", b"#End Of ASCII Header")
    version = lines[0] if lines else ""
    if version.startswith("#!AER-DAT2."):
        return aedat2(file, data, begin, " ".join(lines))
    if version.startswith("#!AER-DAT3."):
        return aedat3(file, data)
    found = f"found {version[:40]!r}" if version else "there is no such line"
    raise DataError(file, f"the first line must be #!AER-DAT2.0 or #!AER-DAT3.1; {found}.", 0)


def camera(text: str) -> SensorSize | None:
    """The first known camera that is named in a text."""
    named = re.search("|".join(CAMERAS), text, re.IGNORECASE)
    return CAMERAS[named[0].upper()] if named else None


def aedat2(file: Path, data: bytes, begin: int, header: str) -> Events:
    """Big-endian pairs of address and time (µs), 32 bits each.

    DVS128, and files that name no chip: y_raw = a >> 8 & 127, x_raw = a >> 1 & 127, p_raw = a & 1. CIFAR10-DVS, from
    which most such files are, was recorded turned: upright are x = 127 - y_raw, y = 127 - x_raw, p = 1 - p_raw.
    DAVIS: y_raw = a >> 22 & 511, x_raw = a >> 12 & 1023, both counted from the other end, p = a >> 11 & 1; addresses
    with bit 31 (frames, motion) or bit 10 (external input) are no events of pixels.
    """
    pairs = records(file, data, begin, [("a", ">u4"), ("t", ">u4")])
    a, t = pairs["a"].astype(np.uint32), unwrapped(pairs["t"])
    chip = re.search(r"AEChip: (\S+)", header)
    size = camera(chip[1]) if chip else CAMERAS["DVS128"]
    if size is None:
        raise DataError(file, f"the addresses of the chip {chip[1]} are not known; known are {', '.join(CAMERAS)}.", 0)
    if size == CAMERAS["DVS128"]:
        return Events.of(t, 127 - (a >> 8 & 127), 127 - (a >> 1 & 127), 1 - (a & 1), size)
    chosen = np.flatnonzero(a & (1 << 31 | 1 << 10) == 0)
    a, t = a[chosen].astype(np.int32), t[chosen]
    x, y = (size[0] - 1 - (a >> 12 & 1023)).astype(np.int16), (size[1] - 1 - (a >> 22 & 511)).astype(np.int16)
    events = Events(t, x, y, (a >> 11 & 1).astype(np.uint8), size)
    refuse_outside(file, events, lambda event: begin + 8 * int(chosen[event]))
    return events


def unwrapped(t: Array) -> NDArray[np.int64]:
    """Times of a 32-bit counter that begins anew at 0 every 71.6 minutes."""
    wide = t.astype(np.int64)
    turns = np.diff(wide, prepend=wide[:1]) < -(2**31)
    return wide + (np.cumsum(turns) << 32) if turns.any() else wide


PACKET = np.dtype(
    [("type", "<i2"), ("source", "<i2")]
    + [(name, "<i4") for name in ("size", "time_at", "overflow", "capacity", "number", "valid")]
)


def aedat3(file: Path, data: bytes) -> Events:
    """Packets, little-endian: 28 bytes of header, then events.

    Polarity events (type 1) are 32 bits of x (15), y (15), polarity, validity, and 31 bits of time, which go on with
    the packet's count of overflows. Packets of other types are passed over, as are events marked invalid. (AEDAT 3.1
    of iniVation.)
    """
    end = data.find(b"#!END-HEADER")
    begin = data.find(b"\n", end) + 1
    if end < 0 or not begin:
        raise DataError(file, "the header does not end: there is no line #!END-HEADER.", 0)
    header = data[:begin].decode("latin-1")
    if (form := re.search(r"#Format: *(\S+)", header)) and form[1] != "RAW":
        raise DataError(file, f"the format is {form[1]}; accepted: RAW.", 0)
    words, overflows, begins, at = [], [], [], begin
    while at < len(data):
        head = np.frombuffer(data[at : at + 28], PACKET)[0] if at + 28 <= len(data) else None
        if head is None:
            raise DataError(
                file, f"the file breaks off: the last packet's header has {len(data) - at} of 28 bytes.", at
            )
        size, number = int(head["size"]), int(head["number"])
        if size <= 0 or not 0 <= number <= head["capacity"] or head["overflow"] < 0 or head["type"] < 0:
            raise DataError(file, f"this is no header of a packet: {number} events of {size} bytes.", at)
        if at + 28 + size * number > len(data):
            raise DataError(file, f"the file breaks off: the packet promises {number} events of {size} bytes.", at)
        if head["type"] == 1:
            if size != 8:
                raise DataError(file, f"polarity events have {size} bytes; expected 8.", at)
            words.append(np.frombuffer(data, "<u4", 2 * number, at + 28).reshape(-1, 2))
            overflows.append(int(head["overflow"]))
            begins.append(at + 28)
        at += 28 + size * number
    counts = [len(part) for part in words]
    a, t = np.concatenate([np.empty((0, 2), np.uint32), *words]).T
    valid = np.flatnonzero(a & 1)
    a = a[valid]
    times = (np.repeat(np.array(overflows, np.int64), counts) << 31 | t)[valid]
    size_found = camera(" ".join(re.findall(r"#-?Source.*", header)))
    events = Events.of(times, a >> 17, a >> 2 & 0x7FFF, a >> 1 & 1, size_found)
    starts = np.repeat(np.array(begins, np.int64) - 8 * (np.cumsum(counts, dtype=np.int64) - counts), counts)
    refuse_outside(file, events, lambda event: int(starts[valid[event]] + 8 * valid[event]))
    return events


TABLES: dict[str, Callable[[Path], Table]] = {".npy": read_npy, ".npz": read_npz}
RECORDINGS: dict[str, Callable[[Path], Events]] = {".bin": read_bin, ".aedat": read_aedat}
SUFFIXES = (*TABLES, *RECORDINGS)
