"""The numbers of a dataset, on data whose numbers are known."""

from PIL import Image

from datamodules import DigitsDataModule, EventFolderDataModule, ImageFolderDataModule, StaticEventPairsDataModule
from datamodules.find import find
from datamodules.survey import survey


def ready(data):
    data.setup("fit")
    return data


def test_numbers_of_recordings(recorded_classes):
    data = ready(find(str(recorded_classes)))
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


def test_numbers_of_pairs(recorded_classes, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for n in range(4):
            Image.new("RGB", (8, 8), (n, 0, 0)).save(tmp_path / "images" / name / f"{n}.png")
    images = ImageFolderDataModule(str(tmp_path / "images"), image_size=8, num_workers=0)
    events = EventFolderDataModule(str(recorded_classes), num_workers=0)
    splits = survey(ready(StaticEventPairsDataModule(events, images, num_workers=0)))
    assert [split.samples for split in splits.values()] == [10, 3, 3]
    assert len(splits["train"].surveyed) == 10
