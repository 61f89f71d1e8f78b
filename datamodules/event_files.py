"""Files of event cameras: one reader for each format, all to `Events`."""

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .events import DataError, Events, SensorSize, compiled

Array = NDArray[Any]

NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "pol", "polarity", "polarities", "on"),
}
CAMERAS = {"DVS128": (128, 128, 2), "DAVIS240": (240, 180, 2), "DAVIS346": (346, 260, 2)}


@dataclass(frozen=True)
class Table:
    """What a file of arrays or of text holds.

    Args:
        values: Columns by their names; or an array [N, 4], or one with fields.
        begin: Byte where the values begin, where there is one such place.
    """

    values: Mapping[str, Any] | Array
    begin: int | None = None


def read_events(file: Path | str, columns: str = "txyp", time_unit: float | None = None) -> Events:
    """The events of a recording, in the order of the file; x from the left, y from the top, t in µs.

    ==================== =================================================================== ======================
    suffix               format                                                              sensor_size
    ==================== =================================================================== ======================
    `.npy`               structured array, or [N, 4]                                         None
    `.npz`               the same, or one array for each of t, x, y, p                       width, height
    `.h5`, `.hdf5`       t, x, y, p at the top or in a group; or a data set of such fields   attributes width, height
    `.mat`               t, x, y, p; ASL-DVS (ts, x, y, pol); ST-MNIST (spiketrain)          of the data set
    `.csv`, `.txt`       commas, semicolons or space; the first line may name the columns    None
    `.bin`               N-MNIST, N-Caltech101: 5 bytes an event                             None
    `.aedat`             AER-DAT2.0 (DVS128 as in CIFAR10-DVS, DAVIS), AER-DAT3.1 (IBM's)    camera in the header
    `.aedat4`            iniVation's; of several cameras, the first                          in the header
    `.dat`               Prophesee, N-CARS                                                   in the header, if new
    `.raw`               Prophesee EVT2 and EVT3                                             in the header, if new
    ==================== =================================================================== ======================

    Args:
        file: The recording; its suffix says the format.
        columns: Order of the columns, where the file does not name them: of an array [N, 4], or of text without a
            header. DVS128 Gesture as tonic has it: "xypt".
        time_unit: µs in one unit of time, where the format leaves it open (the first five rows of the table): 1e6 if
            the file has seconds, 1000 for ms. Times are rounded to µs. None: µs, and times that are not whole are
            refused.

    Returns:
        The events; none if the recording is valid and has none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If no format has the suffix, columns is no order of t, x, y and p, or time_unit is not positive.
        DataError: If the file is not of its format, or breaks off; with the byte, if the format has such a place.
    """
    file = Path(file)
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{file} has no suffix of an event recording; accepted: {', '.join(SUFFIXES)}.")
    if sorted(columns) != list("ptxy"):
        raise ValueError(f"columns must be an order of t, x, y and p, such as 'txyp', got {columns!r}.")
    if time_unit is not None and not 0 < time_unit < math.inf:
        raise ValueError(f"time_unit is the µs in one unit of time of the file and must be positive, got {time_unit}.")
    if file.stat().st_size == 0:
        raise DataError(file, "the file is empty.", 0)
    if suffix in RECORDINGS:
        return RECORDINGS[suffix](file)
    with np.errstate(all="ignore"):  # what is not finite is refused by name
        return from_table(file, TABLES[suffix](file), columns, time_unit)


