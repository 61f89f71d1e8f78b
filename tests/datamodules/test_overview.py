"""The numbers and the picture of a data set, on data whose numbers are known."""

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import (
    DigitsDataModule,
    EventFolderDataModule,
    ImageFolderDataModule,
    StaticEventPairsDataModule,
    YinYangDataModule,
)
from datamodules.events import DataError
from datamodules.overview import draw, find, picture, survey


@pytest.fixture
def folder(tmp_path):
    """Classes a and b of 6 and 10 recordings; number n has n + 1 events, one of them ON, over 2 n ms."""
    for name, count in (("a", 6), ("b", 10)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for n in range(count):
            t = np.linspace(0, 2000 * n, n + 1).round()
            zero = np.zeros(n + 1)
            np.save(tmp_path / "data" / name / f"{n}.npy", np.stack([t, zero + 7, zero + 5, np.arange(n + 1) == 0], 1))
    return tmp_path / "data"


def ready(data):
    data.setup("fit")
    return data


def test_numbers_of_recordings(folder):
    data = ready(find(str(folder)))
    assert isinstance(data, EventFolderDataModule)
    splits = survey(data)
    assert list(splits) == ["train", "val", "test"]
    assert [split.classes for split in splits.values()] == [{"a": 4, "b": 6}, {"a": 1, "b": 2}, {"a": 1, "b": 2}]
    assert [split.samples for split in splits.values()] == [10, 3, 3]
    found = [facts for split in splits.values() for facts in split.surveyed]
    assert sorted(facts.events for facts in found) == sorted([*range(1, 7), *range(1, 11)])
    assert all(facts.on == 1 and facts.duration == 2000 * (facts.events - 1) for facts in found)
    assert {facts[3:] for facts in found} == {(8, 6)}
    assert data.sensor_size == (8, 6, 2)


def test_numbers_of_other_data():
    digits = survey(ready(DigitsDataModule()))
    assert sum(split.samples for split in digits.values()) == 1797
    assert sum(digits["test"].classes.values()) == digits["test"].samples == 359
    assert not digits["test"].surveyed


def test_numbers_of_pairs(folder, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for n in range(4):
            Image.new("RGB", (8, 8), (n, 0, 0)).save(tmp_path / "images" / name / f"{n}.png")
    images = ImageFolderDataModule(str(tmp_path / "images"), image_size=8, num_workers=0)
    events = EventFolderDataModule(str(folder), num_workers=0)
    splits = survey(ready(StaticEventPairsDataModule(events, images, num_workers=0)))
    assert [split.samples for split in splits.values()] == [10, 3, 3]
    assert len(splits["train"].surveyed) == 10


@pytest.mark.parametrize("name", ["yin_yang", "YinYangDataModule", "yinyang", "Yin-Yang"])
def test_names_of_data_modules(name):
    assert isinstance(find(name), YinYangDataModule)


def test_recipes_and_roots(tmp_path, folder):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {class_path: YinYangDataModule, init_args: {train_size: 60}}")
    data = ready(find(str(recipe)))
    assert survey(data)["train"].samples == 60
    recipe.write_text("data: {class_path: EventFolderDataModule}")
    assert len(ready(find(str(recipe), str(folder))).splits["train"]) == 10


def test_images_are_told_from_recordings(tmp_path, folder):
    for name in ("x", "y"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for n in range(4):
            Image.new("RGB", (8, 8), (n, 0, 0)).save(tmp_path / "images" / name / f"{n}.png")
    (tmp_path / "images/x/notes.txt").write_text("A text beside images is no recording.")
    data = ready(find(str(tmp_path / "images")))
    assert isinstance(data, ImageFolderDataModule)
    assert survey(data)["train"].classes == {"x": 2, "y": 2}
    (folder / "a/0.png").touch()
    with pytest.raises(
        ValueError, match=r"must have recordings .* or images .* not both; found files ending in .npy, .png"
    ):
        find(str(folder))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no folders in it"):
        find(str(tmp_path / "empty"))
    (tmp_path / "empty/class").mkdir()
    with pytest.raises(ValueError, match="found files ending in nothing"):
        find(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("data: [", "this is no YAML"),
        ("model: 3", "must have a section data"),
        ("data: nmnist", "must have a section data"),
        ("data: {class_path: YinYangDataModule, init_args: {train_siz: 60}}", "train_siz"),
    ],
)
def test_wrong_recipes(tmp_path, recipe, message):
    (tmp_path / "recipe.yaml").write_text(recipe)
    with pytest.raises(ValueError, match=rf"(?s)recipe\.yaml: .*{message}"):
        find(str(tmp_path / "recipe.yaml"))


def test_a_root_for_data_that_have_none():
    with pytest.raises(ValueError, match="(?s)digits: .*root"):
        find("digits", "data")


def test_options_and_their_errors(folder, tmp_path):
    assert ready(find(str(folder), options={"sensor_size": [40, 30, 2]})).sensor_size == (40, 30, 2)
    with pytest.raises(ValueError, match="sensorsize"):
        find(str(folder), options={"sensorsize": [40, 30, 2]})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {class_path: EventFolderDataModule}")
    (folder / "a/0.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a/0\.npy"):
        find(str(recipe), str(folder))
    with pytest.warns(UserWarning, match=r"Left out 1 samples: .*a/0\.npy"):
        data = ready(find(str(recipe), str(folder), {"on_error": "skip"}))
    assert sum(split.samples for split in survey(data).values()) == 15


def test_files_without_folders_and_text_without_classes(folder, tmp_path):
    (tmp_path / "text.txt").write_text("some words " * 400)
    with pytest.raises(ValueError, match=r"has no folders in it. Files lie in one folder a class: .*/<class>/<file>"):
        find(str(folder / "a"))
    splits = survey(ready(find("text", str(tmp_path / "text.txt"))))
    assert not splits["train"].classes


def test_no_such_data_set():
    with pytest.raises(ValueError, match="'cifar11' is no folder, no recipe .* such as CIFAR10DataModule"):
        find("cifar11")


@pytest.mark.parametrize("name", ["folder", "digits", "yin_yang"])
def test_a_picture_is_written(tmp_path, folder, name):
    data = ready(find(str(folder) if name == "folder" else name))
    draw(data, tmp_path / "deep/picture.png")
    with Image.open(tmp_path / "deep/picture.png") as file:
        image = np.asarray(file.convert("RGB"))
    assert image.shape[0] > 300
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 10


def test_on_is_red_and_off_is_blue():
    frame = torch.zeros(2, 1, 3)
    frame[1, 0, 0] = frame[0, 0, 1] = 4
    assert picture(frame, 4).tolist() == [[[1, 0, 0], [0, 0, 1], [1, 1, 1]]]
