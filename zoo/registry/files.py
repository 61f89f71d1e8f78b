"""Files: atomic writes, JSON, tensors, fingerprints, and the check of a published directory against its manifest."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

REQUIRED = ("config.json", "model.safetensors", "golden.safetensors", "manifest.json")
ALLOWED = (*REQUIRED, "README.md", "recipe.yaml", "results.json")
"""The files of a published checkpoint: those that it must hold, and all that it may hold."""


class RegistryError(ValueError):
    """A published checkpoint is missing, incomplete or altered, or does not reproduce its golden logits."""


# Writing --------------------------------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to, which becomes `path` at the end of the block.

    An interrupted write therefore leaves `path` as it was, and no temporary file.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, atomically; its folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON object, atomically; its folder is made if it is missing."""
    write_text(path, json.dumps(record, indent=2) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, atomically, with the permissions of any other file (`save_file` gives 0600)."""
    with replacing(path) as part:
        part.write_bytes(save({key: value.detach().clone().contiguous() for key, value in tensors.items()}))


def replace_directory(new: Path, target: Path) -> None:
    """Rename a finished directory to `target`; an older one there goes only when the new one is in place."""
    if not target.exists():
        new.rename(target)
        return
    old = new.parent / "old"
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise


# Reading --------------------------------------------------------------------------------------------------------------


def fingerprint(path: Path) -> dict[str, Any]:
    """Size and sha256 of a file: {"size": int, "sha256": str}."""
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RegistryError: If the file holds anything else.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"{path} is not JSON: {error}. Pull or publish it again.") from error
    if not isinstance(record, dict):
        raise RegistryError(f"{path}: expected a JSON object, found {type(record).__name__}.")
    return record


def read_recipe(path: Path) -> dict[str, Any]:
    """Read the recipe of a run or of a published checkpoint.

    Raises:
        RegistryError: If the file is no YAML mapping.
    """
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RegistryError(f"{path} is not YAML: {error}. Train, pull or publish again.") from error
    if not isinstance(recipe, dict):
        raise RegistryError(f"{path}: expected a recipe, found {type(recipe).__name__}. Train, pull or publish again.")
    return recipe


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        RegistryError: If it is none, whatever its name.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise RegistryError(f"{path} is not a safetensors file: {error}. Pull or publish it again.") from error


# A published directory ------------------------------------------------------------------------------------------------


def check_files(path: Path, foreign: bool = False) -> None:
    """Check the files of a published checkpoint against its manifest; every file is read once.

    Args:
        path: Its directory.
        foreign: Whether it may have been published by timm itself, without golden logits and manifest.

    Raises:
        RegistryError: If a file is missing, altered, or not one of `ALLOWED`; the message names it.
    """
    present = check_names(path, foreign)
    if "manifest.json" not in present:
        return
    listed = read_json(path / "manifest.json").get("files")
    if not isinstance(listed, dict) or {*listed, "manifest.json"} != present:
        raise RegistryError(f"{path / 'manifest.json'} does not list the files beside it. Pull or publish again.")
    for file, expected in listed.items():
        found = fingerprint(path / file)
        if found != expected:
            raise RegistryError(
                f"{path / file} was altered: expected {expected}, as in the manifest, found {found}. Pull or publish "
                "it again."
            )


def check_names(path: Path, foreign: bool = False) -> set[str]:
    """Names of the files of a published checkpoint, which must be there and of a known kind; see `check_files`."""
    if not path.is_dir():
        raise RegistryError(
            f"There is no checkpoint directory {path}. Check the name: `snnzoo list --pretrained true`."
        )
    present = {file.name for file in path.iterdir()}
    strange = sorted(present - set(ALLOWED))
    if strange:
        raise RegistryError(
            f"{path / strange[0]} does not belong in a published checkpoint: expected {', '.join(ALLOWED)}; nothing "
            "pickled is read from a registry. Remove the file if you trust it, else pull again."
        )
    required = REQUIRED[:2] if foreign and "manifest.json" not in present else REQUIRED
    missing = [file for file in required if file not in present]
    if missing:
        raise RegistryError(f"{path / missing[0]} is missing. Pull or publish the checkpoint again.")
    return present
