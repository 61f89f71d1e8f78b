"""Recordings written byte by byte, as the cameras' formats have them: what the readers must find again."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest


def bin5(t, x, y, p):
    """N-MNIST: x, y, then polarity and time."""
    return b"".join(struct.pack(">BBBH", x[i], y[i], p[i] << 7 | t[i] >> 16, t[i] & 0xFFFF) for i in range(len(t)))


def aedat2(t, x, y, p):
    """AER-DAT2.0 of a DVS128 that was mounted as for CIFAR10-DVS."""
    address = (127 - x) << 8 | (127 - y) << 1 | (1 - p)
    pairs = np.stack([address, t], 1).astype(">u4")
    return b"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n" + pairs.tobytes()


def aedat3(t, x, y, p):
    """AER-DAT3.1: packets of 7 polarity events."""
    data = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"
    for begin in range(0, len(t), 7):
        words = [(x[i] << 17 | y[i] << 2 | p[i] << 1 | 1, t[i]) for i in range(begin, min(begin + 7, len(t)))]
        data += struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, len(words), len(words), len(words))
        data += b"".join(struct.pack("<II", int(a), int(when)) for a, when in words)
    return data


def aedat4(t, x, y, p, width, height):
    """AER-DAT4.0, not compressed: flatbuffers of a header and of one packet, each with its size before it."""
    info = (
        '<dv version="2.0"><node name="outInfo" path="/o/"><node name="0" path="/o/0/">'
        '<attr key="compression" type="string">NONE</attr><attr key="typeIdentifier" type="string">EVTS</attr>'
        '<node name="info" path="/o/0/info/"><attr key="sizeX" type="int">'
        f'{width}</attr><attr key="sizeY" type="int">{height}</attr></node></node></node></dv>'
    ).encode()
    header = struct.pack("<I4s5H2x", 20, b"IOHE", 10, 20, 4, 12, 8)  # fields: compression, table's position, text
    header += struct.pack("<iiIqI", 12, 0, 12, -1, len(info)) + info + b"\0"
    events = b"".join(struct.pack("<qhhB3x", *event) for event in zip(t, x, y, p, strict=True))
    packet = struct.pack("<I4s3H2xiI4xI", 16, b"EVTS", 6, 8, 4, 8, 8, len(t)) + events
    sized = struct.pack("<I", len(packet)) + packet
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(header)) + header + struct.pack("<ii", 0, len(sized)) + sized


def dat(t, x, y, p):
    """Prophesee, version 2."""
    pairs = np.stack([t, x | y << 14 | p << 28], 1).astype("<u4")
    return b"% Data file containing N9Chronocam7Event2dE events.\n% Version 2\n\x00\x08" + pairs.tobytes()


@pytest.fixture
def record():
    """Writes a recording of n random events, in its folders and in the format of its suffix; returns them [n, 4]."""

    def write(file, seed, size=(12, 10), n=20, version=2):
        draw = np.random.default_rng(seed)
        t = 1000 * np.sort(draw.integers(0, 60, n))  # whole ms: one format has no more
        x, y, p = (draw.integers(0, limit, n) for limit in (*size, 2))
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".npy":  # DVS128 Gesture in tonic's form
            np.save(file, np.stack([x, y, p, t / 1000], 1).astype(np.float64))
        elif file.suffix == ".mat":  # ASL-DVS
            from scipy.io import savemat

            columns = {"ts": t, "x": x, "y": 179 - y, "pol": p}
            savemat(file, {name: values[:, None] for name, values in columns.items()})
        elif file.suffix == ".aedat4":
            file.write_bytes(aedat4(t, x, y, p, *size))
        else:
            form = {".bin": bin5, ".dat": dat, ".aedat": aedat2 if version == 2 else aedat3}[file.suffix]
            file.write_bytes(form(t, x, y, p))
        return np.stack([t, x, y, p], 1)

    return write


def write_classes(folder):
    """Classes a and b of 6 and 10 recordings; number n has n + 1 events, one of them ON, over 2 n ms."""
    for name, count in (("a", 6), ("b", 10)):
        (folder / name).mkdir(parents=True)
        for n in range(count):
            t = np.linspace(0, 2000 * n, n + 1).round()
            zero = np.zeros(n + 1)
            np.save(folder / name / f"{n}.npy", np.stack([t, zero + 7, zero + 5, np.arange(n + 1) == 0], 1))
    return folder


@pytest.fixture
def recorded_classes(tmp_path):
    """A folder of `write_classes`."""
    return write_classes(tmp_path / "data")


@pytest.fixture
def real_data(pytestconfig):
    """Finds a folder of real data by name, in ../shared/data or $SNNZOO_DATA; without it the test is skipped."""

    def find(name):
        folder = Path(os.environ.get("SNNZOO_DATA", pytestconfig.rootpath.parent / "shared/data")) / name
        if not folder.is_dir():
            pytest.skip(f"no real data in {folder} (set SNNZOO_DATA)")
        return folder

    return find
