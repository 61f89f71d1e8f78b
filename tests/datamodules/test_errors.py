import pickle
from pathlib import Path

import pytest

from datamodules.errors import DataError, did_you_mean, naming, parsing


def test_hint_at_the_closest_names():
    names = ["train", "val", "test"]
    assert did_you_mean("tset", names) == " Did you mean 'test'?"
    assert did_you_mean("xyz", names) == ""
    assert did_you_mean("cifar11", ["cifar10", "cifar100", "mnist"]) == " Did you mean 'cifar10' or 'cifar100'?"


def test_a_value_error_gets_the_name_of_the_file_and_a_data_error_keeps_its_own():
    with pytest.raises(DataError, match=r"^a\.npy: bad polarity$") as error, naming(Path("a.npy")):
        raise ValueError("bad polarity")
    assert error.value.file == Path("a.npy")
    with pytest.raises(DataError, match=r"^b\.npy at byte 7: broken$"), naming(Path("a.npy")):
        raise DataError("b.npy", "broken", 7)
    with pytest.raises(KeyError), naming(Path("a.npy")):
        raise KeyError("x")


def test_what_a_library_raises_becomes_a_data_error():
    with (
        pytest.raises(DataError, match=r"a\.h5 at byte 3: .*HDF5 file: KeyError"),
        parsing(Path("a.h5"), "HDF5 file", 3),
    ):
        raise KeyError("x")
    with pytest.raises(DataError, match="^b: broken$"), parsing(Path("a.h5"), "HDF5 file"):
        raise DataError("b", "broken")
    with pytest.raises(KeyboardInterrupt), parsing(Path("a.h5"), "HDF5 file"):
        raise KeyboardInterrupt


@pytest.mark.parametrize(("offset", "text"), [(None, "a.bin: too short"), (7, "a.bin at byte 7: too short")])
def test_an_error_crosses_processes(offset, text):
    error = pickle.loads(pickle.dumps(DataError("a.bin", "too short", offset)))
    assert (str(error), error.file.name, error.offset) == (text, "a.bin", offset)
