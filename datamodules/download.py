"""Data sets that torchvision knows how to download."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def download(dataset: Any, root: str, missing: Callable[[], list[Path]], home: str) -> None:
    """Let torchvision download (or unpack) a data set if files are missing.

    Args:
        dataset: A class of `torchvision.datasets`.
        root: Folder to download to.
        missing: Lists the missing files.
        home: Home page of the data set, for the user without a network.

    Raises:
        FileNotFoundError: If that fails.
    """
    if missing():
        try:
            dataset(root, download=True)
        except (OSError, RuntimeError) as error:  # no network, no such host, folder not writable, wrong checksum
            raise not_found(dataset, missing(), home, f"could not be downloaded ({error})") from error


def not_found(dataset: Any, files: list[Path], home: str, found: str) -> FileNotFoundError:
    """The error that names each missing file and says where to get it."""
    names = "\n".join(f"  {file}" for file in files)
    return FileNotFoundError(
        f"{dataset.__name__}: these files are missing and {found}:\n{names}\n"
        f"Get them from {home} and put them there, or set `root` to a folder where they are."
    )
