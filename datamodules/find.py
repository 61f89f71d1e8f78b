"""The dataset that a name, a recipe or a folder means."""

from inspect import isabstract
from pathlib import Path
from typing import Any

import yaml
from torchvision.datasets.folder import IMG_EXTENSIONS

from .base import BaseDataModule
from .errors import did_you_mean
from .events.event_folder import EventFolderDataModule
from .events.readers.formats import SUFFIXES
from .images.image_folder import ImageFolderDataModule

NOTES = {".txt", ".csv"}  # suffixes of recordings that beside images are notes, captions or boxes


def find(name: str, root: str | None = None, options: dict[str, Any] | None = None) -> BaseDataModule:
    """The dataset that a name means.

    Args:
        name: A DataModule (NMNISTDataModule, nmnist, or the import path of one of yours), a recipe (.yaml), or a folder
            with one sub-folder per class.
        root: Folder of the data, of a DataModule or a recipe.
        options: Other arguments of the DataModule.

    Raises:
        ValueError: If it is none of them, or does not take an option.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    settings = settings_of(name)
    given = {} if root is None else {"root": root}
    settings["init_args"] = (settings.get("init_args") or {}) | given | (options or {})
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BaseDataModule, "data")
    try:
        return parser.instantiate_classes(parser.parse_object({"data": settings})).data
    except ArgumentError as error:
        raise ValueError(f"{name}: {error}") from error
    except ValueError as error:  # of a class itself, wrapped by jsonargparse
        raise error.__cause__ or error.__context__ or error from None


def settings_of(name: str) -> dict[str, Any]:
    """`class_path` and `init_args` of a folder, a recipe or a DataModule's name.

    Raises:
        ValueError: If it is none of them.
    """
    if Path(name).is_dir():
        return {"class_path": folder_kind(Path(name)).__name__, "init_args": {"root": name, "num_workers": 0}}
    if name.endswith(".yaml"):
        return recipe_data(Path(name))
    if "." in name:
        return {"class_path": name}
    modules = {module.removesuffix("DataModule").lower(): module for module in module_names()}
    short = name.removesuffix("DataModule").lower().replace("_", "").replace("-", "")
    if short not in modules:
        hint = did_you_mean(short, modules) or f" Accepted names: {', '.join(sorted(modules))}."
        raise ValueError(f"{name}: expected a DataModule, a recipe (.yaml) or a folder, found none of that name.{hint}")
    return {"class_path": modules[short]}


def module_names() -> list[str]:
    """The DataModules of this package."""
    found: list[type[Any]] = [BaseDataModule]
    for module in found:  # grows while it is read
        found += [kind for kind in module.__subclasses__() if kind not in found]
    ours = [module for module in found if module.__module__.startswith("datamodules.") and not isabstract(module)]
    return [module.__name__ for module in ours]


def recipe_data(recipe: Path) -> dict[str, Any]:
    """The section `data` of a recipe.

    Raises:
        ValueError: If it is no YAML, or has no such section.
    """
    try:
        settings = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{recipe}: this is no YAML: {error}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("data"), dict):
        raise ValueError(f"{recipe}: expected a section data with class_path and init_args, found none.")
    return settings["data"]


def folder_kind(root: Path) -> type[Any]:
    """Whose a folder of classes is, that of recordings or of images, by the endings of the names in it.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it has neither, or both.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root.absolute()}.")
    if not any(path.is_dir() for path in root.iterdir()):
        raise ValueError(f"{root} has no folders in it. Files lie in one folder a class: {root}/<class>/<file>.")
    files = (path for path in root.glob("*/**/*") if path.is_file() and not path.name.startswith("."))
    endings = {path.suffix.lower() for path in files}
    kinds = {EventFolderDataModule: endings & {*SUFFIXES}, ImageFolderDataModule: endings & {*IMG_EXTENSIONS}}
    if kinds[ImageFolderDataModule]:
        kinds[EventFolderDataModule] -= NOTES
    if sum(map(bool, kinds.values())) != 1:
        raise ValueError(
            f"{root}: expected recordings ({', '.join(SUFFIXES)}) or images ({', '.join(IMG_EXTENSIONS)}), "
            f"not both; found files ending in {', '.join(sorted(endings)) or 'nothing'}."
        )
    return next(kind for kind, found in kinds.items() if found)
