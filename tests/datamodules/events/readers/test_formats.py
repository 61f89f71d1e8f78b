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
def good(tmp_path_factory, sample):
    """A folder with a small recording in every format."""
    folder = tmp_path_factory.mktemp("good")
    for name in WRITERS:
        written(folder, name, *sample(20))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("broken")


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_written_is_read(tmp_path, name, sample, same):
    events = sample()
    found = read_events(written(tmp_path, name, *events))
    same(found, *events)
    assert found.sensor_size == SIZES.get(name)


def test_every_suffix_is_tested_and_listed(tmp_path, sample, same):
    assert {Path(name).suffix for name in WRITERS} | {".hdf5"} == set(SUFFIXES)
    same(read_events(written(tmp_path, "group.h5", *sample()).rename(tmp_path / "a.HDF5")), *sample())
    with pytest.raises(ValueError, match=r"b\.avi: expected .* \.npy, .*\.raw, found \.avi"):
        read_events(tmp_path / "b.avi")
    with pytest.raises(FileNotFoundError):
        read_events(tmp_path / "missing.npy")


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in ("nmnist.bin", "table.txt")])
def test_a_recording_without_events(tmp_path, name, sample):
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
def test_cut_at_any_byte(good, folder, name, sample, same):
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


def test_text_that_ends_the_process_of_aedat(tmp_path, sample):
    """aedat 2.3 aborts at a description that is not UTF-8."""
    content = bytearray(as_aedat4(*sample()))
    content[content.index(b"outInfo")] = 0xD0
    (tmp_path / "a.aedat4").write_bytes(content)
    with pytest.raises(DataError, match="UnicodeDecodeError"):
        read_events(tmp_path / "a.aedat4")


def test_an_event_off_the_camera(tmp_path, sample):
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


# ------------------------------------------------------------------------------------------------ columns, units


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [({"columns": "txy"}, "columns"), ({"time_unit": 0}, "time_unit"), ({"time_unit": np.nan}, "t")],
)
def test_arguments(tmp_path, arguments, problem, sample):
    with pytest.raises(ValueError, match=problem):
        read_events(written(tmp_path, "array.npy", *sample()), **arguments)


# ------------------------------------------------------------------------------------------------ formats


def test_timer_of_nmnist(tmp_path, same):
    """Records by hand, after the description of the format: an overflow adds 2^13 µs to what follows."""
    (tmp_path / "a.bin").write_bytes(
        bytes([1, 2, 128, 0, 5, 0, 240, 0, 0, 0, 3, 4, 1, 2, 3, 9, 240, 255, 9, 9, 5, 6, 0, 0, 0])
    )
    same(read_events(tmp_path / "a.bin"), [5, 65536 + 515 + 8192, 16384], [1, 3, 5], [2, 4, 6], [1, 0, 0])


@pytest.mark.parametrize("name", ["dvs128.aedat", "cd.dat"])
def test_a_32_bit_clock_that_begins_anew(tmp_path, name, sample, same):
    t, x, y, p = sample()
    late = t + 2**32 - 50_000
    same(read_events(written(tmp_path, name, late % 2**32, x, y, p)), late, x, y, p)


@pytest.mark.parametrize(("name", "bits"), [("two.raw", 34), ("three.raw", 24)])
def test_a_clock_of_prophesee_that_begins_anew(tmp_path, name, bits, sample, same):
    t, x, y, p = sample()
    late = t + 2**bits - 50_000
    same(read_events(written(tmp_path, name, late % 2**bits, x, y, p)), late, x, y, p)


def test_asl_dvs(tmp_path, sample, same):
    """Columns [n, 1], y from the bottom (tonic turns it alike)."""
    t, x, y, p = sample(width=240, height=180)
    columns = {"ts": t, "x": x.astype(np.uint16), "y": (179 - y).astype(np.uint16), "pol": p.astype(np.uint8)}
    scipy.io.savemat(tmp_path / "a.mat", columns, oned_as="column")
    found = read_letter(EventSample(tmp_path / "a.mat", 0))
    same(found, t, x, y, p)
    assert found.sensor_size == (240, 180, 2)
    same(read_events(tmp_path / "a.mat"), t, x, 179 - y, p)  # the turn is that of the dataset, not of the format


# ------------------------------------------------------------------------------------------------ real recordings


@pytest.mark.parametrize(
    ("name", "encoding"), [("expelliarmus/evt2_sample.raw", "evt2"), ("tonic/sample_ncars.dat", "dat")]
)
def test_real_recordings_as_expelliarmus_reads_them(name, encoding, real, same):
    from expelliarmus import Wizard

    other = Wizard(encoding=encoding).read(real / name)
    same(read_events(real / name), *(other[key] for key in "txyp"))


def test_real_recordings_as_tonic_reads_them(real, same):
    import tonic.io

    file = real / "tonic" / "sample_nmnist.bin"
    other = tonic.io.read_mnist_file(file, np.dtype([(name, int) for name in "xytp"]))
    same(read_events(file), *(other[key] for key in "txyp"))
    file = real / "tonic" / "sample.aedat4"
    other = tonic.io.read_aedat4(str(file))
    same(read_events(file), other["t"], other["x"], other["y"], other["on"])
    assert read_events(file).sensor_size == (320, 240, 2)
    header = read_events(real / "tonic" / "sample_aedat_header.aedat")
    assert (len(header), header.sensor_size) == (0, (346, 260, 2))
    tactile = read_events(real / "tonic" / "sample_stmnist.mat")
    assert (len(tactile), tactile.sensor_size, tactile.t[0], tactile.t[-1]) == (2346, (10, 10, 2), 196_626, 895_745)


def test_davis_as_tonic_reads_it(tmp_path, sample, same):
    import tonic.io

    t, x, y, p = sample(width=346, height=260)
    file = written(tmp_path, "davis.aedat", t, x, y, p)
    content = file.read_bytes()
    begin = content.index(b"Header\r\n") + 8
    dvs = b"".join(content[at : at + 8] for at in range(begin, len(content), 16))  # tonic takes samples for events
    file.write_bytes(content[:begin] + dvs)
    _, _, other = tonic.io.read_davis_346(str(file))
    same(read_events(file), *(other[key] for key in "txyp"))


@pytest.mark.parametrize(
    ("name", "step"),
    [("tonic/sample.aedat4", 50_021), ("expelliarmus/evt3_sample.raw", 60_013), ("tonic/sample_stmnist.mat", 3001)],
)
def test_real_recordings_cut(tmp_path, name, step, real):
    content, whole = (real / name).read_bytes(), read_events(real / name)
    file = tmp_path / Path(name).name
    for cut in range(1, len(content), step):
        file.write_bytes(content[:cut])
        found = outcome(file)
        assert isinstance(found, DataError) or (found.t == whole.t[: len(found)]).all()


def test_events_of_a_recording_are_events(tmp_path, sample):
    assert isinstance(read_events(str(written(tmp_path, "array.npy", *sample()))), Events)


# ------------------------------------------------------------------------------------------------ lost times


@pytest.mark.parametrize("suffix", ["npy", "csv"])
def test_one_wrong_time_is_refused(tmp_path, suffix, sample):
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
