"""The folders of N-CARS; reading is tested with all published sets."""

from pathlib import Path

import numpy as np
import pytest

from datamodules import NCARSDataModule
from datamodules.errors import DataError
from datamodules.events.frames import Frames


def write(root, record, inner=""):
    for part in ("train", "test"):
        for name in ("cars", "background"):
            for i in range(1, 21):
                record(Path(root, f"n-cars_{part}", part if inner else "", name, f"obj_{i:06d}_td.dat"), seed=i)


@pytest.mark.parametrize("inner", [False, True])
def test_folders_as_the_archives_unpack(tmp_path, record, inner):
    write(tmp_path, record, inner)
    found = NCARSDataModule(root=str(tmp_path)).find()
    assert {split: len(samples) for split, samples in found.items()} == {"train": 36, "val": 4, "test": 40}
    assert {int(sample.file.stem[4:10]) for sample in found["val"]} == {19, 20}
    assert {sample.label for sample in found["test"] if sample.file.parent.name == "cars"} == {1}


def test_a_whole_camera_is_not_a_cut(tmp_path, record):
    write(tmp_path, record)
    record(tmp_path / "n-cars_test/cars/obj_000001_td.dat", seed=1, size=(304, 240), n=100)
    data = NCARSDataModule(root=str(tmp_path), num_workers=0, cache_gb=0.0, representation=Frames(num_steps=1))
    data.setup("fit")
    with pytest.raises(DataError, match=r"outside .*120 x 100"):
        np.sum([data.splits["test"].source[i][0].sum() for i in range(40)])
