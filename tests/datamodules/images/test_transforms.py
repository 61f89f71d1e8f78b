import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

from datamodules import AlternatingFlip, BaseDataModule, CIFAR10DataModule, NMNISTDataModule, SquareCutout
from datamodules.loading import EpochSampler, SeededDataset


class Arrows(BaseDataModule):
    """40 images whose left half is bright; the value of an image is its index."""

    num_classes, in_chans, image_size = 2, 1, 6
    mean, std, label_names = (0.25,), (0.5,), ("a", "b")

    def load(self):
        images = torch.zeros(40, 1, 1, 6, 6)
        images[..., :3] = torch.arange(1, 41).view(-1, 1, 1, 1, 1) / 40
        part = TensorDataset(images, torch.arange(40) % 2)
        return {"train": part, "val": part, "test": part}


def flipped(data, epoch, workers=0):
    """For every image of an epoch whether it was mirrored."""
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    found = {}
    for x, _ in loader:
        for image in x[0] * 0.5 + 0.25:
            left, right = image[0, 0, 0].item(), image[0, 0, -1].item()
            assert (left == 0) != (right == 0)
            found[round(40 * (left + right)) - 1] = left == 0
    assert sorted(found) == list(range(40))
    return found


def ready(augmentation, workers=0, **kwargs):
    data = Arrows(batch_size=8, num_workers=workers, augmentation=augmentation, **kwargs)
    data.setup("fit")
    return data


# AlternatingFlip ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_two_consecutive_epochs_show_every_image_from_both_sides(workers):
    data = ready([AlternatingFlip()], workers)
    epochs = [flipped(data, epoch) for epoch in range(5)]
    for first, second in pairwise(epochs):
        assert all(first[index] != second[index] for index in range(40))
    assert 8 <= sum(epochs[0].values()) <= 32, "about half of the images"


def test_an_epoch_does_not_depend_on_those_before():
    data = ready([AlternatingFlip()])
    assert flipped(data, 3) == flipped(ready([AlternatingFlip()]), 3)


@given(st.integers(0, 2**32), st.integers(0, 1000), st.integers(2, 60), st.integers(2, 60))
def test_the_turn_is_a_function_of_seed_index_and_epoch(seed, epoch, length, other):
    def turns(length, epoch):
        sampler = EpochSampler(range(length), seed)
        sampler.set_epoch(epoch)
        return {index: turn for index, _, turn in sampler}

    now, more = turns(length, epoch), turns(other, epoch)
    assert all(now[index] == more[index] for index in range(min(length, other)))
    assert turns(length, epoch + 1) == {index: turn + 1 for index, turn in now.items()}
    assert all(turn - epoch in (0, 1) for turn in now.values())


def test_seeds_choose_other_halves():
    halves = [flipped(ready([AlternatingFlip()], seed=seed), 0) for seed in range(4)]
    agreements = [
        sum(halves[i][n] == halves[j][n] for n in range(40)) for i in range(4) for j in range(i)
    ]  # of independent halves 20, give or take 3.2
    assert all(8 <= agreement <= 32 for agreement in agreements)


def test_several_devices_deal_out_the_same_turns():
    whole = EpochSampler(range(10), seed=0)
    shares = [DistributedSamplerWrapper(EpochSampler(range(10), seed=0), num_replicas=2, rank=r) for r in (0, 1)]
    for sampler in (whole, *shares):
        sampler.set_epoch(3)
    assert sorted([*shares[0], *shares[1]]) == sorted(whole)


def test_other_random_numbers_of_a_sample_stay():
    class Noise(torch.nn.Module):
        def forward(self, x):
            return x + torch.rand(x.shape)

    source = TensorDataset(torch.zeros(5, 1, 1, 2, 4), torch.arange(5))
    both = SeededDataset(source, v2.Compose([AlternatingFlip(), Noise()]))
    alone = SeededDataset(source, Noise())
    for key in EpochSampler(source, seed=0):
        assert torch.equal(both[key][0], alone[key][0])


def test_a_plain_index_is_not_mirrored():  # Lightning's overfit_batches replaces the sampler
    data = SeededDataset(TensorDataset(torch.arange(4.0).view(1, 1, 1, 1, 4), torch.zeros(1)), AlternatingFlip())
    assert data[0, 0, 1][0].flatten().tolist() == [3, 2, 1, 0]
    assert data[0][0].flatten().tolist() == [0, 1, 2, 3], "the turn before left nothing behind"


