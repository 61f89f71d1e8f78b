import os
import struct
import zipfile
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.errors import DataError
from datamodules.events.arrays import Events
from datamodules.events.asl_dvs import read_letter
from datamodules.events.readers.formats import SUFFIXES, read_events
from datamodules.events.recordings import EventSample

SHARED = Path(os.environ.get("SNNZOO_DATA", Path(__file__).parents[3] / "shared" / "data"))
REAL = SHARED / "events_samples"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real recordings in {REAL} (set SNNZOO_DATA)")


def sample(n=60, width=34, height=34, seed=0):
    """n events, ordered in time, as t, x, y, p."""
    draw = np.random.default_rng(seed)
    t = np.sort(draw.integers(0, 100_000, n))
    return t, draw.integers(0, width, n), draw.integers(0, height, n), draw.integers(0, 2, n)


# Writers, each by its own way to the bytes: loops over events and struct, where the readers are arrays and masks.


def as_bin(t, x, y, p):
    content, overflows = b"", 0
    for when, column, row, sign in zip(t, x, y, p, strict=True):
        while when - (overflows << 13) >= 40_000:  # the writer's own choice of when its timer overflows
            content, overflows = content + bytes([0, 240, 0, 0, 0]), overflows + 1
        when = int(when) - (overflows << 13)
        content += bytes([column, row, int(sign) << 7 | when >> 16, when >> 8 & 255, when & 255])
    return content


def as_aedat2(t, x, y, p):
    content = b"#!AER-DAT2.0\r\n# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"
    for when, column, row, sign in zip(t.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True):
        content += struct.pack(">II", (127 - row) << 8 | (127 - column) << 1 | 1 - sign, when)
    return content


def as_davis(t, x, y, p):
    content = b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.Davis346red\r\n#End Of ASCII Header\r\n"
    for when, column, row, sign in zip(t.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True):
        content += struct.pack(">II", (259 - row) << 22 | (345 - column) << 12 | sign << 11, when)
        content += struct.pack(">II", 1 << 31 | 5, when)  # a sample of the frame
    return content


def as_aedat3(t, x, y, p, packet=7, header=b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"):
    content = header
    for start in range(0, len(t), packet):
        part = slice(start, start + packet)
        events = b"".join(
            struct.pack("<II", column << 17 | row << 2 | sign << 1 | 1, when)
            for when, column, row, sign in zip(*(a[part].tolist() for a in (t, x, y, p)), strict=True)
        )
        n = len(events) // 8
        content += struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, n, n, n) + events
        content += struct.pack("<hhiiiiii", 0, 1, 8, 4, 0, 1, 1, 1) + bytes(8)  # a special event
    return content


def as_aedat4(t, x, y, p, packet=25, size=(34, 34)):
    """Without compression; the flatbuffers are laid out by hand, with the fields in the order of the schema."""
    info = (
        '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/"><node name="0" path="/0/">'
        '<attr key="compression" type="string">NONE</attr><attr key="typeIdentifier" type="string">EVTS</attr>'
        '<node name="info" path="/0/info/">'
        f'<attr key="sizeX" type="int">{size[0]}</attr><attr key="sizeY" type="int">{size[1]}</attr>'
        "</node></node></node></dv>"
    ).encode()
    table = struct.pack("<HHHHHxx", 10, 20, 4, 8, 16) + struct.pack("<iiqI", 12, 0, -1, 4)
    header = struct.pack("<I", 8 + 12) + b"IOHE" + table + struct.pack("<I", len(info)) + info + b"\0"
    content = b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(header)) + header
    for start in range(0, len(t), packet):
        part = slice(start, start + packet)
        events = [
            struct.pack("<qhh?xxx", *event) for event in zip(*(a[part].tolist() for a in (t, x, y, p)), strict=True)
        ]
        body = struct.pack("<I", 16) + b"EVTS" + struct.pack("<xxHHHiII", 6, 8, 4, 6, 4, len(events)) + b"".join(events)
        body = struct.pack("<I", len(body)) + body
        content += struct.pack("<ii", 0, len(body)) + body
    return content


