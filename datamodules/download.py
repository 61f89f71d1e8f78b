"""Datasets that a library knows how to download."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def download(name: str, fetch: Callable[[], Any], missing: Callable[[], list[Path]], home: str) -> None:
    """Let a library download (or unpack) a dataset if files are missing.

    Args:
        name: Name of the dataset.
        fetch: Downloads it.
        missing: Lists the missing files.
        home: Home page of the dataset, for the user without a network.

    Raises:
        FileNotFoundError: If that fails.
    """
    if missing():
        try:
            fetch()
        except (OSError, RuntimeError) as error:  # no network, no such host, folder not writable, wrong checksum
            raise not_found(name, missing(), home, f"could not be downloaded ({error})") from error


def not_found(name: str, files: list[Path], home: str, found: str) -> FileNotFoundError:
    """The error that names each missing file and says where to get it."""
    names = "\n".join(f"  {file}" for file in files)
    return FileNotFoundError(
        f"{name}: these files are missing and {found}:\n{names}\n"
        f"Get them from {home} and put them there, or set `root` to a folder where they are."
    )
