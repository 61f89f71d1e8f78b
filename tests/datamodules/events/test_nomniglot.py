"""The characters and the writers of N-Omniglot; reading is tested with all published sets."""

import pytest

from datamodules import NOmniglotDataModule
from datamodules.errors import DataError

ROWS = "".join(f"{k},{1000 * k},{1000 * k + 999}\n" for k in range(20))


def write(root):
    for part, alphabet, count in (
        ("background", "Tifinagh", 3),
        ("background", "Greek", 2),
        ("evaluation", "Kannada", 2),
    ):
        for k in range(1, count + 1):
            folder = root / f"dvs_{part}/{alphabet}/character{k:02d}"
            folder.mkdir(parents=True)
            (folder / f"{k:04d}.aedat4").touch()
            (folder / f"{k:04d}.csv").write_text(f",start,end\n{ROWS}")
    return root / "dvs_evaluation/Kannada/character02/0002.csv"


def test_classes_are_characters_and_splits_are_writers(tmp_path):
    write(tmp_path)
    data = NOmniglotDataModule(root=str(tmp_path))
    assert data.num_classes == 7
    assert data.label_names[:3] == ("Greek/character01", "Greek/character02", "Kannada/character01")
    writers = {split: {sample.start // 1000 + 1 for sample in samples} for split, samples in data.find().items()}
    assert writers == {"train": set(range(1, 14)), "val": {14, 15}, "test": set(range(16, 21))}
    for samples in data.find().values():
        for sample in samples:
            assert data.label_names[sample.label] == f"{sample.file.parents[1].name}/{sample.file.parent.name}"
            assert sample.stop == sample.start + 999


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found 0 rows; expected 20"),
        (f",start,end\n{ROWS[:-20]}", "found 1[89] rows; expected 20"),
        (f",start,end\n0,5,5\n{ROWS}", "each with start < end"),
        (f",start,end\n0,a,b\n{ROWS}", "could not convert string to float"),
        (f",start,end\n0,nan,1\n{ROWS}", "NaN"),
        (f",start,end\n0\n{ROWS}", "out of range"),
        ("\0\xff<html>", "found 0 rows"),
    ],
)
def test_a_damaged_table_of_times(tmp_path, text, message):
    times = write(tmp_path)
    times.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        NOmniglotDataModule(root=str(tmp_path)).find()
    assert error.value.file == times


def test_a_missing_table_of_times(tmp_path):
    times = write(tmp_path)
    times.unlink()
    with pytest.raises(FileNotFoundError, match=str(times)):
        NOmniglotDataModule(root=str(tmp_path)).find()
