"""Callbacks: what happens around training and testing. One callback, one file.

Every class of the folder appears here, so its short name can be a `class_path` of a recipe.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from lightning import Callback

__all__: list[str] = []

for _file in iter_modules(__path__):
    _module = import_module(f"{__name__}.{_file.name}")
    for _name, _value in vars(_module).items():
        if isinstance(_value, type) and issubclass(_value, Callback) and _value.__module__ == _module.__name__:
            globals()[_name] = _value
            __all__ += [_name]

if TYPE_CHECKING:  # which classes there are is found by scanning

    def __getattr__(name: str) -> Any: ...
