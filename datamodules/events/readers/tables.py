"""Recordings as tables of numbers: numpy, HDF5, MATLAB and text, all to columns t, x, y and p."""

import io
import math
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, parsing
from ...hdf5 import refuse_missing_filters
from ...matlab import mat_arrays
from ..arrays import Events, SensorSize
from .binary import Array, refuse_outside, unwrapped

NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "pol", "polarity", "polarities", "on"),
}


@dataclass(frozen=True)
class Table:
    """What a file of arrays or of text holds.

    Args:
        values: Columns by their names; or an array [N, 4], or one with fields.
        begin: Byte where the values begin, where there is one such place.
    """

    values: Mapping[str, Any] | Array
    begin: int | None = None


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
        refuse_other_order(file, values, table.begin)
    named = names_of(values)
    if missing := [key for key in NAMES if key not in named]:
        raise DataError(
            file, f"there is no {', '.join(missing)}; found: {', '.join(values) or 'nothing'}.", table.begin
        )
    t, x, y, p = (as_row(np.asarray(values[named[key]])) for key in NAMES)
    try:
        t = unwrapped(t) if t.dtype == np.uint32 else t
        events = Events.of(in_us(t, time_unit), x, y, p, size_of(values))
    except ValueError as error:
        raise DataError(file, f"{error}{hint}", table.begin) from error
    refuse_outside(file, events)
    return events


def refuse_other_order(file: Path, values: Mapping[str, Array], begin: int | None) -> None:
    """Refuse columns of which another one is the time: t goes backwards, and x or y never does.

    Raises:
        DataError: If it is so.
    """
    if (np.diff(values["t"].astype(np.float64)) >= 0).all():
        return
    for name in ("x", "y"):
        steps = np.diff(values[name].astype(np.float64))
        if len(steps) > 1 and (steps >= 0).all() and steps.any():
            raise DataError(
                file,
                f"the columns are read as {', '.join(values)}: expected times, which do not go backwards, as t, found "
                f"them as {name}. Give the order: columns=.",
                begin,
            )


def names_of(found: Iterable[str]) -> dict[str, str]:
    """Which of the names found stand for t, x, y and p."""
    by_name = {re.sub(r"\s*[(\[].*", "", name).strip(" \"'").lower(): name for name in found}
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
        raise ValueError(f"width and height: expected whole numbers from 1 to 32767, found {width} and {height}.")
    return int(width), int(height), 2


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
            raise ValueError(f"version {version} of the format; expected 1.0 and 2.0")
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


# ---------------------------------------------------------------------------------------------------- tables


def read_text(file: Path) -> Table:
    """Numbers in columns: as many in every row as there are names, if there are names.

    The first row of numbers decides what separates them: a comma, a semicolon, or blanks. The last line above it names
    the columns if it is no comment, and also if it is a comment of nothing but as many names. Other lines that begin
    with # are comments.
    """
    data = file.read_bytes()
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(file, f"this is no text: {error.reason}.", error.start) from error
    written = [number for number, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
    title = written.pop(0) if written and not all(map(NUMBER.fullmatch, split(lines[written[0]]))) else None
    begin = written[0] if written else len(lines)
    first = lines[begin] if written else ""
    if title is not None:
        names = split(lines[title], first or lines[title])
    else:
        comments = [line.lstrip().lstrip("#").strip() for line in lines[:begin] if line.lstrip().startswith("#")]
        names = next((found for line in reversed(comments) if is_names(found := split(line, first or line), first)), [])
    wanted = list(names_of(names).values())
    if names and len(wanted) < len(NAMES):
        raise DataError(file, f"line {(title or 0) + 1}: expected the names t, x, y and p, or numbers; found {names}.")
    if not written:
        if not names:
            raise DataError(file, "there are no numbers.")
        return Table({name: np.empty(0) for name in wanted})
    if names and len(names) != len(split(first)):
        problem = f"line {begin + 1}: expected a value for each of {names}, found {len(split(first))} values."
        raise DataError(file, problem)
    text = lines[begin:]
    if re.search("true|false", first, re.IGNORECASE):
        text = [re.sub("(?i)false", "0", re.sub("(?i)true", "1", line)) for line in text]
    with parsing(file, f"table of numbers from line {begin + 1} on"):
        usecols = [names.index(name) for name in wanted] or None
        values = np.loadtxt(text, delimiter=delimiter(first), usecols=usecols, ndmin=2)
    return Table(dict(zip(wanted, values.T, strict=True)) if names else values)


def delimiter(row: str) -> str | None:
    """What separates the cells of a row of numbers; None for blanks."""
    return "," if "," in row else ";" if ";" in row else None


def split(line: str, row: str | None = None) -> list[str]:
    """The cells of a line, separated as those of a row of numbers (the line itself by default)."""
    return [cell.strip() for cell in line.strip().split(delimiter(line if row is None else row))]


def is_names(cells: list[str], row: str) -> bool:
    """Whether a comment names the columns of a row of numbers: all four names, and nothing else."""
    return len(names_of(cells)) == len(NAMES) and (not row or len(cells) == len(split(row)))


def read_h5(file: Path) -> Table:
    """Datasets t, x, y and p of one group, the top first; else a dataset with such fields, or `events` [N, 4]."""
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
        raise DataError(file, f"there are no datasets t, x, y and p; found: {', '.join(sets) or 'none'}.", 0)


def loaded(file: Path, dataset: Any) -> Array:
    """A dataset; that it has been written whole is checked before memory is taken for it."""
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
    refuse_missing_filters(file, dataset)
    values: Array = dataset[()]
    return values


def read_mat(file: Path) -> Table:
    """MATLAB 5 (7.3, which is HDF5, is read as that).

    ST-MNIST's `spiketrain` [101, n] has in its rows the signs of the spikes of 10 x 10 sensors, row by row, and at last
    their times in s.
    """
    start = file.read_bytes()[:128]
    if start.startswith(b"\x89HDF") or b"MATLAB 7.3" in start:
        return read_h5(file)
    found = mat_arrays(file)
    if "spiketrain" in found:
        return st_mnist(file, found["spiketrain"])
    return Table(found, 128)


def st_mnist(file: Path, train: Array) -> Table:
    """Of a `spiketrain` [101, n] the events, and the 10 x 10 sensors."""
    if train.ndim != 2 or len(train) != 101 or train.dtype.kind not in "iuf":
        raise DataError(file, f"spiketrain: expected [101, n] numbers, found {train.shape} of {train.dtype}.", 128)
    moment, sensor = np.nonzero(train[:-1].T)
    values = {"x": sensor % 10, "y": sensor // 10, "p": train[sensor, moment], "width": 10, "height": 10}
    return Table(values | {"t": in_us(train[-1, moment], 1e6)}, 128)


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
