"""The people and the two forms of DVS128 Gesture; reading is tested with all published sets."""

import numpy as np
import pytest

from datamodules import DVSGestureDataModule
from datamodules.errors import DataError
from datamodules.events.frames import Frames

ROWS = "".join(f"{label},{1000 * label},{1000 * label + 900}\n" for label in range(1, 12))
TRAIN, TEST = range(1, 24), range(24, 30)


def write_ibm(root):
    root.mkdir(parents=True, exist_ok=True)
    for numbers, part in ((TRAIN, "train"), (TEST, "test")):
        names = [f"user{user:02d}_{light}" for user in numbers for light in ("natural", "led")]
        (root / f"trials_to_{part}.txt").write_text("".join(f"{name}.aedat\r\n" for name in names))
        for name in names:
            (root / f"{name}.aedat").touch()
            (root / f"{name}_labels.csv").write_text(f"class,startTime_usec,endTime_usec\n{ROWS}")
    return root / "user29_led_labels.csv"


def write_tonic(root):
    for numbers, part in ((TRAIN, "Train"), (TEST, "Test")):
        for user in numbers:
            (root / f"ibmGesture{part}/user{user:02d}_lab").mkdir(parents=True)
            for label in range(11):
                (root / f"ibmGesture{part}/user{user:02d}_lab/{label}.npy").touch()


def people(found):
    def user(file):
        return int((file.name if file.suffix == ".aedat" else file.parent.name)[4:6])

    return {split: sorted({user(sample.file) for sample in samples}) for split, samples in found.items()}


@pytest.mark.parametrize("write", [write_ibm, write_tonic])
def test_the_splits_are_people(tmp_path, write):
    write(tmp_path)
    found = DVSGestureDataModule(root=str(tmp_path)).find()
    assert people(found) == {"train": list(range(1, 22)), "val": [22, 23], "test": list(TEST)}
    lights = 2 if write is write_ibm else 1
    assert [len(samples) for samples in found.values()] == [21 * 11 * lights, 2 * 11 * lights, 6 * 11 * lights]


@pytest.mark.parametrize("write", [write_ibm, write_tonic])
def test_without_other_gestures(tmp_path, write):
    write(tmp_path)
    data = DVSGestureDataModule(root=str(tmp_path), other=False)
    assert data.num_classes == len(data.label_names) == 10
    assert {sample.label for samples in data.find().values() for sample in samples} == set(range(10))
    assert DVSGestureDataModule().num_classes == 11


def test_of_both_forms_the_original_is_taken(tmp_path):
    write_tonic(tmp_path / "DVSGesture")
    assert DVSGestureDataModule(root=str(tmp_path)).find()["test"][0].file.suffix == ".npy"
    write_ibm(tmp_path / "DvsGesture")
    assert DVSGestureDataModule(root=str(tmp_path)).find()["test"][0].file.suffix == ".aedat"


def test_a_row_is_a_clip(tmp_path):
    write_ibm(tmp_path)
    sample = DVSGestureDataModule(root=str(tmp_path)).find()["test"][4]
    assert (sample.label, sample.start, sample.stop) == (4, 5000, 5900)


def test_ms_become_us(tmp_path):
    write_tonic(tmp_path)
    array = np.array([[3, 7, 1, 0], [0, 127, 0, 4_000_000]], np.float64)  # x, y, p, t; beyond int32 in µs
    np.save(tmp_path / "ibmGestureTest/user24_lab/0.npy", array)
    data = DVSGestureDataModule(root=str(tmp_path), cache_gb=0.0, num_workers=0, representation=Frames(num_steps=2))
    events = data.reader(data.find()["test"][0])
    assert (events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist()) == (
        [0, 4_000_000_000],
        [3, 0],
        [7, 127],
        [1, 0],
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there are no gestures"),
        ("class,startTime_usec,endTime_usec\n", "there are no gestures"),
        (f"{ROWS}1,5\n", "found the row"),
        (f"{ROWS}one,5,6\n", "found the row"),
        (f"{ROWS}12,5,6\n", "a class from 1 to 11"),
        (f"{ROWS}0,5,6\n", "a class from 1 to 11"),
        (f"{ROWS}3,6,6\n", "start < end"),
        ("\0\xff<html>", "found the row"),
    ],
)
def test_a_damaged_table_of_labels(tmp_path, text, message):
    labels = write_ibm(tmp_path)
    labels.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        DVSGestureDataModule(root=str(tmp_path)).find()
    assert error.value.file == labels


def test_a_table_without_a_header_and_with_a_byte_order_mark(tmp_path):
    labels = write_ibm(tmp_path)
    for text in ("\ufeffclass,startTime_usec,endTime_usec\n3,5,6\n\n", "3,5,6\n"):
        labels.write_text(text)
        samples = DVSGestureDataModule(root=str(tmp_path)).find()["test"]
        found = [(sample.label, sample.start, sample.stop) for sample in samples if sample.file.stem == "user29_led"]
        assert found == [(2, 5, 6)]


def test_files_that_the_list_names_are_missing(tmp_path):
    labels = write_ibm(tmp_path)
    labels.unlink()
    (tmp_path / "user25_led.aedat").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)2 files of this list.*user25_led\.aedat.*user29_led_labels\.csv"):
        DVSGestureDataModule(root=str(tmp_path)).find()


def test_a_person_on_both_sides(tmp_path):
    write_tonic(tmp_path)
    (tmp_path / "ibmGestureTest/user24_lab").rename(tmp_path / "ibmGestureTest/user03_led")
    with pytest.raises(ValueError, match=r"users \[3\] are both"):
        DVSGestureDataModule(root=str(tmp_path)).find()


def test_names_that_say_nothing(tmp_path):
    write_tonic(tmp_path)
    trial = tmp_path / "ibmGestureTrain/user05_lab"
    (trial / "3.npy").rename(trial / "11.npy")
    with pytest.raises(DataError, match="expected a label as the name, 0 to 10") as error:
        DVSGestureDataModule(root=str(tmp_path)).find()
    assert error.value.file == trial / "11.npy"
    (trial / "11.npy").rename(trial / "3.npy")
    trial.rename(trial.with_name("lab"))
    with pytest.raises(DataError, match="expected a name that begins with user and a number"):
        DVSGestureDataModule(root=str(tmp_path)).find()
