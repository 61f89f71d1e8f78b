"""The DataModule of a recipe, and its training images."""

from collections.abc import Iterator, Mapping
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser
from torch import Tensor

from datamodules import BaseDataModule

from .arguments import readable


def make_data(config: Mapping[str, Any], **changes: Any) -> BaseDataModule:
    """The DataModule that the section `data` of a recipe describes.

    Args:
        config: Its class_path and init_args.
        **changes: Arguments that replace those of the recipe.

    Raises:
        ValueError: If the class does not take an argument.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BaseDataModule, "data")
    settings = {**config, "init_args": {**(config.get("init_args") or {}), **changes}}
    try:
        data: BaseDataModule = parser.instantiate_classes(parser.parse_object({"data": settings})).data
    except ArgumentError as error:
        raise ValueError(f"The data of this recipe cannot be made:\n{readable(str(error))}") from error
    return data


def training_images(data: BaseDataModule, samples: int, at_once: int) -> Iterator[Tensor]:
    """The first training images [T, N, C, H, W] of a DataModule that is set up.

    Args:
        data: The DataModule.
        samples: How many images; all, if there are fewer.
        at_once: Largest N of a batch.
    """
    left = samples
    for x, _ in data.train_dataloader():
        yield from x[:, :left].split(at_once, 1)
        left -= x.shape[1]
        if left <= 0:
            return
