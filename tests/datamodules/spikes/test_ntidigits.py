import h5py
import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.spikes.ntidigits import NTIDIGITSDataModule


def write(file, speakers=("man-aa", "man-bb", "woman-cc", "woman-dd"), unit=63, digits=("o", "1", "z", "45z")):
    """The real layout: keys such as man-im-a-7, and two datasets for each."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as data:
        for part, names in (("train", speakers), ("test", ("man-xx", "woman-yy"))):
            keys = [f"{name}-{take}-{word}" for name in names for take in "ab" for word in digits]
            data[f"{part}_labels"] = np.array(keys[::-1], "S")
            for number, key in enumerate(keys):
                data[f"{part}_timestamps/{key}"] = np.linspace(0.001, 1.0, number + 1)
                data[f"{part}_addresses/{key}"] = np.full(number + 1, float(unit))
    return file


def test_single_digits_and_speakers(tmp_path):
    write(tmp_path / "NTIDIGITS18/n-tidigits.hdf5")
    data = NTIDIGITSDataModule(root=str(tmp_path), val_fraction=0.5, num_workers=0)
    data.setup("fit")
    assert {split: len(source) for split, source in data.splits.items()} == {"train": 12, "val": 12, "test": 12}
    assert data.trains["test"].targets.tolist() == [1, 0, 10] * 4
    x, y = next(iter(data.test_dataloader()))
    assert x.shape == (150, 12, 64)
    assert x.sum((0, 2)).tolist() == [2, 1, 3, 6, 5, 7, 10, 9, 11, 14, 13, 15], "in the order of the keys: -1, -o, -z"
    assert not x[..., :63].any()
    assert [data.label_names[label] for label in y[:3]] == ["1", "o", "z"]
    train, val = (set(data.trains[split].stops - data.trains[split].starts) for split in ("train", "val"))
    assert not train & val, "the number of spikes tells who spoke"
    spoken = {(count - 1) // 8 for count in val}
    assert len(spoken) == 2
    assert len({speaker // 2 for speaker in spoken}) == 2, "a man and a woman"


def test_what_is_missing_or_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"n-tidigits.hdf5 not found in .*docs.google.com"):
        NTIDIGITSDataModule(root=str(tmp_path)).setup("fit")
    file = write(tmp_path / "n-tidigits.hdf5", unit=64)
    data = NTIDIGITSDataModule(root=str(tmp_path), val_fraction=0.5)
    with pytest.raises(DataError, match=r"train sample man-aa-a-1, spike 0 has unit 64.0; expected 0 to 63"):
        data.setup("fit")
    write(file, digits=("x",))
    with pytest.raises(DataError, match=r"train_labels has 'man-aa-a-x'; expected are keys such as man-im-a-7"):
        data.setup("fit")
    write(file, speakers=("man-aa",))
    with pytest.raises(DataError, match="1 speakers in training"):
        data.setup("fit")
    write(file)
    with h5py.File(file, "a") as content:
        del content["test_timestamps/man-xx-a-o"]
    with pytest.raises(DataError, match="n-tidigits.hdf5: no such HDF5 file as expected"):
        data.setup("fit")
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(DataError, match="n-tidigits.hdf5"):
        data.setup("fit")
