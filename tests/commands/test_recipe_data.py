import pytest
import torch

from commands.recipe_data import make_data, training_images


def test_changes_replace_the_arguments_of_the_recipe():
    config = {"class_path": "DigitsDataModule", "init_args": {"batch_size": 64, "augment": True}}
    data = make_data(config, batch_size=100, seed=3)
    assert (data.batch_size, data.seed, data.augment) == (100, 3, True)
    assert config["init_args"]["batch_size"] == 64
    assert make_data({"class_path": "DigitsDataModule"}).augment


def test_an_unknown_argument_is_named():
    with pytest.raises(ValueError, match=r"(?s)The data of this recipe cannot be made.*'size' is not accepted"):
        make_data({"class_path": "DigitsDataModule"}, size=8)


@pytest.mark.parametrize(("samples", "sizes"), [(5, [5]), (20, [8, 8, 4]), (1000, [8, 8] * 6)])
def test_training_images_come_in_batches(blobs, samples, sizes):
    blobs.augment = False
    blobs.setup("fit")
    batches = list(training_images(blobs, samples, 8))
    assert [batch.shape for batch in batches] == [(1, size, 1, 8, 8) for size in sizes]
    known = {x.numpy().tobytes() for x, _ in blobs.splits["train"]}
    assert {x.contiguous().numpy().tobytes() for x in torch.cat(batches, 1).transpose(0, 1)} <= known