def from_table(file: Path, table: "Table", columns: str, time_unit: float | None) -> Events:
    """Events of columns, which are found by their names, or else by their order."""
    values, hint = table.values, ""
    if isinstance(values, np.ndarray) and values.dtype.names:
        values = {name: values[name] for name in values.dtype.names}
    if isinstance(values, np.ndarray):
        if values.ndim != 2 or values.shape[1] != 4:
            found = f"an array {values.shape} of {values.dtype}"
            raise DataError(file, f"found {found}; expected [N, 4], or fields t, x, y and p.", table.begin)
        hint = f" The columns were read as {', '.join(columns)}; if their order is another, say so with columns=."
        values = dict(zip(columns, values.T, strict=True))
    values = {name.strip(" \"'").lower(): np.asarray(column) for name, column in values.items()}
    named = names_of(values)
    if missing := [key for key in NAMES if key not in named]:
        raise DataError(
            file, f"there is no {', '.join(missing)}; found: {', '.join(values) or 'nothing'}.", table.begin
        )
    t, x, y, p = (as_row(values[named[key]]) for key in NAMES)
    try:
        events = Events.of(in_us(t, time_unit), x, y, p, size_of(values))
    except ValueError as error:
        raise DataError(file, f"{error}{hint}", table.begin) from error
    refuse_outside(file, events)
    return events


def names_of(found: Iterable[str]) -> dict[str, str]:
    """Which of the names found stand for t, x, y and p."""
    by_name = {name.strip(" \"'").lower(): name for name in found}
    pairs = ((key, next((by_name[name] for name in names if name in by_name), None)) for key, names in NAMES.items())
    return {key: name for key, name in pairs if name is not None}


def as_row(values: Array) -> Array:
    """[n] of [n, 1] and [1, n], and [0] of [0, 0], as MATLAB has them."""
    return values.reshape(-1) if values.ndim == 2 and min(values.shape) <= 1 else values


def in_us(t: Array, time_unit: float | None) -> Array:
    """Times in µs, not yet integers."""
    if t.dtype.kind == "f":
        t = t.astype(np.float64)
    if time_unit is not None and t.dtype.kind in "iuf":
        return np.rint(t * np.float64(time_unit))
    if t.dtype.kind == "f" and (broken := np.isfinite(t) & (t != np.floor(t))).any():
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
    if any(side.ndim or side.dtype.kind not in "iuf" or not 0 < side < 2**15 or side % 1 for side in (width, height)):
        raise ValueError(f"width and height must be whole numbers from 1 to 32767, found {width} and {height}.")
    return int(width), int(height), 2


def refuse_outside(file: Path, events: Events, begin: Callable[[int], int | None] = lambda event: None) -> None:
    """Raise a DataError at the first event that is not on the camera; `begin` tells where it stands in the file."""
    if events.sensor_size is None or not len(events):
        return
    x, y, (width, height, _) = events.x, events.y, events.sensor_size
    if x.min() >= 0 and y.min() >= 0 and x.max() < width and y.max() < height:
        return
    first = int(((x < 0) | (x >= width) | (y < 0) | (y >= height)).argmax())
    problem = f"event {first} is at x = {x[first]}, y = {y[first]}; the camera has {width} x {height} pixels."
    raise DataError(file, problem, begin(first))


@contextmanager
def parsing(file: Path, what: str, offset: int | None = None) -> Iterator[None]:
    """Turn whatever a library raises at a broken file into a DataError."""
    try:
        yield
    except DataError:
        raise
    except BaseException as error:  # the Rust of aedat raises a PanicException, which is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DataError(file, f"this is no valid {what}: {type(error).__name__}: {error}", offset) from error


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


# ---------------------------------------------------------------------------------------------------- arrays


def read_npy(file: Path) -> Table:
    """An array of numpy; the sizes in its header are compared with the file before anything is allocated."""
    array = array_of(file, file.read_bytes())
    return Table(array, file.stat().st_size - array.nbytes)


