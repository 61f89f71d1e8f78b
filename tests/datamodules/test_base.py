"""The contract of every DataModule, on a dataset small enough to check by hand."""

from types import SimpleNamespace

import pytest
import torch
from jsonargparse import ArgumentError, ArgumentParser
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

import datamodules
from datamodules import BaseDataModule
from datamodules.base import usable_cores
from datamodules.events.augmentation.space import Flip

DATA_MODULES = [name for name in datamodules.__all__ if name.endswith("DataModule")]


class Toy(BaseDataModule):
    """`size` training images of 3 time steps; pixel = its own random number."""

    num_classes, in_chans, image_size = 4, 2, 8
    mean, std, label_names = (0.5, 0.25), (0.5, 0.125), ("a", "b", "c", "d")
    size = 10

    def load(self):
        images = torch.rand(self.size, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
        part = TensorDataset(images, torch.arange(self.size) % 4)
        return {"train": part, "val": part, "test": part}


def ready(cls=Toy, **kwargs):
    data = cls(num_workers=0, **kwargs)
    data.setup("fit")
    return data


def training(data, epoch=0, batch=0, rank=0, on=True):
    """Give the DataModule the part of a trainer that it reads."""
    progress = SimpleNamespace(current=SimpleNamespace(ready=batch))
    loops = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
    place = {"current_epoch": epoch, "global_rank": rank, "world_size": 1}
    data.trainer = SimpleNamespace(training=on, fit_loop=loops, train_dataloader=None, **place)
    return data


@pytest.mark.parametrize(
    ("argument", "value"),
    [("batch_size", 0), ("num_workers", -1), ("seed", -1), ("mixup", -0.1), ("cutmix", -1.0), ("mixup", float("nan"))],
)
def test_arguments_below_their_range(argument, value):
    with pytest.raises(ValueError, match=f"{argument}: expected at least [01], found {value}"):
        Toy(**{argument: value})


@pytest.mark.parametrize("value", [0.0, 1.0, -0.5, float("nan")])
def test_fractions(value):
    with pytest.raises(ValueError, match=f"val_fraction: expected between 0 and 1 .* found {value}"):
        Toy(val_fraction=value)


def test_input_cfg_speaks_timm():
    assert Toy().input_cfg == {
        "num_classes": 4,
        "in_chans": 2,
        "input_size": (2, 8, 8),
        "mean": (0.5, 0.25),
        "std": (0.5, 0.125),
        "label_names": ["a", "b", "c", "d"],
        "sequence_ndim": 5,
    }


def test_batches_are_time_first_and_normalised():
    x, y = next(iter(ready(batch_size=4).val_dataloader()))
    assert x.shape == (3, 4, 2, 8, 8)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    raw = Toy().load()["val"][1][0]
    assert torch.allclose(x[:, 1, 0], (raw[:, 0] - 0.5) / 0.5)
    assert torch.allclose(x[:, 1, 1], (raw[:, 1] - 0.25) / 0.125)


@pytest.mark.parametrize("loader", ["val_dataloader", "test_dataloader", "predict_dataloader"])
def test_evaluation_sees_every_sample_once_in_order(loader):
    batches = list(getattr(ready(batch_size=3), loader)())
    assert torch.cat([y for _, y in batches]).tolist() == [n % 4 for n in range(10)]


@pytest.mark.parametrize(
    ("batch_size", "devices", "sizes"),
    [(3, 1, [3, 3, 3]), (9, 1, [9]), (10, 1, [10]), (64, 1, [10]), (8, 2, [8, 2])],
)
def test_a_single_sample_is_never_a_training_batch_and_no_loader_is_empty(batch_size, devices, sizes):
    data = ready(batch_size=batch_size)
    # Each of 2 devices gets 5 samples: too few to drop a batch of 8.
    data.trainer = SimpleNamespace(world_size=devices, train_dataloader=None)
    assert [len(y) for _, y in data.train_dataloader()] == sizes


class Halves(torch.nn.Module):
    """Halves the pixels: a transform of one's own."""

    def forward(self, x):
        return x / 2


def test_augmentation_replaces_that_of_the_data_set():
    class Doubled(Toy):
        augmentation = (v2.Lambda(lambda x: 2 * x),)

    raw = Toy().load()["train"][3][0]
    mean, std = (torch.tensor(values).view(2, 1, 1) for values in (Toy.mean, Toy.std))
    for given, factor in ((None, 2), ([Halves()], 0.5), ([], 1)):
        x, _ = ready(Doubled, augmentation=given).splits["train"][3]
        torch.testing.assert_close(x, (factor * raw - mean) / std)
        x, _ = ready(Doubled, augmentation=given).splits["val"][3]
        torch.testing.assert_close(x, (raw - mean) / std)
        x, _ = ready(Doubled, augmentation=given, augment=False).splits["train"][3]
        torch.testing.assert_close(x, (raw - mean) / std)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (v2.RandomCrop(4), r"images \(1, 2, 8, 8\) to images of the same shape, found RandomCrop, .* \(1, 2, 4, 4\)"),
        (v2.RandomCrop(12), r"images \(1, 2, 8, 8\) .* found RandomCrop, which fails: Required crop size"),
        (Flip(), r"images \(1, 2, 8, 8\) .* found Flip, which fails: .*sensor"),
    ],
)
def test_augmentation_of_another_shape_or_of_events_is_refused_before_training(part, message):
    with pytest.raises(ValueError, match=message):
        ready(augmentation=[Halves(), part])


