"""The picture of a dataset."""

import numpy as np
import pytest
import torch
from PIL import Image

from commands.data_figure import draw, picture
from datamodules.find import find
from tests.datamodules.conftest import write_classes


@pytest.mark.parametrize("name", ["folder", "digits", "yin_yang"])
def test_a_picture_is_written(tmp_path, name):
    data = find(str(write_classes(tmp_path / "data")) if name == "folder" else name)
    data.setup("fit")
    draw(data, tmp_path / "deep/picture.png")
    with Image.open(tmp_path / "deep/picture.png") as file:
        image = np.asarray(file.convert("RGB"))
    assert image.shape[0] > 300
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 10


def test_on_is_red_and_off_is_blue():
    frame = torch.zeros(2, 1, 3)
    frame[1, 0, 0] = frame[0, 0, 1] = 4
    assert picture(frame, 4).tolist() == [[[1, 0, 0], [0, 0, 1], [1, 1, 1]]]