def array_of(file: Path, data: bytes, place: int | None = None) -> Array:
    """The array in the bytes of an .npy file, or of a member of an archive that begins at `place`."""
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
    return Table(next(iter(arrays.values())) if len(arrays) == 1 else arrays)


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
    lines, begin = header_lines(file, data, b"#", "#End Of ASCII Header")
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
    chip = re.search(r"AEChip: (\S+)|$", header)
    name = chip[1] if chip and chip[1] else "DVS128"
    size = camera(name)
    if size is None:
        raise DataError(file, f"the addresses of the chip {name} are not known; known are {', '.join(CAMERAS)}.", 0)
    if size == CAMERAS["DVS128"]:
        return Events.of(t, 127 - (a >> 8 & 127), 127 - (a >> 1 & 127), 1 - (a & 1), size)
    chosen = np.flatnonzero(a & (1 << 31 | 1 << 10) == 0)
    a, t = a[chosen].astype(np.int32), t[chosen]
    x, y = (size[0] - 1 - (a >> 12 & 1023)).astype(np.int16), (size[1] - 1 - (a >> 22 & 511)).astype(np.int16)
    events = Events(t, x, y, (a >> 11 & 1).astype(np.uint8), size)
    refuse_outside(file, events, lambda event: begin + 8 * int(chosen[event]))
    return events


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
    if (wrong := t >> 31 != 0).any():
        packet = int(np.searchsorted(np.cumsum(counts), wrong.argmax(), side="right"))
        raise DataError(file, "an event of this packet has a negative time.", begins[packet] - 28)
    times = (np.repeat(np.array(overflows, np.int64), counts) << 31 | t)[valid]
    size_found = camera(" ".join(re.findall(r"#-?Source.*", header)))
    events = Events.of(times, a >> 17, a >> 2 & 0x7FFF, a >> 1 & 1, size_found)
    starts = np.repeat(np.array(begins, np.int64) - 8 * (np.cumsum(counts, dtype=np.int64) - counts), counts)
    refuse_outside(file, events, lambda event: int(starts[valid[event]] + 8 * valid[event]))
    return events


def read_aedat4(file: Path) -> Events:
    """AER-DAT4.0, decoded by the package aedat; before, the packets are counted, so that none is missing unnoticed."""
    import aedat

    begins = aedat4_packets(file, file.read_bytes())
    with parsing(file, "AER-DAT4.0 header", 0):
        decoder = aedat.Decoder(str(file))
        streams = decoder.id_to_stream()
        sizes = {key: (what["width"], what["height"], 2) for key, what in streams.items() if what["type"] == "events"}
    if not sizes:
        raise DataError(file, f"there is no stream of events; found: {[what['type'] for what in streams.values()]}.", 0)
    size = sizes[first := min(sizes)]
    packets, places = [], []
    for begin in begins:
        with parsing(file, "AER-DAT4.0 packet", begin):
            packet = next(decoder)
            if packet["stream_id"] == first:
                packets.append(packet["events"])
                places.append(begin)
    if not packets:
        return Events.of([], [], [], [], size)
    values = np.concatenate(packets)
    ends = np.cumsum([len(packet) for packet in packets])
    with parsing(file, "AER-DAT4.0 recording", places[0]):
        events = Events.of(values["t"], values["x"], values["y"], values["on"], size)
    refuse_outside(file, events, lambda event: places[int(np.searchsorted(ends, event, side="right"))])
    return events