# SquareCutout ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
def test_a_cutout_is_the_part_of_a_square_inside_the_image(size, height, width, seed):
    x = torch.rand(1, 3, height, width) + 1
    before = x.clone()
    torch.manual_seed(seed)
    y = SquareCutout(size)(x)
    assert torch.equal(x, before)
    erased = (y == 0)[0, 0]
    assert torch.equal(y, torch.where(erased, 0.0, x)), "the same pixels of every channel"
    rows, columns = erased.any(1).nonzero().flatten(), erased.any(0).nonzero().flatten()
    assert erased.sum() == len(rows) * len(columns) > 0, "a rectangle"
    for found, side in ((rows, height), (columns, width)):
        assert len(found) == found[-1] - found[0] + 1 <= size
        assert len(found) == size or found[0] == 0 or found[-1] == side - 1, "cut off at borders only"


def test_the_centre_is_uniform():
    x, side = torch.ones(1, 1, 5, 5), 5
    counts = torch.zeros(5, 5)
    for _ in range(5000):
        counts += SquareCutout(1)(x)[0, 0] == 0
    assert counts.sum() == 5000
    expected = 5000 / side**2
    assert ((counts - expected) ** 2 / expected).sum() < 51.2  # chi-square of 24 degrees of freedom, p = 0.001


def test_a_cutout_is_the_mean_of_the_dataset_wherever_it_stands_in_the_list():
    crop = v2.RandomCrop(6, padding=1)
    for augmentation in ([SquareCutout(3), crop], [crop, SquareCutout(3)]):
        data = ready(augmentation)
        for key in data.train_dataloader().sampler:
            image = data.splits["train"][key][0]
            assert (image == 0).any(), "zero after normalisation is the mean"


@pytest.mark.parametrize("size", [0, -3])
def test_a_cutout_has_a_size(size):
    with pytest.raises(ValueError, match=f"expected a side in pixels >= 1, found {size}"):
        SquareCutout(size)


# Recipes --------------------------------------------------------------------------------------------------------------

LIST = [
    {
        "class_path": "torchvision.transforms.v2.RandomCrop",
        "init_args": {"size": 32, "padding": 4, "padding_mode": "reflect"},
    },
    {"class_path": "AlternatingFlip"},
    {"class_path": "SquareCutout", "init_args": {"size": 8}},
]


def parse(name, parts):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BaseDataModule, "data")
    config = parser.parse_args([f"--data={name}", f"--data.augmentation={json.dumps(parts)}"])
    return config, parser.instantiate(config).data


def test_a_recipe_lists_classes_and_records_short_paths():
    config, data = parse("CIFAR10DataModule", LIST)
    crop, flip, cutout = data.augmentation
    assert (crop.size, crop.padding, crop.padding_mode) == ((32, 32), [4] * 4, "reflect")
    assert isinstance(flip, AlternatingFlip)
    assert cutout.size == 8
    assert [part.class_path for part in config.data.init_args.augmentation] == [
        "torchvision.transforms.v2.RandomCrop",
        "datamodules.AlternatingFlip",
        "datamodules.SquareCutout",
    ]


def test_a_reflected_crop_is_that_of_numpy():
    image = torch.randint(256, (1, 3, 32, 32), dtype=torch.uint8)
    _, data = parse("CIFAR10DataModule", LIST[:1])
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="reflect")
    crops = {padded[..., i : i + 32, j : j + 32].tobytes() for i in range(9) for j in range(9)}
    assert {data.augmentation[0](image).numpy().tobytes() for _ in range(40)} <= crops


@pytest.mark.parametrize("options", [{"randaugment": True}, {"erasing": 0.5}])
def test_options_of_the_own_augmentation_are_not_dropped_in_silence(options):
    with pytest.raises(ValueError, match="expected it without randaugment and erasing, found"):
        CIFAR10DataModule(augmentation=[AlternatingFlip()], **options)


@pytest.mark.parametrize("part", [AlternatingFlip(), SquareCutout(3)], ids=lambda part: type(part).__name__)
def test_events_are_no_images(part):
    with pytest.raises(ValueError, match=f"expected transforms of events, found {type(part).__name__}"):
        NMNISTDataModule(augmentation=[part])
