"""Columns: what separates them, what names them, and which of them is the time."""

import numpy as np
import pytest

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
