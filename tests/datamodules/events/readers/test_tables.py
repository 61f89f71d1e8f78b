"""Columns: what separates them, what names them, and which of them is the time."""

import h5py
import numpy as np
import pytest
import scipy.io

from datamodules.errors import DataError
from datamodules.events.readers.formats import read_events


def events(path, **arguments):
    found = read_events(path, **arguments)
    return [part.tolist() for part in (found.t, found.x, found.y, found.p)]


@pytest.mark.parametrize(
    "text",
    [
        "t (us),x,y,p,label\n100,10,20,1,0\n200,11,21,0,0\n",  # a blank within a name
        ",t,x,y,p\n0,100,10,20,1\n1,200,11,21,0\n",  # the index of pandas
        "label;t [us];x [px];y [px];p\n7;100;10;20;1\n7;200;11;21;0\n",
        "#!events.txt\n# x and y of t time steps p\n# time x y polarity\n100 10 20 1\n200 11 21 0\n",
        "# made on 3 May, x y p t, by hand\n100 10 20 1\n200 11 21 0\n",  # a comment that is more than names
        "# t, x, y, p\n100,10,20,1\n200,11,21,0\n",
        "# p y x t\n1 20 10 100\n0 21 11 200\n",
    ],
)
def test_names_are_separated_as_the_rows(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    assert events(tmp_path / "a.csv") == [[100, 200], [10, 11], [20, 21], [1, 0]]


@pytest.mark.parametrize("text", ["t x y p\n0 100 10 20 1\n", "t,x,y,p,label\n100,10,20,1\n"])
def test_as_many_names_as_columns(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=r"line 2: expected a value for each of .*, found [45] values"):
        read_events(tmp_path / "a.txt")


def test_times_in_the_place_of_another_column(tmp_path):
    x, y, t, p = [30, 4, 17, 9], [5, 60, 7, 8], [100, 250, 250, 400], [1, 0, 1, 0]
    np.save(tmp_path / "a.npy", np.stack([x, y, t, p], 1))
    with pytest.raises(DataError, match=r"expected times, .* as t, found them as y\. .*columns="):
        read_events(tmp_path / "a.npy")
    assert events(tmp_path / "a.npy", columns="xytp") == [t, x, y, p]


def test_a_clock_of_32_bits_goes_on_after_its_end(tmp_path):
    t = np.array([2**32 - 20, 2**32 - 10, 5, 15], np.uint32)
    np.savez(tmp_path / "a.npz", t=t, x=[1, 2, 3, 4], y=[1, 2, 3, 4], p=[1, 0, 1, 0])
    assert events(tmp_path / "a.npz")[0] == [2**32 - 20, 2**32 - 10, 2**32 + 5, 2**32 + 15]


def test_dvs_gesture_of_tonic(tmp_path, sample, same):
    """[N, 4] float64: x, y, p, t in ms."""
    t, x, y, p = sample()
    np.save(tmp_path / "0.npy", np.stack([x, y, p, t / 1000], 1))
    same(read_events(tmp_path / "0.npy", columns="xypt", time_unit=1000), t, x, y, p)
    with pytest.raises(DataError):
        read_events(tmp_path / "0.npy")


@pytest.mark.parametrize(("unit", "kind"), [(1e6, np.float64), (1e3, np.float64), (1e-3, np.int64), (10, np.uint16)])
def test_units_of_time(tmp_path, unit, kind, sample, same):
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
def test_text(tmp_path, text, same):
    (tmp_path / "a.txt").write_bytes(text.encode())
    same(read_events(tmp_path / "a.txt"), [10, 20], [3, 5], [4, 6], [1, 0])


def test_text_in_another_order(tmp_path, same):
    (tmp_path / "a.csv").write_text("3,4,1,0.010\n5,6,0,0.020\n")
    same(read_events(tmp_path / "a.csv", "xypt", 1e6), [10_000, 20_000], [3, 5], [4, 6], [1, 0])


def test_st_mnist(tmp_path, same):
    train = np.zeros((101, 3))
    train[23, 0], train[99, 2], train[0, 2] = 1, -1, 1
    train[100] = 0.1, 0.2, 0.30000051
    scipy.io.savemat(tmp_path / "a.mat", {"spiketrain": train})
    same(read_events(tmp_path / "a.mat"), [100_000, 300_001, 300_001], [3, 0, 9], [2, 0, 9], [1, 1, 0])


@pytest.mark.parametrize("place", ["/", "/CD"])
def test_hdf5_of_fields(tmp_path, place, sample, same):
    events = sample()
    with h5py.File(tmp_path / "a.h5", "w") as top:
        rows = np.empty(len(events[0]), [("p", bool), ("x", np.int16), ("t", np.uint64), ("y", np.int16)])
        rows["t"], rows["x"], rows["y"], rows["p"] = events
        top.require_group(place)["events"] = rows
    same(read_events(tmp_path / "a.h5"), *events)


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
