"""What a name, a recipe and a folder mean."""

import pytest
from PIL import Image

from datamodules import ImageFolderDataModule, YinYangDataModule
from datamodules.errors import DataError
from datamodules.find import find
from datamodules.survey import survey


def ready(data):
    data.setup("fit")
    return data


@pytest.mark.parametrize("name", ["yin_yang", "YinYangDataModule", "yinyang", "Yin-Yang"])
def test_names_of_data_modules(name):
    assert isinstance(find(name), YinYangDataModule)


def test_recipes_and_roots(tmp_path, recorded_classes):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {class_path: YinYangDataModule, init_args: {train_size: 60}}")
    data = ready(find(str(recipe)))
    assert survey(data)["train"].samples == 60
    recipe.write_text("data: {class_path: EventFolderDataModule}")
    assert len(ready(find(str(recipe), str(recorded_classes))).splits["train"]) == 10


def test_images_are_told_from_recordings(tmp_path, recorded_classes):
    for name in ("x", "y"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for n in range(4):
            Image.new("RGB", (8, 8), (n, 0, 0)).save(tmp_path / "images" / name / f"{n}.png")
    (tmp_path / "images/x/notes.txt").write_text("A text beside images is no recording.")
    data = ready(find(str(tmp_path / "images")))
    assert isinstance(data, ImageFolderDataModule)
    assert survey(data)["train"].classes == {"x": 2, "y": 2}
    (recorded_classes / "a/0.png").touch()
    with pytest.raises(
        ValueError, match=r"expected recordings .* or images .* not both; found files ending in .npy, .png"
    ):
        find(str(recorded_classes))
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
        ("model: 3", "expected a section data"),
        ("data: nmnist", "expected a section data"),
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


def test_options_and_their_errors(recorded_classes, tmp_path):
    assert ready(find(str(recorded_classes), options={"sensor_size": [40, 30, 2]})).sensor_size == (40, 30, 2)
    with pytest.raises(ValueError, match="sensorsize"):
        find(str(recorded_classes), options={"sensorsize": [40, 30, 2]})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {class_path: EventFolderDataModule}")
    (recorded_classes / "a/0.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a/0\.npy"):
        find(str(recipe), str(recorded_classes))
    with pytest.warns(UserWarning, match=r"Left out 1 samples: .*a/0\.npy"):
        data = ready(find(str(recipe), str(recorded_classes), {"on_error": "skip"}))
    assert sum(split.samples for split in survey(data).values()) == 15


def test_files_without_folders_and_text_without_classes(recorded_classes, tmp_path):
    (tmp_path / "text.txt").write_text("some words " * 400)
    with pytest.raises(ValueError, match=r"has no folders in it. Files lie in one folder a class: .*/<class>/<file>"):
        find(str(recorded_classes / "a"))
    splits = survey(ready(find("text", str(tmp_path / "text.txt"))))
    assert not splits["train"].classes


def test_no_such_data_set():
    with pytest.raises(ValueError, match="cifar11: expected a DataModule, a recipe .* Did you mean .cifar10"):
        find("cifar11")


def test_a_module_of_the_users_own_by_its_import_path():
    assert isinstance(find("datamodules.spikes.yin_yang.YinYangDataModule"), YinYangDataModule)
    with pytest.raises(ValueError, match="nowhere"):
        find("nowhere.MyDataModule")