def test_workers(monkeypatch):
    monkeypatch.setattr("datamodules.base.usable_cores", lambda: 16)
    assert Toy().num_workers == 4
    assert datamodules.DigitsDataModule().num_workers == 0
    assert Toy(num_workers=7).num_workers == 7
    monkeypatch.setattr("datamodules.base.usable_cores", lambda: 1)
    assert Toy().num_workers == 0
    assert usable_cores() >= 1


def test_setup_reads_once(monkeypatch):
    data = ready()
    monkeypatch.setattr(data, "load", lambda: pytest.fail("read twice"))
    data.setup("test")


def test_no_mixing_unless_asked_for_and_only_in_training():
    batch = (torch.rand(1, 4, 2, 8, 8), torch.arange(4))
    assert training(Toy()).on_after_batch_transfer(batch, 0) is batch
    assert training(Toy(mixup=1.0), on=False).on_after_batch_transfer(batch, 0) is batch
    assert Toy(mixup=1.0).on_after_batch_transfer(batch, 0) is batch


@pytest.mark.parametrize("steps", [1, 3])
def test_mixup_mixes_images_and_targets_alike(steps):
    x, y = torch.rand(steps, 4, 2, 8, 8), torch.arange(4)
    mixed, soft = training(Toy(mixup=1.0)).on_after_batch_transfer((x, y), 0)
    assert mixed.shape == x.shape
    assert soft.shape == (4, 4)
    assert torch.allclose(soft.sum(1), torch.ones(4))
    for n in range(4):  # the targets say who was mixed and how much; the images must agree, at every time step
        expected = sum(soft[n, k] * x[:, k] for k in range(4))
        assert torch.allclose(mixed[:, n], expected, atol=1e-6)
    assert 0 < soft.max() < 1


@pytest.mark.parametrize("steps", [1, 3])
def test_cutmix_pastes_the_same_box_at_every_step(steps):
    x, y = torch.rand(steps, 4, 2, 8, 8), torch.arange(4)
    mixed, soft = training(Toy(cutmix=1.0), batch=3).on_after_batch_transfer((x, y), 0)
    own = mixed == x
    assert torch.equal(own.all(dim=(0, 2)), own.any(dim=(0, 2)))  # a pixel is pasted at all steps and channels or none
    assert torch.allclose(own.float().mean(dim=(0, 2, 3, 4)), soft.diagonal())
    donor = soft.fill_diagonal_(0).argmax(1)
    assert torch.equal(torch.where(own, x, x[:, donor]), mixed)


def test_mixing_depends_on_seed_epoch_batch_and_rank_only():
    batch = (torch.rand(1, 4, 2, 8, 8), torch.arange(4))

    def mix(seed=0, **moment):
        return training(Toy(mixup=1.0, cutmix=1.0, seed=seed), **moment).on_after_batch_transfer(batch, 0)[1]

    state = torch.get_rng_state()
    first = mix()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(mix(), first)
    for other in ({"seed": 1}, {"epoch": 1}, {"batch": 1}, {"rank": 1}):
        assert not torch.equal(mix(**other), first), other


def test_the_package_exports_every_data_module():
    assert {"BaseDataModule", "DigitsDataModule", "FashionMNISTDataModule", "ImageFolderDataModule"} <= {
        *datamodules.__all__
    }
    for name in DATA_MODULES:
        assert issubclass(getattr(datamodules, name), BaseDataModule)


@pytest.mark.parametrize("name", [name for name in DATA_MODULES if name != "BaseDataModule"])
def test_the_constants_agree(name):
    """Those that belong to the class; others follow from files and arguments."""
    cls = getattr(datamodules, name)
    if isinstance(vars(cls).get("label_names"), tuple | list) and "num_classes" in vars(cls):
        assert len(cls.label_names) == len(set(cls.label_names)) == cls.num_classes
    if isinstance(vars(cls).get("mean"), tuple) and hasattr(cls, "in_chans"):
        assert len(cls.mean) == len(cls.std) == cls.in_chans
    assert "split" in cls.__doc__.lower()


def test_the_command_line_knows_short_names_and_inherited_arguments():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BaseDataModule, "data")
    config = parser.parse_args(["--data=FashionMNISTDataModule", "--data.root=x", "--data.batch_size=7"])
    data = parser.instantiate_classes(config).data
    assert isinstance(data, datamodules.FashionMNISTDataModule)
    assert (data.root, data.batch_size, round(data.val_fraction * 60_000)) == ("x", 7, 5_000)
    with pytest.raises(ArgumentError, match="'bach_size' is not accepted"):
        parser.parse_args(["--data=FashionMNISTDataModule", "--data.bach_size=7"])


def test_many_samples_that_fill_no_batch_are_told(monkeypatch):
    told = []
    monkeypatch.setattr("datamodules.base.rank_zero_info", told.append)
    for batch_size in (3, 5, 16):  # leave out 1, none, and none: a single batch is kept
        ready(batch_size=batch_size).train_dataloader()
    assert not told
    ready(batch_size=7).train_dataloader()
    assert len(told) == 1
    assert "Every epoch leaves out 3 of 10 training samples" in told[0]
