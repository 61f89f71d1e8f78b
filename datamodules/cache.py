"""A cache of decoded samples on disk: packed, shared by processes, never stale, never larger than allowed."""

import hashlib
import json
import os
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

Arrays = dict[str, NDArray[Any]]


class Cache:
    """Arrays by key, one file each, in a folder that any number of processes may use at once.

    A file is written under a name of its own, then renamed: a reader sees all of it or nothing, of two writers of one
    key the last one wins, and what a killed writer leaves is removed in its turn. Non-negative integers take the fewest
    of 1 (packed), 8, 16 and 32 bits that hold them all. Beyond `limit`, what was used longest ago is removed.

    Args:
        folder: Where the files are; made when needed.
        limit: Bytes of all files together; 0 keeps nothing.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self.unchecked = limit  # bytes written since the folder was last measured: at first, as if it were full

    def get(self, key: str) -> Arrays | None:
        """The arrays, or None if there are none; integers in the smallest of uint8, uint16, ... that holds them."""
        file = self.file(key)
        try:
            with safe_open(file, "np") as stored:
                shapes = json.loads(stored.metadata()["bits"])
                arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  # no dictionary
            with suppress(OSError):  # a cache that may only be read has no memory of its use
                os.utime(file)
        except (OSError, SafetensorError):  # not there, or damaged: made anew
            return None
        for name, shape in shapes.items():
            arrays[name] = np.unpackbits(arrays[name], count=int(np.prod(shape))).reshape(shape)
        return arrays

    def recall(self, key: str, make: Callable[[], Arrays]) -> Arrays:
        """The arrays of a key, made and kept if they are not there."""
        arrays = self.get(key)
        if arrays is None:
            arrays = make()
            self.put(key, arrays)
        return arrays

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep the arrays, if the disk lets it: a full or read-only disk costs time, not the run."""
        if not self.limit:
            return
        packed = {name: narrowed(array) for name, array in arrays.items()}
        bits = {name: array.shape for name, array in packed.items() if array.size and array.dtype == bool}
        packed |= {name: np.packbits(packed[name]) for name in bits}
        file = self.file(key)
        part = file.with_name(f"{uuid.uuid4().hex}.part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(packed, part, {"bits": json.dumps(bits)})
            part.replace(file)
        except (OSError, SafetensorError):
            with suppress(OSError):
                part.unlink()
            return
        self.unchecked += sum(array.nbytes for array in packed.values())
        if self.unchecked > self.limit // 20:
            self.shrink()

    def file(self, key: str) -> Path:
        """The file of a key: 256 folders, because a folder of a million files is slow."""
        return self.folder / key[:2] / f"{key[2:]}.safetensors"

    def shrink(self) -> None:
        """Remove what was used longest ago until nine tenths of the limit are left, if it is exceeded."""
        self.unchecked = 0
        found = []
        for file in self.folder.glob("??/*"):
            with suppress(OSError):  # another process removes, too
                found.append((file.stat().st_mtime_ns, file.stat().st_size, file))
        total = sum(size for _, size, _ in found)
        if total <= self.limit:
            return
        for _, size, file in sorted(found):
            if total <= 0.9 * self.limit:
                break
            with suppress(PermissionError):  # of a folder that is shared, others' files stay
                file.unlink(missing_ok=True)
                total -= size


def narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """Non-negative integers as bool, uint8, uint16 or uint32, whichever holds them all; anything else as it is."""
    if array.dtype.kind not in "iu" or not array.size or array.min() < 0:
        return np.ascontiguousarray(array)
    largest = int(array.max())
    kind = bool if largest <= 1 else np.min_scalar_type(largest)
    return np.ascontiguousarray(array, kind)


def key_of(*what: Any) -> str:
    """A key of anything that JSON can hold, and of the code that makes the samples."""
    text = json.dumps([code(), *what], default=str, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


@cache
def code() -> str:
    """A hash of the sources of this package: changed code never reads what older code has kept."""
    sources = sorted(source.read_bytes() for source in Path(__file__).parent.rglob("*.py"))  # wherever they lie
    return hashlib.blake2b(b"".join(sources), digest_size=8).hexdigest()


@cache
def code_of(module: str) -> str:
    """A hash of the source of a module outside of this package, such as a filter of the user's; "" if it has none."""
    source = getattr(sys.modules.get(module), "__file__", None)
    if source is None or Path(source).is_relative_to(Path(__file__).parent):  # `code` has those of this package
        return ""
    return hashlib.blake2b(Path(source).read_bytes(), digest_size=8).hexdigest()


def default_folder(kind: str) -> Path:
    """Where a kind of things is kept by default: `$SNNZOO_CACHE/<kind>`, ~/.cache/snnzoo/<kind>."""
    return home() / kind


def home() -> Path:
    """`$SNNZOO_CACHE`, by default ~/.cache/snnzoo."""
    return Path(os.environ.get("SNNZOO_CACHE") or Path.home() / ".cache/snnzoo")
