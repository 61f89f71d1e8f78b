"""Files of event cameras: one reader for each format, all to `Events`."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...errors import DataError
from ..arrays import Events
from .aedat import read_aedat, read_aedat4
from .binary import CAMERAS, records
from .prophesee import read_dat, read_raw
from .tables import TABLES, from_table


def read_events(
    file: Path | str, columns: str = "txyp", time_unit: float | None = None, camera: str | None = None
) -> Events:
    """The events of a recording, in the order of the file; x from the left, y from the top, t in µs.

    ==================== =================================================================== ======================
    suffix               format                                                              sensor_size
    ==================== =================================================================== ======================
    `.npy`               structured array, or [N, 4]                                         None
    `.npz`               the same, or one array for each of t, x, y, p                       width, height
    `.h5`, `.hdf5`       t, x, y, p at the top or in a group; or a dataset of such fields   attributes width, height
    `.mat`               t, x, y, p; ST-MNIST (spiketrain)                                   width, height
    `.csv`, `.txt`       commas, semicolons or space; the first line may name the columns    None
    `.bin`               N-MNIST, N-Caltech101: 5 bytes an event                             None
    `.aedat`             AER-DAT2.0 (DVS128, DAVIS240, DAVIS346), AER-DAT3.1 (IBM's)         camera in the header
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
        camera: DVS128, DAVIS240 or DAVIS346, of an AER-DAT2.0 file whose header names no chip.

    Returns:
        The events; none if the recording is valid and has none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If no format has the suffix, columns is no order of t, x, y and p, time_unit is not positive, or the
            camera is unknown.
        DataError: If the file is not of its format, or breaks off; with the byte, if the format has such a place.
    """
    file = Path(file)
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{file}: expected one of the suffixes {', '.join(SUFFIXES)}, found {suffix or 'none'}.")
    if sorted(columns) != list("ptxy"):
        raise ValueError(f"columns: expected an order of t, x, y and p, such as 'txyp', found {columns!r}.")
    if time_unit is not None and not 0 < time_unit < math.inf:
        raise ValueError(f"time_unit: expected a positive number (µs per unit of time in the file), found {time_unit}.")
    if camera is not None and camera not in CAMERAS:
        raise ValueError(f"camera: expected one of {', '.join(CAMERAS)}, found {camera!r}.")
    if file.stat().st_size == 0:
        raise DataError(file, "the file is empty.", 0)
    if suffix == ".aedat":
        events = read_aedat(file, camera)
    elif suffix in RECORDINGS:
        events = RECORDINGS[suffix](file)
    else:
        with np.errstate(all="ignore"):  # what is not finite is refused by name
            events = from_table(file, TABLES[suffix](file), columns, time_unit)
    refuse_lost_times(file, events)
    return events


def refuse_lost_times(file: Path, events: Events) -> None:
    """Refuse a recording that a few wrong times make much longer: they would put all other events into one step.

    The recording must not be more than 100 times as long as it is without its first and its last 0.1 % of events.

    Raises:
        DataError: If it is.
    """
    if len(events) < 100:
        return
    t, few = np.sort(events.t), max(1, len(events) // 1000)
    most = t[-1 - few] - t[few]
    if t[-1] - t[0] > 100 * max(most, 1):
        raise DataError(
            file,
            f"expected times that lie together, found {t[0]} to {t[-1]} µs, but all events except {2 * few} from "
            f"{t[few]} to {t[-1 - few]} µs. Remove the events with wrong times.",
        )


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


RECORDINGS: dict[str, Callable[[Path], Events]] = {
    ".bin": read_bin,
    ".aedat": read_aedat,
    ".aedat4": read_aedat4,
    ".dat": read_dat,
    ".raw": read_raw,
}


SUFFIXES = (*TABLES, *RECORDINGS)
