"""Tasks: what an answer is, how it is scored, and what `predict` writes. One task, one file.

Every class of the folder appears here, so its short name can be a `class_path` of a recipe.
"""

from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from zoo.data_info import DataInfo
from zoo.sequence import SequenceKind

from .base import Task

__all__ = ["Task"]

for _file in iter_modules(__path__):
    for _name, _value in vars(import_module(f"{__name__}.{_file.name}")).items():
        if isinstance(_value, type) and issubclass(_value, Task) and not isabstract(_value) and _name not in __all__:
            globals()[_name] = _value
            __all__ += [_name]

if TYPE_CHECKING:  # which classes there are is found by scanning

    def __getattr__(name: str) -> Any: ...


def task_of(info: DataInfo) -> Task:
    """The task that follows from the data: places if they have positions, tokens if they are a text, else classes.

    Example:
        >>> type(task_of(DataInfo(kind=SequenceKind.TOKENS))).__name__
        'Tokens'
    """
    if info.positions is not None:
        return globals()["Places"]()
    return globals()["Tokens" if info.kind is SequenceKind.TOKENS else "Classes"]()
