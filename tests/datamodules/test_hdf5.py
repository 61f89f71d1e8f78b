"""Datasets that were compressed by filters that HDF5 does not bring."""

import sys
from types import ModuleType

import h5py
import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.events.readers.formats import read_events
from datamodules.hdf5 import refuse_missing_filters
from datamodules.spikes.trains import open_h5


def compressed(file, filter_number):
    """Four events whose t is in a chunk that the filter is said to have compressed."""
    with h5py.File(file, "w") as top:
        for name in "xyp":
            top[f"events/{name}"] = np.array([0, 1, 0, 1])
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((4,))
        settings.set_filter(filter_number, h5py.h5z.FLAG_OPTIONAL)
        space, kind = h5py.h5s.create_simple((4,)), h5py.h5t.NATIVE_INT64
        t = h5py.h5d.create(top["events"].id, b"t", kind, space, settings)
        t.write_direct_chunk((0,), b"these bytes are compressed", 0)
    return file


@pytest.fixture(autouse=True)
def without_hdf5plugin(monkeypatch):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)  # importing it fails


@pytest.mark.parametrize(
    ("number", "named"),
    [
        (32001, r"32001 \(Blosc\) at /events/t. Install it: pip install hdf5plugin"),
        (32015, r"32015 \(Zstandard\) at /events/t. Install it: pip install hdf5plugin"),
        (0x8ECF, r"36559 \(ECF\) at /events/t. Install the filter, .* HDF5_PLUGIN_PATH: .*/hdf5_ecf"),
        (60_000, r"60000 \(unknown\) at /events/t. Install the filter, and name its folder in HDF5_PLUGIN_PATH\."),
    ],
)
def test_a_missing_filter_is_named(tmp_path, number, named):
    file = compressed(tmp_path / "a.h5", number)
    with pytest.raises(DataError, match=rf"a\.h5: expected filters that HDF5 has here, found {named}"):
        read_events(file)
    with pytest.raises(DataError, match=named), open_h5(file):
        pass


def test_hdf5plugin_is_used_where_it_is_installed(tmp_path, monkeypatch):
    file = compressed(tmp_path / "a.h5", 32001)
    monkeypatch.setitem(sys.modules, "hdf5plugin", ModuleType("hdf5plugin"))
    asked = iter([False, True])  # whether the filter is there, before and after the import
    monkeypatch.setattr("h5py.h5z.filter_avail", lambda number: next(asked))
    with h5py.File(file) as top:
        refuse_missing_filters(file, top["events/t"])


def test_filters_of_hdf5_itself_are_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as top:
        for name in "txyp":
            top.create_dataset(name, data=[0, 1, 0, 1], compression="gzip", shuffle=True, fletcher32=True)
    assert read_events(tmp_path / "a.h5").t.tolist() == [0, 1, 0, 1]
