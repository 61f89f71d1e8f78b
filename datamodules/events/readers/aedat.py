"""AER-DAT recordings: 2.0 and 3.1 (.aedat), and 4.0 (.aedat4)."""

import re
import struct
from pathlib import Path

import numpy as np

from ...errors import DataError, parsing
from ..arrays import Events
from .binary import CAMERAS, header_lines, records, refuse_outside, unwrapped


def read_aedat(file: Path, camera: str | None = None) -> Events:
    """AER-DAT2.0 or AER-DAT3.1, as the first line says; the camera is that of an AER-DAT2.0 file that names none."""
    data = file.read_bytes()
    lines, begin = header_lines(file, data, b"#", "#End Of ASCII Header")
    version = lines[0] if lines else ""
    if version.startswith("#!AER-DAT2."):
        return aedat2(file, data, begin, " ".join(lines), camera)
    if version.startswith("#!AER-DAT3."):
        return aedat3(file, data)
    found = f"found {version[:40]!r}" if version else "there is no such line"
    raise DataError(file, f"the first line: expected #!AER-DAT2.0 or #!AER-DAT3.1; {found}.", 0)


def camera_of(text: str) -> str | None:
    """The first known camera that is named in a text."""
    named = re.search(rf"({'|'.join(CAMERAS)})(?!\d)", text, re.IGNORECASE)
    return named[0].upper() if named else None


def aedat2(file: Path, data: bytes, begin: int, header: str, camera: str | None) -> Events:
    """Big-endian pairs of address a and time (µs), 32 bits each. Both cameras count x and y from the other end.

    DVS128: y_raw = a >> 8 & 127, x_raw = a >> 1 & 127, p = 1 - (a & 1); addresses with bit 15 (synchronisation) are no
    events of pixels. DAVIS: y_raw = a >> 22 & 511, x_raw = a >> 12 & 1023, p = a >> 11 & 1; addresses with bit 31
    (frames, motion) or bit 10 (external input) are no events of pixels. No other bit may be set.
    """
    pairs = records(file, data, begin, [("a", ">u4"), ("t", ">u4")])
    a, t = pairs["a"].astype(np.uint32), unwrapped(pairs["t"])
    chip = re.search(r"AEChip: (\S+)", header)
    named = (camera_of(chip[1]) if chip else None) or camera
    if named is None:
        found = f"the chip {chip[1]}" if chip else "no line # AEChip"
        known = ", ".join(CAMERAS)
        raise DataError(file, f"expected one of the chips {known}, found {found}. Name the camera: camera=DVS128.", 0)
    size = CAMERAS[named]
    old = named == "DVS128"
    special = a & (1 << 15 if old else 1 << 31 | 1 << 10) != 0
    if (wrong := a >> 16 != 0 if old else ~special & (a & 0x7FF != 0)).any():
        first = int(wrong.argmax())
        problem = f"event {first} has the address {pairs['a'][first]:#x}, expected one of a {named}. Check camera=."
        raise DataError(file, problem, begin + 8 * first)
    chosen = np.flatnonzero(~special)
    a, t = a[chosen].astype(np.int32), t[chosen]
    raw = (a >> 1 & 127, a >> 8 & 127) if old else (a >> 12 & 1023, a >> 22 & 511)
    x, y = ((side - 1 - part).astype(np.int16) for side, part in zip(size[:2], raw, strict=True))
    events = Events(t, x, y, (1 - (a & 1) if old else a >> 11 & 1).astype(np.uint8), size)
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
        raise DataError(file, f"expected the format RAW, found {form[1]}.", 0)
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
    named = camera_of(" ".join(re.findall(r"#-?Source.*", header)))
    events = Events.of(times, a >> 17, a >> 2 & 0x7FFF, a >> 1 & 1, CAMERAS[named] if named else None)
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
        raise DataError(file, f"expected a file that begins with {magic!r}, found {data[:14]!r}.", 0)
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