def as_dat(
    t, x, y, p, header=b"% Data file containing CD events.\n% Version 2\n% Height 34\n% Width 34\n% end\n", kind=12
):
    content = header + bytes([kind, 8])
    for when, column, row, sign in zip(t.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True):
        content += struct.pack("<II", when, sign << 28 | row << 14 | column)
    return content


def as_evt2(t, x, y, p, header=b"% evt 2.0\n% geometry 34x34\n% end\n"):
    content = header
    for when, column, row, sign in zip(t.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True):
        content += struct.pack("<I", 8 << 28 | when >> 6 & 2**28 - 1)
        content += struct.pack("<I", sign << 28 | (when & 63) << 22 | column << 11 | row)
    return content


def as_evt3(t, x, y, p, header=b"% format EVT3;height=34;width=34\n% end\n"):
    """Every third event by itself, of the others one as a row of 12 and one as a row of 8 behind a row of 12."""
    words = []
    for i, (when, column, row, sign) in enumerate(zip(t.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True)):
        words += [0x8000 | when >> 12 & 4095, 0x6000 | when & 4095, row]
        if i % 3 == 0:
            words.append(0x2000 | sign << 11 | column)
        elif i % 3 == 1:
            words += [0x3000 | sign << 11 | max(column - 7, 0), 0x4000 | 1 << min(column, 7)]
        else:
            words += [0x3000 | sign << 11 | max(column - 15, 0)]
            words += (
                [0x4000, 0x5000 | 1 << column - 12 - max(column - 15, 0)] if column >= 12 else [0x4000 | 1 << column]
            )
    return header + struct.pack(f"<{len(words)}H", *words)


def saved(save, suffix):
    def write(file, t, x, y, p):
        with file.with_suffix(suffix).open("wb") as stream:
            save(stream, t, x, y, p)

    return write


def structured(t, x, y, p):
    whole = np.empty(len(t), [("p", bool), ("x", np.int16), ("t", np.uint64), ("y", np.int16)])
    whole["t"], whole["x"], whole["y"], whole["p"] = t, x, y, p
    return whole


def as_h5(file, t, x, y, p):
    with h5py.File(file, "w") as top:
        group = top.create_group("camera/events")
        group.attrs["width"], group.attrs["height"] = 34, 34
        group["x"], group["timestamps"] = x.astype(np.uint16), t
        group.create_dataset("y", data=y.astype(np.uint16), compression="gzip", chunks=(16,), maxshape=(None,))
        group.create_dataset("p", data=p.astype(bool), compression="lzf", chunks=(16,), maxshape=(None,))


def as_csv(t, x, y, p):
    rows = (f"{i},{a},{b},{c},{bool(d)}\n" for i, (a, b, c, d) in enumerate(zip(x, y, t, p, strict=True)))
    return (",x,y,t,p\n" + "".join(rows)).encode()


def as_txt(t, x, y, p):
    return ("# made by hand\n" + "".join(f"{a} {b} {c} {d}\n" for a, b, c, d in zip(t, x, y, p, strict=True))).encode()


WRITERS = {
    "array.npy": lambda f, *e: np.save(f, np.stack(e, 1)),
    "columns.npy": lambda f, *e: np.save(f, np.asfortranarray(np.stack(e, 1).astype(np.float64))),
    "fields.npy": lambda f, *e: np.save(f, structured(*e)),
    "arrays.npz": lambda f, t, x, y, p: np.savez(f, t=t, x=x, y=y, polarity=2 * p - 1, width=34, height=34),
    "packed.npz": lambda f, *e: np.savez_compressed(f, structured(*e)),
    "group.h5": as_h5,
    "matlab.mat": lambda f, t, x, y, p: scipy.io.savemat(f, {"t": t, "x": x[:, None], "y": y, "p": p * 2.0 - 1}),
    "packed.mat": lambda f, t, x, y, p: scipy.io.savemat(f, {"t": t, "x": x, "y": y, "p": p}, do_compression=True),
    "table.csv": as_csv,
    "table.txt": as_txt,
    "nmnist.bin": as_bin,
    "dvs128.aedat": as_aedat2,
    "davis.aedat": as_davis,
    "gesture.aedat": as_aedat3,
    "dv.aedat4": as_aedat4,
    "cd.dat": as_dat,
    "two.raw": as_evt2,
    "three.raw": as_evt3,
}
SIZES = {
    "davis.aedat": (346, 260, 2),
    "dvs128.aedat": (128, 128, 2),
    "gesture.aedat": (128, 128, 2),
} | dict.fromkeys(("arrays.npz", "group.h5", "dv.aedat4", "cd.dat", "two.raw", "three.raw"), (34, 34, 2))


