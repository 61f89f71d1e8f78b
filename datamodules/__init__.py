"""Data sets as Lightning DataModules. One data set family is one file; this file imports every file of the folder.

All yield batches `(x, y)`: x `[T, N, C, H, W]` float32 (time first; T = 1 for images), or spike trains `[T, N, F]`;
y `[N]` int64.
A new data set needs its own file only: its class appears here by itself, and so as a short name on the command line.
"""

from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules

from .base import BaseDataModule
from .image_augmentation import AlternatingFlip as AlternatingFlip  # the alias exports it, so recipes record
from .image_augmentation import SquareCutout as SquareCutout  # datamodules.SquareCutout

__all__ = ["BaseDataModule"]

for _file in iter_modules(__path__):
    for _name, _value in vars(import_module(f"{__name__}.{_file.name}")).items():
        if isinstance(_value, type) and issubclass(_value, BaseDataModule) and not isabstract(_value):
            globals()[_name] = _value
            __all__ += [_name] * (_name not in __all__)