def aedat4_packets(file: Path, data: bytes) -> list[int]:
    """Where the packets begin, each 4 bytes of stream, 4 of size, and its content; after them stands their table.

    The header is a flatbuffer IOHeader with its size before it: compression, position of the table (-1: none), text.
    """
    magic = b"#!AER-DAT4.0\r\n"
    if not data.startswith(magic):
        raise DataError(file, f"the file must begin with {magic!r}; found {data[:14]!r}.", 0)
    with parsing(file, "AER-DAT4.0 header", len(magic)):
        (length,) = struct.unpack_from("<I", data, 14)
        root = 18 + struct.unpack_from("<I", data, 18)[0]
        fields = root - struct.unpack_from("<i", data, root)[0]  # the flatbuffer's vtable: bytes, size, offsets
        _, _, _, table, text = struct.unpack_from("<5H", data, fields)
        end = struct.unpack_from("<q", data, root + table)[0] if table else -1
        text += root + struct.unpack_from("<I", data, root + text)[0]
        text_end = text + 4 + struct.unpack_from("<I", data, text)[0]
        data[text + 4 : text_end].decode()  # at text that is not UTF-8, aedat 2.3 would end the process
    at, begins = 18 + length, []
    end = len(data) if end == -1 else end
    if not at <= end <= len(data):
        raise DataError(file, f"the file breaks off: packets stand from byte {at} to byte {end}.", len(data))
    while at < end:
        stream, size = struct.unpack_from("<ii", data, at) if at + 8 <= end else (-1, 0)
        if stream < 0 or size < 0 or at + 8 + size > end:
            raise DataError(file, f"the file breaks off: a packet of {size} bytes ends after byte {end}.", at)
        begins.append(at)
        at += 8 + size
    return begins


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
        raise DataError(file, f"after the header must stand the type of the events, 0 or 12, and 8; {found}.", begin)
    pairs = records(file, data, begin + 2, [("t", "<u4"), ("a", "<u4")])
    version = re.search(r"% Version (\d+)", "\n".join(lines), re.IGNORECASE)
    x_bits, y_bits = (9, 8) if version and int(version[1]) < 2 else (14, 14)
    a = pairs["a"]
    x, y, p = a & 2**x_bits - 1, a >> x_bits & 2**y_bits - 1, a >> x_bits + y_bits & 15
    if (wrong := p > 1).any():
        first = int(wrong.argmax())
        raise DataError(file, f"event {first} has p = {p[first]}; accepted: 0 and 1.", begin + 2 + 8 * first)
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
        raise DataError(file, f"a line of the header must say {accepted}; found version {version}.", 0)
    t, (x, y), p = np.empty(n, np.int64), np.empty((2, n), np.int16), np.empty(n, np.uint8)
    n, left_out, wrong = decode(words, width, height, t, x, y, p)
    offset = begin + words.itemsize * (wrong if wrong >= 0 else 0)
    if wrong >= 0:
        found = f"the word {words[wrong]:#x} has an unknown type, or is an event off"
        raise DataError(file, f"{found} the camera's {width} x {height} pixels.", offset)
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
    the time (12 each).
    Returns what `evt2` does.
    """
    n, left_out, turns = 0, 0, 0
    high, low, row, base, polarity = -1, -1, -1, -1, 0
    for i in range(len(words)):
        word: Any = np.int64(words[i])
        kind, value = word >> 12, word & 4095
        if kind == 0:
            row = value & 2047
        elif kind == 6:
            low = value
        elif kind == 8:
            turns += value < high - 2048
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
                    if high < 0 or low < 0 or row < 0 or start < 0:
                        left_out += 1
                        continue
                    t[n], x[n], y[n], p[n] = (turns << 12 | high) << 12 | low, start + pixel, row, sign
                    n += 1
            if kind != 2 and base >= 0:
                base += step
        elif kind not in (7, 10, 14, 15):  # triggers, and continuations of words that hold no events
            return n, left_out, i
    return n, left_out, -1


def unwrapped(t: Array) -> NDArray[np.int64]:
    """Times of a 32-bit counter that begins anew at 0 every 71.6 minutes."""
    wide = t.astype(np.int64)
    turns = np.diff(wide, prepend=wide[:1]) < -(2**31)
    return wide + (np.cumsum(turns) << 32) if turns.any() else wide


# ---------------------------------------------------------------------------------------------------- tables


def read_text(file: Path) -> Table:
    """Numbers in columns; lines with # are comments, one of which may name the columns, like the first other line."""
    data = file.read_bytes()
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(file, f"this is no text: {error.reason}.", error.start) from error
    names: list[str] = []
    begin = 0
    for begin, line in enumerate([*lines, "0"]):  # noqa: B007
        content = line.strip().lstrip("#").strip()
        cells = re.split(r"\s*[,;]\s*|\s+", content)
        if not content or (line.lstrip().startswith("#") and len(names_of(cells)) < len(NAMES)):
            continue
        if names or all(NUMBER.fullmatch(cell) for cell in cells):
            break
        names = cells
    wanted = list(names_of(names).values())
    if names and len(wanted) < len(NAMES):
        raise DataError(file, f"line {begin} must name t, x, y and p, or there must be numbers; found {names}.")
    if begin == len(lines):
        if not names:
            raise DataError(file, "there are no numbers.")
        return Table({name: np.empty(0) for name in wanted})
    text, first = lines[begin:], lines[begin]
    if re.search("true|false", first, re.IGNORECASE):
        text = [re.sub("(?i)false", "0", re.sub("(?i)true", "1", line)) for line in text]
    with parsing(file, f"table of numbers from line {begin + 1} on"):
        delimiter = "," if "," in first else ";" if ";" in first else None
        values = np.loadtxt(text, delimiter=delimiter, usecols=[names.index(name) for name in wanted] or None, ndmin=2)
    return Table(dict(zip(wanted, values.T, strict=True)) if names else values)


