"""Students and neurons of a user's own package: docs/extending.md.

What a user types, in Python, on the command line or in a recipe, may be an import path, and is imported. What a
checkpoint or a run names is never imported. It must be loaded already, by an import of the user's or by an installed
package that announces itself under the entry point group `snnzoo`.
"""

import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeGuard

import timm

GROUP = "snnzoo"


@cache
def load_installed() -> None:
    """Import the modules that installed packages announce under the entry point group `snnzoo`, once a process.

    Raises:
        ValueError: If one of them cannot be imported.
    """
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"Entry point {entry.name} = {entry.value} of group {GROUP}: expected a module, found {error}. "
                "Mend or uninstall its package."
            ) from error


def is_registered(architecture: str) -> bool:
    """Whether timm's registry has an architecture, also one of an installed package."""
    if not timm.is_model(architecture):
        load_installed()
    return timm.is_model(architecture)


def is_import_path(name: Any) -> TypeGuard[str]:
    """Whether a name reads like `package.module.Name`."""
    return isinstance(name, str) and "." in name and all(part.isidentifier() for part in name.split("."))


def import_path(path: str) -> Any:
    """Import what the user typed, such as `my_snn.neurons.MyNeuron`.

    Raises:
        ValueError: If there is no such module, or nothing of that name in it.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected an import path, found that {error}. Check its spelling, and install its package "
            "(pip install -e DIR) or set PYTHONPATH."
        ) from error


def loaded(path: str) -> Any:
    """What an import path names in the modules that are loaded; None if nothing. Imports installed packages at most."""
    module, _, name = path.rpartition(".")
    if module not in sys.modules:
        load_installed()
    return vars(sys.modules[module]).get(name) if module in sys.modules else None


def import_student(name: str) -> str:
    """The registered name of a student that the user typed: an import path is imported, any other name stays.

    Raises:
        ValueError: If the import path does not name a registered student.
    """
    package = name.split(".")[0]
    if not is_import_path(name) or is_registered(package) or Path(name).exists():
        return name
    if package not in sys.modules and find_spec(package) is None:
        return name
    student = import_path(name)
    architecture = getattr(student, "__name__", "")
    if not timm.is_model(architecture) or timm.model_entrypoint(architecture) is not student:
        raise ValueError(f"{name}: expected a function decorated with timm's register_model, found {student!r}.")
    return architecture


def import_neuron(spec: Any) -> None:
    """Import the neuron of a spec that the user typed, if it is named by an import path; `make_neuron` then finds it.

    Raises:
        ValueError: If it cannot be imported.
    """
    name = spec.get("name") if isinstance(spec, Mapping) else spec
    if is_import_path(name):
        import_path(name)
