"""Datasets as Lightning DataModules, and what recipes give them: representations, filters, augmentation, cameras.

All yield batches `(x, y)`, time first: x `[T, N, C, H, W]` float32 (T = 1 for images), event clouds `[T, N, P, D]`,
spike trains and sound `[T, N, F]`, or tokens `[T, N]`; y `[N]` int64.

One dataset family is one file, in the folder of the kind of its x. This file imports every file of the folder and
exports the public classes in them. So a new class has a short name on the command line, and recipes record
`datamodules.<class>`, never the file of the class.
"""

from importlib import import_module
from inspect import isabstract
from pkgutil import walk_packages
from typing import Any

from .base import BaseDataModule
from .events.arrays import EventTransform
from .events.camera import EventCamera
from .events.frames import Representation
from .images.transforms import ImageAugmentation

PUBLIC = (BaseDataModule, Representation, EventTransform, EventCamera, ImageAugmentation)
OLD_FILES = {"event_augmentation", "event_clouds", "event_filters", "frames", "image_augmentation"}

__all__ = ["BaseDataModule"]

for _file in walk_packages(__path__, f"{__name__}."):
    for _name, _value in vars(import_module(_file.name)).items():
        if isinstance(_value, type) and issubclass(_value, PUBLIC) and not isabstract(_value):
            globals()[_name] = _value
            __all__ += [_name] * (_name not in __all__)


def __getattr__(name: str) -> Any:
    """This package in place of a file that older recipes name, as in `datamodules.frames.Frames`."""
    if name in OLD_FILES:
        return import_module(__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
