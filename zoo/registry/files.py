"""Files: atomic writes, JSON, tensors, fingerprints, and the check of a published directory against its manifest."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
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
    """Write a text file, atomically, in a folder that is made if it is missing."""
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
    """The JSON object in a file; see `read_dict`."""
    return read_dict(path, lambda path: json.loads(path.read_text(encoding="utf-8")), "a JSON object")


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe of a run or of a published checkpoint; see `read_dict`."""
    return read_dict(path, lambda path: yaml.safe_load(path.read_text(encoding="utf-8")), "a YAML mapping")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; see `read_dict`."""
    return read_dict(path, load_file, "a safetensors file")


def read_dict(path: Path, read: Callable[[Path], Any], expected: str) -> dict[str, Any]:
    """What `read` makes of a file.

    Raises:
        RegistryError: If that is not a dict, or the file cannot be read.
    """
    try:
        content = read(path)
        found = type(content).__name__
    except (ValueError, RecursionError, yaml.YAMLError, SafetensorError, OSError) as error:
        content, found = None, f"{type(error).__name__}: {error}"
    if not isinstance(content, dict):
        raise RegistryError(f"{path}: expected {expected}, found {found}. Train, pull or publish again.")
    return content


# A published directory ------------------------------------------------------------------------------------------------


def check_files(path: Path, foreign: bool = False) -> None:
    """Check the files of a published checkpoint against its manifest; every file is read once.

    A foreign one may have been published by timm itself, without golden logits and manifest.

    Raises:
        RegistryError: If a file is missing, altered, or not one of `ALLOWED`; the message names it.
    """
    present = check_names(path, foreign)
    if "manifest.json" not in present:
        return
    listed = read_json(path / "manifest.json").get("files")
    if not isinstance(listed, dict) or {*listed, "manifest.json"} != present:
        raise RegistryError(
            f"{path / 'manifest.json'}: expected a list of the files beside it, found another. Pull or publish again."
        )
    for file, expected in listed.items():
        found = fingerprint(path / file)
        if found != expected:
            raise RegistryError(
                f"{path / file} was altered: expected {expected}, found {found}. Pull or publish it again."
            )


def check_names(path: Path, foreign: bool = False) -> set[str]:
    """Names of the files of a published checkpoint, which must be there and of a known kind; see `check_files`."""
    if not path.is_dir():
        raise RegistryError(
            f"{path}: expected a checkpoint directory, found none. Check the name: `snnzoo list --pretrained true`."
        )
    present = {file.name for file in path.iterdir()}
    strange = sorted(present - set(ALLOWED))
    if strange:
        raise RegistryError(
            f"{path}: expected only {', '.join(ALLOWED)}, because nothing pickled is read from a registry, found "
            f"{strange[0]}. Remove the file if you trust it, else pull again."
        )
    required = REQUIRED[:2] if foreign and "manifest.json" not in present else REQUIRED
    missing = [file for file in required if file not in present]
    if missing:
        raise RegistryError(f"{path}: expected {missing[0]}, found none. Pull or publish the checkpoint again.")
    return present