def read_h5(file: Path) -> Table:
    """Data sets t, x, y and p of one group, the top first; else a data set with such fields, or `events` [N, 4]."""
    import h5py  # type: ignore[import-untyped]

    with parsing(file, "HDF5 file"), h5py.File(file, "r") as top:
        inside: dict[str, Any] = {"/": top}
        top.visititems(lambda name, item: inside.update({name: item}))  # sorted by name; it must return None
        sets = {name: item for name, item in inside.items() if isinstance(item, h5py.Dataset)}
        for group in (item for item in inside.values() if isinstance(item, h5py.Group)):
            columns = {name: item for name, item in group.items() if isinstance(item, h5py.Dataset)}
            if len(named := names_of(columns)) == len(NAMES):
                size = {side: attrs[side] for attrs in (top.attrs, group.attrs) for side in attrs if side in SIDES}
                return Table({name: loaded(file, columns[name]) for name in named.values()} | size)
        for name, item in sets.items():
            whole = name.rsplit("/")[-1] == "events" and item.ndim == 2
            if whole or len(names_of(item.dtype.names or ())) == len(NAMES):
                return Table(loaded(file, item))
        raise DataError(file, f"there are no data sets t, x, y and p; found: {', '.join(sets) or 'none'}.", 0)


def loaded(file: Path, dataset: Any) -> Array:
    """A data set; that it has been written whole is checked before memory is taken for it."""
    if dataset.dtype.hasobject or dataset.shape is None:
        raise DataError(file, f"{dataset.name} holds {dataset.dtype}, not numbers.", dataset.id.get_offset())
    if dataset.chunks:
        expected = math.prod(-(-n // chunk) for n, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        found = dataset.id.get_num_chunks()
    else:
        expected, found = dataset.nbytes, min(dataset.id.get_storage_size(), file.stat().st_size)
    if found < expected:
        unit = "chunks" if dataset.chunks else "bytes"
        problem = f"{dataset.name} promises {expected} {unit}, found {found}."
        raise DataError(file, problem, dataset.id.get_offset())
    values: Array = dataset[()]
    return values


def read_mat(file: Path) -> Table:
    """MATLAB 5 (7.3, which is HDF5, is read as that).

    ASL-DVS (ts, x, y, pol; DAVIS240) counts y from the bottom, and is turned. ST-MNIST's `spiketrain` [101, n] has in
    its rows the signs of the spikes of 10 x 10 sensors, row by row, and at last their times in s.
    """
    data = file.read_bytes()
    if data.startswith(b"\x89HDF") or b"MATLAB 7.3" in data[:128]:
        return read_h5(file)
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if not data.startswith(b"MATLAB 5.0") or order is None:
        raise DataError(file, "the file must begin with 'MATLAB 5.0 MAT-file' and be marked IM or MI at byte 126.", 0)
    found: dict[str, Array] = {}
    at = 128
    while at < len(data):
        with parsing(file, "MAT file", at):
            kind, content, after = mat_element(data, at, order)
            content = zlib.decompress(content) if kind == 15 else data[at:after]
            found |= mat_array(content, order)
        at = after
    if "spiketrain" in found:
        return st_mnist(file, found["spiketrain"])
    if {"ts", "x", "y", "pol"} <= found.keys() and found["y"].dtype.kind in "iuf":
        width, height, _ = CAMERAS["DAVIS240"]
        return Table(found | {"y": height - 1 - found["y"].astype(np.float64), "width": width, "height": height}, 128)
    return Table(found, 128)


def mat_element(data: bytes, at: int, order: str) -> tuple[int, bytes, int]:
    """Type and content of the element at a byte, and where the next begins."""
    (kind,) = struct.unpack_from(f"{order}I", data, at)
    if kind >> 16:  # up to 4 bytes stand within 8, behind their number and type
        kind, size, begin, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
    else:
        (size,) = struct.unpack_from(f"{order}I", data, at + 4)
        begin = at + 8
        after = begin + size + (0 if kind == 15 else -size % 8)  # what is compressed (15) is not padded
    if begin + size > len(data):
        raise ValueError(f"the file breaks off: an element of {size} bytes begins at byte {at}")
    return kind, data[begin : begin + size], after


def mat_array(data: bytes, order: str) -> dict[str, Array]:
    """Name and values of an element that is a matrix (14) of real numbers; of others, nothing.

    Not through scipy, whose loadmat (1.17) ends the process at some changed bytes.
    """
    kind, matrix, _ = mat_element(data, 0, order)
    if kind != 14:
        raise ValueError(f"a matrix (14) must stand here, found an element of type {kind}")
    (_, flags, at), parts = mat_element(matrix, 0, order), []
    for _ in range(2):
        _, part, at = mat_element(matrix, at, order)
        parts.append(part)
    (flag,) = struct.unpack_from(f"{order}I", flags)
    if not 6 <= flag & 255 <= 15 or flag & 0x800:  # text, cells, structs, or complex
        return {}
    kind, values, _ = mat_element(matrix, at, order)
    if kind not in MAT_TYPES:
        raise ValueError(f"numbers must have one of the types {', '.join(map(str, MAT_TYPES))}, found {kind}")
    shape = np.frombuffer(parts[0], f"{order}u4").tolist()  # unsigned: a negative length cannot mean "what is left"
    return {parts[1].decode(): np.frombuffer(values, order + MAT_TYPES[kind]).reshape(shape, order="F")}


def st_mnist(file: Path, train: Array) -> Table:
    """Of a `spiketrain` [101, n] the events, and the 10 x 10 sensors."""
    if train.ndim != 2 or len(train) != 101 or train.dtype.kind not in "iuf":
        raise DataError(file, f"spiketrain must be [101, n] numbers, found {train.shape} of {train.dtype}.", 128)
    moment, sensor = np.nonzero(train[:-1].T)
    values = {"x": sensor % 10, "y": sensor // 10, "p": train[sensor, moment], "width": 10, "height": 10}
    return Table(values | {"t": in_us(train[-1, moment], 1e6)}, 128)


MAT_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
SIDES = ("width", "height")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|nan|[-+]?inf|True|False", re.IGNORECASE)
TABLES: dict[str, Callable[[Path], Table]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".h5": read_h5,
    ".hdf5": read_h5,
    ".mat": read_mat,
    ".csv": read_text,
    ".txt": read_text,
}
RECORDINGS: dict[str, Callable[[Path], Events]] = {
    ".bin": read_bin,
    ".aedat": read_aedat,
    ".aedat4": read_aedat4,
    ".dat": read_dat,
    ".raw": read_raw,
}
SUFFIXES = (*TABLES, *RECORDINGS)
