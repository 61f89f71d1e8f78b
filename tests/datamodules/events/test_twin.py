"""The twin of the digits, and of other images."""

import pickle
from typing import ClassVar

import pytest
import torch
from torch.utils.data import TensorDataset

from datamodules import DigitsDataModule, EventTwinDataModule, YinYangDataModule
from datamodules.base import BaseDataModule
from datamodules.events.camera import EventCamera
from datamodules.events.frames import Frames


class Shapes(BaseDataModule):
    """Six colour images, as bytes."""

    num_classes, in_chans, image_size, mean, std, label_names = 2, 3, 10, (0.5,) * 3, (0.5,) * 3, ("low", "high")
    shade = 255
    parts: ClassVar = {"train": [0, 1, 2], "val": [3], "test": [4, 5]}

    def load(self):
        images = torch.zeros(6, 1, 3, 10, 10, dtype=torch.uint8)
        for i in range(6):
            images[i, :, :, 2 + i % 2 * 4 : 5 + i % 2 * 4, 1 + i : 5 + i] = self.shade
        whole = TensorDataset(images, torch.arange(6) % 2)
        return {name: torch.utils.data.Subset(whole, part) for name, part in self.parts.items()}


@pytest.fixture
def twin(tmp_path):
    def make(source=None, **kwargs):
        data = EventTwinDataModule(source or Shapes(), cache_dir=str(tmp_path / "cache"), num_workers=0, **kwargs)
        data.setup("fit")
        return data

    return make


def test_splits_classes_and_labels_are_those_of_the_source(twin, tmp_path):
    data, source = EventTwinDataModule(DigitsDataModule(val_fraction=0.2), cache_dir=str(tmp_path)), DigitsDataModule()
    source.val_fraction = 0.2
    source.setup("fit")
    samples = data.find()
    assert {name: len(part) for name, part in samples.items()} == {"train": 1150, "val": 288, "test": 359}
    for name, part in samples.items():
        images, labels = source.splits[name].source.tensors
        assert [sample.label for sample in part] == labels.tolist()
        assert all(
            torch.equal(sample.images[sample.index][0], image) for sample, image in zip(part, images, strict=True)
        )
    assert (data.num_classes, data.label_names, data.in_chans, data.image_size) == (10, source.label_names, 2, 34)


def test_a_batch_holds_the_events_of_its_images(twin):
    camera = EventCamera(size=(20, 24), noise_rate=3)
    data = twin(camera=camera, representation=Frames(num_steps=3), batch_size=2)
    x, y = next(iter(data.test_dataloader()))
    assert x.shape == (3, 2, 2, 20, 24)
    assert y.tolist() == [0, 1]
    images = Shapes().load()["test"]
    for i in range(2):
        events = camera(images[i][0][0].numpy(), 4 + i)  # the fifth and sixth of the dataset
        assert torch.equal(x[:, i], torch.from_numpy(Frames(num_steps=3)(events, camera.sensor_size)).float())
        assert x[:, i].sum() == len(events) > 500


def test_an_image_is_filmed_once(twin, monkeypatch):
    filmed = []
    film = EventCamera.__call__
    monkeypatch.setattr(EventCamera, "__call__", lambda self, *args: filmed.append(args) or film(self, *args))
    first = [x for x, _ in twin().val_dataloader()]
    assert len(filmed) == 1
    assert torch.equal(next(iter(twin().val_dataloader()))[0], first[0])
    assert len(filmed) == 1
    assert not torch.equal(next(iter(twin(camera=EventCamera(theta_on=0.3)).val_dataloader()))[0], first[0])
    assert len(filmed) == 2
    monkeypatch.setattr(Shapes, "shade", 200)
    assert not torch.equal(next(iter(twin().val_dataloader()))[0], first[0])
    assert len(filmed) == 3


def test_equal_images_have_noise_of_their_own(twin, monkeypatch):
    monkeypatch.setattr(Shapes, "parts", {"train": [0, 0], "val": [1], "test": [2]})
    first, second = (twin(camera=EventCamera(noise_rate=50)).splits["train"][i][0] for i in (0, 1))
    assert not torch.equal(first, second)


def test_windows_are_parts_of_the_film(twin):
    whole, cut = twin(), twin(window_ms=150)
    counts = [cut.splits["val"][i][0].sum() for i in range(len(cut.splits["val"]))]
    assert len(counts) == 2
    assert sum(counts) == whole.splits["val"][0][0].sum()


def test_samples_reach_loading_processes(twin):
    data = twin()
    copy = pickle.loads(pickle.dumps(data.splits["test"]))
    assert torch.equal(copy[0][0], data.splits["test"][0][0])


@pytest.mark.parametrize("source", [YinYangDataModule, lambda: EventTwinDataModule(Shapes())])
def test_only_images_have_a_twin(source):
    with pytest.raises(ValueError, match="source: expected a dataset of images"):
        EventTwinDataModule(source())


def test_what_the_camera_refuses_names_the_image(twin, monkeypatch):
    monkeypatch.setattr(
        Shapes, "load", lambda self: {"val": TensorDataset(torch.full((1, 1, 1, 4, 4), 7.0), torch.tensor([0]))}
    )
    with pytest.raises(ValueError, match="Shapes/val/0: image: expected uint8, or numbers in 0..1"):
        twin().splits["val"][0]


def test_the_twin_tells_digits_apart(twin):
    """Nearest neighbour of event counts: what tells the images apart survives the camera."""
    data = twin(DigitsDataModule(), camera=EventCamera(background=0, border=7), representation=Frames(num_steps=1))
    known, asked = (
        [data.splits[split][i] for i in range(count)]  # a few, for filming all takes long
        for split, count in (("train", 150), ("test", 60))
    )
    (train, labels), (test, truth) = (
        (torch.stack([x.flatten() for x, _ in part]), torch.tensor([y for _, y in part])) for part in (known, asked)
    )
    nearest = torch.cdist(test, train).argmin(1)
    assert (labels[nearest] == truth).float().mean() > 0.7
