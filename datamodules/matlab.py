"""Numbers in MATLAB 5 files."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, parsing

MAT_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}


def mat_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """The real numbers of a MATLAB 5 file, by name.

    Not through scipy, whose loadmat (1.17) ends the process at some changed bytes.

    Raises:
        DataError: If it is no such file, or breaks off.
    """
    data = file.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if not data.startswith(b"MATLAB 5.0") or order is None:
        raise DataError(file, "expected 'MATLAB 5.0 MAT-file' at the beginning and IM or MI at byte 126.", 0)
    found: dict[str, NDArray[Any]] = {}
    at = 128
    while at < len(data):
        with parsing(file, "MAT file", at):
            kind, content, after = mat_element(data, at, order)
            content = zlib.decompress(content) if kind == 15 else data[at:after]
            found |= mat_array(content, order)
        at = after
    return found


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


def mat_array(data: bytes, order: str) -> dict[str, NDArray[Any]]:
    """Name and values of an element that is a matrix (14) of real numbers; of others, nothing."""
    kind, matrix, _ = mat_element(data, 0, order)
    if kind != 14:
        raise ValueError(f"expected a matrix (14), found an element of type {kind}")
    (_, flags, at), parts = mat_element(matrix, 0, order), []
    for _ in range(2):
        _, part, at = mat_element(matrix, at, order)
        parts.append(part)
    (flag,) = struct.unpack_from(f"{order}I", flags)
    if not 6 <= flag & 255 <= 15 or flag & 0x800:  # text, cells, structs, or complex
        return {}
    kind, values, _ = mat_element(matrix, at, order)
    if kind not in MAT_TYPES:
        raise ValueError(f"expected numbers of a type in {', '.join(map(str, MAT_TYPES))}, found {kind}")
    shape = np.frombuffer(parts[0], f"{order}u4").tolist()  # unsigned: a negative length cannot mean "what is left"
    return {parts[1].decode(): np.frombuffer(values, order + MAT_TYPES[kind]).reshape(shape, order="F")}
