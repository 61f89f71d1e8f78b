"""The objectives of training: the parts of the loss. One objective, one file.

Every class of the folder appears here, so its short name can be a `class_path` of a recipe.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from zoo.errors import by_name, check_arguments

from .base import Objective

__all__ = ["Objective"]

for _file in iter_modules(__path__):
    for _name, _value in vars(import_module(f"{__name__}.{_file.name}")).items():
        new = isinstance(_value, type) and issubclass(_value, Objective) and _name not in __all__
        if new and not isabstract(_value):
            globals()[_name] = _value
            __all__ += [_name]

if TYPE_CHECKING:  # which classes there are is found by scanning

    def __getattr__(name: str) -> Any: ...


def make_objectives(specs: Iterable[Objective | str | Mapping[str, Any]]) -> list[Objective]:
    """Objectives from instances, names, or names with arguments.

    Raises:
        ValueError: If a name or an argument is unknown, or one is neither an objective nor a name.

    Example:
        >>> make_objectives(["TET", {"name": "LogitKD", "temperature": 2.0}])
        [TET(), LogitKD()]
    """
    return [spec if isinstance(spec, Objective) else make_objective(spec) for spec in specs]


def make_objective(spec: str | Mapping[str, Any]) -> Objective:
    """One objective from its name, from {"name": ..., arguments}, or as recipes have it, {"class_path", "init_args"}.

    Raises:
        ValueError: See `make_objectives`.
    """
    if not isinstance(spec, str | Mapping):
        raise ValueError(f"objectives: expected objectives or their names, found {type(spec).__name__}.")
    if isinstance(spec, Mapping) and "class_path" in spec:
        spec = {"name": spec["class_path"], **(spec.get("init_args") or {})}
    known = {name: globals()[name] for name in __all__ if name != "Objective"}
    name, arguments = by_name("objective", spec, known)
    check_arguments(name, known[name], arguments)
    return known[name](**arguments)