def written(folder, name, *events):
    file = folder / name
    write = WRITERS[name]
    if write.__name__.startswith("as_") and write is not as_h5:
        file.write_bytes(write(*events))
    else:
        write(file, *events)
    return file


def same(events, t, x, y, p):
    for found, expected in zip((events.t, events.x, events.y, events.p), (t, x, y, p), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert [a.dtype for a in (events.t, events.x, events.y, events.p)] == [np.int64, np.int16, np.int16, np.uint8]


def outcome(file):
    """What `read_events` makes of a file that may be broken: events, or a DataError that names the file."""
    try:
        return read_events(file)
    except DataError as error:
        broken = error
    assert str(file) in str(broken)
    assert broken.file == file
    return broken


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder with a small recording in every format."""
    folder = tmp_path_factory.mktemp("good")
    for name in WRITERS:
        written(folder, name, *sample(20))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("broken")


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_written_is_read(tmp_path, name):
    events = sample()
    found = read_events(written(tmp_path, name, *events))
    same(found, *events)
    assert found.sensor_size == SIZES.get(name)


def test_every_suffix_is_tested_and_listed(tmp_path):
    assert {Path(name).suffix for name in WRITERS} | {".hdf5"} == set(SUFFIXES)
    same(read_events(written(tmp_path, "group.h5", *sample()).rename(tmp_path / "a.HDF5")), *sample())
    with pytest.raises(ValueError, match=r"b\.avi: expected .* \.npy, .*\.raw, found \.avi"):
        read_events(tmp_path / "b.avi")
    with pytest.raises(FileNotFoundError):
        read_events(tmp_path / "missing.npy")


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in ("nmnist.bin", "table.txt")])
def test_a_recording_without_events(tmp_path, name):
    assert len(read_events(written(tmp_path, name, *sample(0)))) == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_file(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"")
    with pytest.raises(DataError, match="at byte 0: the file is empty"):
        read_events(tmp_path / f"a{suffix}")


# ------------------------------------------------------------------------------------------------ broken files

# Cut between two records these are whole files of fewer events: the format has no count.
UNCOUNTED = {
    "nmnist.bin",
    "dvs128.aedat",
    "davis.aedat",
    "gesture.aedat",
    "dv.aedat4",
    "cd.dat",
    "two.raw",
    "three.raw",
}
PLACELESS = {"group.h5", "table.csv", "table.txt"}


@pytest.mark.parametrize("name", WRITERS)
def test_cut_at_any_byte(good, folder, name):
    """An error, with the byte where the format has one; or, at the end of a record, the events before it."""
    content, file, whole, errors = (good / name).read_bytes(), folder / name, sample(20), 0
    for cut in sorted({*range(1, len(content), max(1, len(content) // 50)), *range(len(content) - 9, len(content))}):
        file.write_bytes(content[:cut])
        found = outcome(file)
        if isinstance(found, DataError):
            errors += 1
            assert name in PLACELESS or 0 <= found.offset <= cut
        elif name not in ("table.csv", "table.txt"):  # of 12, 1 is left: no reader can see it
            assert name in UNCOUNTED
            same(found, *(values[: len(found)] for values in whole))
    assert errors > 10


@pytest.mark.parametrize(
    ("name", "record"), [("nmnist.bin", 5), ("dvs128.aedat", 8), ("cd.dat", 8), ("two.raw", 4), ("three.raw", 2)]
)
def test_where_the_last_record_begins(good, folder, name, record):
    content = (good / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(DataError, match=f"breaks off: the last record has {record - 1} of {record} bytes") as caught:
        read_events(folder / name)
    assert caught.value.offset == len(content) - record


PIECES = st.binary(min_size=1, max_size=4) | st.sampled_from([b"\xff" * 4, bytes(4), b"\xff" * 8])


@pytest.mark.parametrize("name", WRITERS)
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), PIECES), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_changed_bytes(good, folder, name, changes):
    """Events or a DataError; an alarm of numpy or a panic of Rust would fail the test."""
    content = bytearray((good / name).read_bytes())
    for at, piece in changes:
        at %= len(content)
        content[at : at + len(piece)] = piece
    (folder / name).write_bytes(content)
    outcome(folder / name)


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".bin"])
@given(content=st.binary(min_size=1, max_size=200))
@settings(max_examples=40, deadline=None)
def test_random_bytes(folder, suffix, content):
    file = folder / f"random{suffix}"
    file.write_bytes(content)
    if suffix in (".csv", ".txt"):
        outcome(file)
    else:
        assert isinstance(outcome(file), DataError)


@given(text=st.text("0123456789.,;-# \n\ttxypeE_naN\"'", max_size=80), suffix=st.sampled_from([".csv", ".txt"]))
@settings(max_examples=150, deadline=None)
def test_random_text(folder, text, suffix):
    file = folder / f"text{suffix}"
    file.write_text(text + "1")
    outcome(file)


def npy(header, content=b""):
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (%d, 4)}"


@pytest.mark.parametrize(
    ("name", "content", "problem", "offset"),
    [
        ("huge.npy", npy(HUGE % 10**12, bytes(40)), r"promises 4000000000000 x 8 bytes of float64, found 40", 168),
        ("huge.npy", npy(HUGE % -1, bytes(32)), "shape is", 0),
        ("shape.npy", npy(HUGE.replace("4)", "5)") % 1, bytes(40)), r"\(1, 5\) of float64; expected \[N, 4\]", 128),
        ("object.npy", npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 4)}"), "not numbers", 0),
        ("nan.npy", npy(HUGE % 1, struct.pack("<4d", float("nan"), 1, 1, 1)), "event 0 has t = nan", 128),
        ("alarm.npy", npy(HUGE % 1, bytes(6) + b"\xf4\x7f" + struct.pack("<3d", 1, 1, 1)), "event 0 has t = nan", 128),
        ("inf.npy", npy(HUGE % 1, struct.pack("<4d", float("inf"), 1, 1, 1)), "event 0 has t = inf", 128),
        ("ms.npy", npy(HUGE % 1, struct.pack("<4d", 1.5, 1, 1, 1)), "no whole µs; give time_unit", 128),
        ("order.npy", npy(HUGE % 1, struct.pack("<4d", 3, 4, 1, 900)), r"p = 900.*order is another.*columns=", 128),
        ("a.aedat", b"#!AER-DAT4.0\r\n" + bytes(8), "expected #!AER-DAT2.0 or #!AER-DAT3.1; found '#!AER-DAT4.0'", 0),
        ("a.aedat", bytes(8), "there is no such line", 0),
        (
            "a.aedat",
            b"#!AER-DAT2.0\r\n# AEChip: Cochlea\r\n" + bytes(8),
            "expected one of the chips DVS128, DAVIS240, DAVIS346, found the chip Cochlea",
            0,
        ),
        (
            "a.aedat",
            b"#!AER-DAT3.1\r\n#Format: Serial-TS\r\n#!END-HEADER\r\n",
            "expected the format RAW, found Serial",
            0,
        ),
        ("a.aedat", b"#!AER-DAT3.1\r\n#Format: RAW\r\n", "no line #!END-HEADER", 0),
        (
            "a.aedat",
            b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, *[2**31 - 1] * 3),
            "packet promises 2147483647 events",
            28,
        ),
        ("a.aedat4", b"#!AER-DAT4.0\r\n" + b"\xff" * 40, "no valid AER-DAT4.0 header", 14),
        ("a.aedat4", b"#!AER-DAT3.1\r\n" + bytes(40), "expected a file that begins with", 0),
        ("a.dat", bytes(100), "no header", 0),
        ("a.dat", b"% Version 2\n\x0e\x08" + bytes(8), "found type 14 of 8 bytes", 12),
        ("a.dat", b"% Version 2\n\x0c\x08" + bytes(8) + struct.pack("<II", 1, 9 << 28), "event 1 has p = 9", 22),
        (
            "a.dat",
            b"% Width 4\n% Height 3\n\x0c\x08" + struct.pack("<II", 1, 4),
            "event 0 is at x = 4, y = 0; .*4 x 3",
            23,
        ),
        ("a.dat", b"% Width 0\n% Height 3\n\x0c\x08", "from 1 to 32767", 0),
        ("a.raw", b"% evt 2.1\n", "found version 2.1", 0),
        ("a.raw", b"% Date today\n" + bytes(8), "found version none", 0),
        ("a.raw", b"% evt 3.0", "breaks off in its header", 0),
        ("a.raw", b"% evt 3.0\n% sys", "breaks off in its header", 10),
        ("a.raw", b"% evt 2.0\n" + struct.pack("<II", 8 << 28, 12 << 28), "0xc0000000 has an unknown type", 14),
        ("a.raw", b"% evt 2.0\n" + struct.pack("<II", 0, 1 << 28), "all 2 events stand before the first time", 10),
        ("a.raw", b"% evt 3.0\n" + struct.pack("<5H", 0x8000, 0x6000, 0, 0x37FF, 0x4003), "0x4003", 18),
        ("a.txt", b"# only a comment\n", "there are no numbers", None),
        ("a.txt", b"1 2 3 1\n5 6\n", "table of numbers from line 1", None),
        ("a.txt", b"1 2 3\n", r"\(1, 3\).*expected \[N, 4\]", None),
        ("a.txt", b"1 2 3 1\xff\n", "no text", 7),
        ("a.csv", b"t,x,p\n1,2,1\n", "line 1: expected the names t, x, y and p", None),
        ("a.csv", b"t,x,y,p\nnan,2,1,1\n", "event 0 has t = nan", None),
        ("a.csv", b"t,x,y,p\n5,2.5,1,1\n", "x = 2.5", None),
        ("a.mat", b"MATLAB 5.0 MAT-file".ljust(200), "IM or MI at byte 126", 0),
    ],
)
def test_broken_by_hand(tmp_path, name, content, problem, offset):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataError, match=f"(?s){name}.*{problem}") as caught:
        read_events(file)
    assert caught.value.offset == offset


def test_text_that_ends_the_process_of_aedat(tmp_path):
    """aedat 2.3 aborts at a description that is not UTF-8."""
    content = bytearray(as_aedat4(*sample()))
    content[content.index(b"outInfo")] = 0xD0
    (tmp_path / "a.aedat4").write_bytes(content)
    with pytest.raises(DataError, match="UnicodeDecodeError"):
        read_events(tmp_path / "a.aedat4")


def test_an_event_off_the_camera(tmp_path):
    """The place of the event itself in AER-DAT3.1, after four packets of 7, and of its packet, the second, in 4.0."""
    t, x, y, p = sample()
    x[31] = 200
    places = {}
    for name in ("gesture.aedat", "dv.aedat4"):
        with pytest.raises(DataError, match="event 31 is at x = 200") as caught:
            read_events(written(tmp_path, name, t, x, y, p))
        places[name] = caught.value.offset
    content = (tmp_path / "gesture.aedat").read_bytes()
    assert places["gesture.aedat"] == content.index(b"HEADER\r\n") + 8 + 4 * (28 + 7 * 8 + 28 + 8) + 28 + 3 * 8
    event_25 = struct.pack("<qhh", t[25], x[25], y[25])  # the first of its packet, behind 40 bytes
    assert places["dv.aedat4"] == (tmp_path / "dv.aedat4").read_bytes().index(event_25) - 40


@pytest.mark.parametrize("cut", [100, 600, 900])
def test_a_member_of_an_archive_that_is_cut(tmp_path, cut):
    array = npy(HUGE % 8, bytes(256))[:-cut]
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("first.npy", npy(HUGE % 0))
        archive.writestr("events.npy", array)
    with pytest.raises(DataError) as caught:
        read_events(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes()[caught.value.offset :].startswith(b"PK\x03\x04")


def test_hdf5_that_promises_what_it_has_not(tmp_path):
    file = tmp_path / "a.h5"
    for options, problem in (({"chunks": (1000,)}, "1000000 chunks"), ({}, "8000000000 bytes")):
        with h5py.File(file, "w") as top:
            for name in "txyp":
                top.create_dataset(name, (10**9,), "i8", **options)
        with pytest.raises(DataError, match=f"/t promises {problem}, found 0"):
            read_events(file)
    with h5py.File(file, "w") as top:
        top["spikes/times"], top["spikes/units"] = [1.0], [2]
    with pytest.raises(DataError, match=r"no datasets t, x, y and p; found: spikes/times, spikes/units"):
        read_events(file)


# ------------------------------------------------------------------------------------------------ columns, units


def test_dvs_gesture_of_tonic(tmp_path):
    """[N, 4] float64: x, y, p, t in ms."""
    t, x, y, p = sample()
    np.save(tmp_path / "0.npy", np.stack([x, y, p, t / 1000], 1))
    same(read_events(tmp_path / "0.npy", columns="xypt", time_unit=1000), t, x, y, p)
    with pytest.raises(DataError):
        read_events(tmp_path / "0.npy")


@pytest.mark.parametrize(("unit", "kind"), [(1e6, np.float64), (1e3, np.float64), (1e-3, np.int64), (10, np.uint16)])
def test_units_of_time(tmp_path, unit, kind):
    t, x, y, p = sample()
    held = (t / unit).astype(kind)
    np.savez(tmp_path / "a.npz", t=held, x=x, y=y, p=p)
    same(read_events(tmp_path / "a.npz", time_unit=unit), [round(float(value) * unit) for value in held], x, y, p)


@pytest.mark.parametrize(
    "text",
    [
        "10 3 4 1\n20 5 6 0\n",
        "\n10 3 4 1\n\n20 5 6 0",
        "10;3;4;1\r\n20;5;6;0\r\n",
        "10.0, 3, 4, 1\n20.0, 5, 6, -1\n",
        "x,y,polarity,timestamp\n3,4,1,10\n5,6,0,20\n",
        '"X"\t"Y"\t"Pol"\t"TS"\n3\t4\ttrue\t10\n5\t6\tfalse\t20\n',
        "# v2e\n# timestamp x y polarity\n10 3 4 1\n20 5 6 0\n",
        ",camera,p,y,x,t\n0,left,True,4,3,10\n1,left,False,6,5,20\n",
        "\ufefft,x,y,p\n10,3,4,1\n20,5,6,0\n",
    ],
)
def test_text(tmp_path, text):
    (tmp_path / "a.txt").write_bytes(text.encode())
    same(read_events(tmp_path / "a.txt"), [10, 20], [3, 5], [4, 6], [1, 0])


def test_text_in_another_order(tmp_path):
    (tmp_path / "a.csv").write_text("3,4,1,0.010\n5,6,0,0.020\n")
    same(read_events(tmp_path / "a.csv", "xypt", 1e6), [10_000, 20_000], [3, 5], [4, 6], [1, 0])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [({"columns": "txy"}, "columns"), ({"time_unit": 0}, "time_unit"), ({"time_unit": np.nan}, "t")],
)
def test_arguments(tmp_path, arguments, problem):
    with pytest.raises(ValueError, match=problem):
        read_events(written(tmp_path, "array.npy", *sample()), **arguments)


# ------------------------------------------------------------------------------------------------ formats


def test_timer_of_nmnist(tmp_path):
    """Records by hand, after the description of the format: an overflow adds 2^13 µs to what follows."""
    (tmp_path / "a.bin").write_bytes(
        bytes([1, 2, 128, 0, 5, 0, 240, 0, 0, 0, 3, 4, 1, 2, 3, 9, 240, 255, 9, 9, 5, 6, 0, 0, 0])
    )
    same(read_events(tmp_path / "a.bin"), [5, 65536 + 515 + 8192, 16384], [1, 3, 5], [2, 4, 6], [1, 0, 0])


def test_aedat3_overflow_and_invalid_events(tmp_path):
    head = b"#!AER-DAT3.1\r\n#!END-HEADER\r\n"
    events = [(5, 1), (6, 0), (7, 1)]
    body = b"".join(struct.pack("<II", 3 << 17 | 4 << 2 | 2 | valid, t) for t, valid in events)
    (tmp_path / "a.aedat").write_bytes(head + struct.pack("<hhiiiiii", 1, 1, 8, 4, 2, 3, 3, 2) + body)
    found = read_events(tmp_path / "a.aedat")
    same(found, [(2 << 31) + 5, (2 << 31) + 7], [3, 3], [4, 4], [1, 1])
    assert found.sensor_size is None


@pytest.mark.parametrize("name", ["dvs128.aedat", "cd.dat"])
def test_a_32_bit_clock_that_begins_anew(tmp_path, name):
    t, x, y, p = sample()
    late = t + 2**32 - 50_000
    same(read_events(written(tmp_path, name, late % 2**32, x, y, p)), late, x, y, p)


@pytest.mark.parametrize(("name", "bits"), [("two.raw", 34), ("three.raw", 24)])
def test_a_clock_of_prophesee_that_begins_anew(tmp_path, name, bits):
    t, x, y, p = sample()
    late = t + 2**bits - 50_000
    same(read_events(written(tmp_path, name, late % 2**bits, x, y, p)), late, x, y, p)


def test_the_old_dat(tmp_path):
    """Version 1: x of 9 bits, y of 8, polarity of 1."""
    (tmp_path / "a.dat").write_bytes(b"% Version 1\n\x00\x08" + struct.pack("<II", 7, 1 << 17 | 200 << 9 | 300))
    same(read_events(tmp_path / "a.dat"), [7], [300], [200], [1])


def test_a_record_like_a_header(tmp_path):
    """0x25 is %, with which Prophesee's header lines begin."""
    words = struct.pack("<III", 8 << 28 | 0x2025, 1 << 28 | 3 << 11 | 4, 0x0A)
    (tmp_path / "a.raw").write_bytes(b"% evt 2.0\n" + words)
    same(read_events(tmp_path / "a.raw"), [0x2025 << 6] * 2, [3, 0], [4, 10], [1, 0])


def test_asl_dvs(tmp_path):
    """Columns [n, 1], y from the bottom (tonic turns it alike)."""
    t, x, y, p = sample(width=240, height=180)
    columns = {"ts": t, "x": x.astype(np.uint16), "y": (179 - y).astype(np.uint16), "pol": p.astype(np.uint8)}
    scipy.io.savemat(tmp_path / "a.mat", columns, oned_as="column")
    found = read_letter(EventSample(tmp_path / "a.mat", 0))
    same(found, t, x, y, p)
    assert found.sensor_size == (240, 180, 2)
    same(read_events(tmp_path / "a.mat"), t, x, 179 - y, p)  # the turn is that of the dataset, not of the format


def test_st_mnist(tmp_path):
    train = np.zeros((101, 3))
    train[23, 0], train[99, 2], train[0, 2] = 1, -1, 1
    train[100] = 0.1, 0.2, 0.30000051
    scipy.io.savemat(tmp_path / "a.mat", {"spiketrain": train})
    same(read_events(tmp_path / "a.mat"), [100_000, 300_001, 300_001], [3, 0, 9], [2, 0, 9], [1, 1, 0])


@pytest.mark.parametrize("place", ["/", "/CD"])
def test_hdf5_of_fields(tmp_path, place):
    events = sample()
    with h5py.File(tmp_path / "a.h5", "w") as top:
        top.require_group(place)["events"] = structured(*events)
    same(read_events(tmp_path / "a.h5"), *events)


def by_the_book(data):
    """EVT3, word by word, in the states of the format's description."""
    state, found = {}, []
    for (word,) in struct.iter_unpack("<H", data):
        kind, value = word >> 12, word & 0xFFF
        if kind == 8 and state.get(8) != value:
            state[6] = 0
        if kind in (0, 3, 6, 8):
            state[kind] = value
        t = (state.get(8, 0) << 12) + state.get(6, 0)
        if kind == 2:
            found.append((t, value & 0x7FF, state[0] & 0x7FF, value >> 11))
        if kind in (4, 5):
            for bit in range(12 if kind == 4 else 8):
                if value & 1 << bit:
                    found.append((t, (state[3] & 0x7FF) + bit, state[0] & 0x7FF, state[3] >> 11))
            state[3] += 12 if kind == 4 else 8
    return np.array(found).T


# ------------------------------------------------------------------------------------------------ real recordings


@real
def test_real_evt3():
    """expelliarmus 1.1.12 agrees in x, y and p; its times run to 53.9 ms, where the file has 551 ticks of 16 µs."""
    from expelliarmus import Wizard

    file = REAL / "expelliarmus" / "evt3_sample.raw"
    found, content = read_events(file), file.read_bytes()
    same(found, *by_the_book(content[166:]))
    assert (len(found), found.duration, bool((np.diff(found.t) >= 0).all())) == (219_596, 8801, True)
    other = Wizard(encoding="evt3").read(file)
    for name in "xyp":
        np.testing.assert_array_equal(getattr(found, name), other[name])


@real
@pytest.mark.parametrize(
    ("name", "encoding"), [("expelliarmus/evt2_sample.raw", "evt2"), ("tonic/sample_ncars.dat", "dat")]
)
def test_real_recordings_as_expelliarmus_reads_them(name, encoding):
    from expelliarmus import Wizard

    other = Wizard(encoding=encoding).read(REAL / name)
    same(read_events(REAL / name), *(other[key] for key in "txyp"))


@real
def test_real_recordings_as_tonic_reads_them():
    import tonic.io

    file = REAL / "tonic" / "sample_nmnist.bin"
    other = tonic.io.read_mnist_file(file, np.dtype([(name, int) for name in "xytp"]))
    same(read_events(file), *(other[key] for key in "txyp"))
    file = REAL / "tonic" / "sample.aedat4"
    other = tonic.io.read_aedat4(str(file))
    same(read_events(file), other["t"], other["x"], other["y"], other["on"])
    assert read_events(file).sensor_size == (320, 240, 2)
    header = read_events(REAL / "tonic" / "sample_aedat_header.aedat")
    assert (len(header), header.sensor_size) == (0, (346, 260, 2))
    tactile = read_events(REAL / "tonic" / "sample_stmnist.mat")
    assert (len(tactile), tactile.sensor_size, tactile.t[0], tactile.t[-1]) == (2346, (10, 10, 2), 196_626, 895_745)


def test_davis_as_tonic_reads_it(tmp_path):
    import tonic.io

    t, x, y, p = sample(width=346, height=260)
    file = written(tmp_path, "davis.aedat", t, x, y, p)
    content = file.read_bytes()
    begin = content.index(b"Header\r\n") + 8
    dvs = b"".join(content[at : at + 8] for at in range(begin, len(content), 16))  # tonic takes samples for events
    file.write_bytes(content[:begin] + dvs)
    _, _, other = tonic.io.read_davis_346(str(file))
    same(read_events(file), *(other[key] for key in "txyp"))


@real
@pytest.mark.parametrize(
    ("name", "step"),
    [("tonic/sample.aedat4", 50_021), ("expelliarmus/evt3_sample.raw", 60_013), ("tonic/sample_stmnist.mat", 3001)],
)
def test_real_recordings_cut(tmp_path, name, step):
    content, whole = (REAL / name).read_bytes(), read_events(REAL / name)
    file = tmp_path / Path(name).name
    for cut in range(1, len(content), step):
        file.write_bytes(content[:cut])
        found = outcome(file)
        assert isinstance(found, DataError) or (found.t == whole.t[: len(found)]).all()


def test_events_of_a_recording_are_events(tmp_path):
    assert isinstance(read_events(str(written(tmp_path, "array.npy", *sample()))), Events)


# ------------------------------------------------------------------------------------------------ lost times


@pytest.mark.parametrize("suffix", ["npy", "csv"])
def test_one_wrong_time_is_refused(tmp_path, suffix):
    """It would put the other 999 events into one step; a recording with pauses passes."""
    t, x, y, p = sample(1000)
    t[700] = 2**42
    file = tmp_path / f"a.{suffix}"
    save = np.save if suffix == "npy" else partial(np.savetxt, fmt="%d", delimiter=",")
    save(file, np.stack([t, x, y, p], 1))
    with pytest.raises(DataError, match=rf"expected times that lie together, found .* to {2**42} µs, but all events"):
        read_events(file)
    t = np.sort(np.delete(t, 700))
    t[500:] += 10**8
    save(file, np.stack([t, *(np.delete(part, 700) for part in (x, y, p))], 1))
    assert len(read_events(file)) == 999
