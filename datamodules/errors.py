"""Errors of bad input: which file, at which byte, what was expected, what was found."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class DataError(ValueError):
    """A file of a dataset that cannot be read.

    Args:
        file: The file.
        problem: What was found, and what was expected. (Without it `file` is a whole message: so torch hands on what a
            loading process has raised.)
        offset: Byte at which it was found; None if it is not about a place in the file.
    """

    def __init__(self, file: Path | str, problem: str = "", offset: int | None = None) -> None:
        place = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{file}{place}: {problem}" if problem else str(file))
        self.file, self.problem, self.offset = Path(file), problem, offset

    def __reduce__(self) -> Any:
        """A loading process sends its error to the training process, whole."""
        return type(self), (self.file, self.problem, self.offset)


@contextmanager
def parsing(file: Path, what: str, offset: int | None = None) -> Iterator[None]:
    """Turn whatever a library raises at a broken file into a DataError."""
    try:
        yield
    except DataError:
        raise
    except BaseException as error:  # the Rust of aedat raises a PanicException, which is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DataError(file, f"this is no valid {what}: {type(error).__name__}: {error}", offset) from error


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Any ValueError becomes a DataError that names the file."""
    try:
        yield
    except DataError:
        raise
    except ValueError as error:
        raise DataError(file, str(error)) from error


def did_you_mean(name: str, accepted: Iterable[str]) -> str:
    """A hint at the accepted names that are closest to `name`; empty if none is close.

    Example:
        >>> did_you_mean("tset", ["train", "val", "test"])
        " Did you mean 'test'?"
    """
    close = [repr(match) for match in difflib.get_close_matches(name, list(accepted), n=3, cutoff=0.5)]
    return f" Did you mean {' or '.join(filter(None, [', '.join(close[:-1]), close[-1]]))}?" if close else ""
