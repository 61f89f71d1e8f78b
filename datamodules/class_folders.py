"""Which files there are, of which class, in which split: folders and CSV files, for images and recordings alike."""

import csv
import difflib
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info

SPLITS = ("train", "val", "test")
Files = list[tuple[Path, str]]  # file and class name


def find_splits(root: Path, suffixes: tuple[str, ...], val_fraction: float, test_fraction: float) -> dict[str, Files]:
    """The files of `root/<class>/*`, cut into splits, or of `root/<split>/<class>/*`; "val" is cut out of "train".

    Raises:
        ValueError: If there are no folders, "test" is missing beside "train", or another folder lies beside them.
    """
    folders = [folder.name for folder in subfolders(root)]
    if "train" not in folders or not subfolders(root / "train"):  # a folder "train" of files is a class: the vehicle
        return cut(find_files(root, suffixes), root, {"test": test_fraction, "val": val_fraction})
    if unknown := set(folders) - set(SPLITS):
        raise ValueError(f"{root}: found {sorted(unknown)} beside the folder train; expected train, val and test.")
    if "test" not in folders:
        raise ValueError(f"{root}: found a folder train but no folder test. Add it, or put the classes into {root}.")
    splits = {split: find_files(root / split, suffixes) for split in folders}
    return splits if "val" in folders else splits | cut(splits["train"], root, {"val": val_fraction})


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def find_files(folder: Path, suffixes: tuple[str, ...]) -> Files:
    """The files of `folder/<class>/*` with one of the suffixes, and their classes."""
    files: Files = []
    left_out: Counter[str] = Counter()
    for class_folder in subfolders(folder):
        found = [path for path in sorted(class_folder.iterdir()) if has_suffix(path, suffixes)]
        files += [(path, class_folder.name) for path in found]
        ignored = set(class_folder.rglob("*")) - set(found)
        left_out.update(path.suffix.lower() or path.name for path in ignored if path.is_file() and path.name[0] != ".")
        if not found:
            raise ValueError(
                f"{class_folder}: a class folder without data. Files must lie directly in it and end in one of "
                f"{', '.join(suffixes)}. Add some, or remove the folder."
            )
    if not files:
        raise ValueError(f"{folder}: found no class folders. Expected {folder}/<class>/<file>, or a split_file.")
    if left_out:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in left_out.most_common(5))
        rank_zero_info(f"{folder}: left out {left_out.total():,} files of another kind or in deeper folders ({kinds}).")
    return files


def has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether the name ends in a suffix and is not hidden; macOS leaves hidden `._name.png` that are none."""
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


def cut(files: Files, root: Path, fractions: dict[str, float]) -> dict[str, Files]:
    """Cut each class in the order of the hashes of its paths: the named splits take their fractions, train the rest."""
    classes: dict[str, list[Path]] = defaultdict(list)
    for file, name in files:
        classes[name].append(file)
    splits: dict[str, Files] = {split: [] for split in ("train", *fractions)}
    for name, members in classes.items():
        members.sort(key=lambda file: hashlib.sha256(file.relative_to(root).as_posix().encode()).digest())
        start = 0
        for split, fraction in fractions.items():
            end = start + max(1, round(fraction * len(members)))
            splits[split] += [(file, name) for file in members[start:end]]
            start = end
        splits["train"] += [(file, name) for file in members[start:]]
    return splits


def read_split_file(split_file: Path, root: Path) -> dict[str, Files]:
    """The files named by a CSV file with the header `path,label,split`, paths relative to `root`.

    Raises:
        FileNotFoundError: If the CSV file or a file it names does not exist.
        ValueError: If a column is missing, a label is empty, a split is unknown or a file is named twice.
    """
    if not split_file.is_file():
        raise FileNotFoundError(f"split_file: there is no file {split_file.absolute()}.")
    splits: dict[str, Files] = {split: [] for split in SPLITS}
    seen: set[Path] = set()
    with split_file.open(newline="", encoding="utf-8-sig") as lines:  # -sig: spreadsheets write a byte order mark
        rows = csv.DictReader(lines, restval="")
        if absent := {"path", "label", "split"} - set(rows.fieldnames or ()):
            raise ValueError(f"{split_file}: missing column {sorted(absent)}; expected the header path,label,split.")
        for row in rows:
            where, file, split = f"{split_file}, line {rows.line_num}", root / row["path"], row["split"]
            if split not in SPLITS:
                close = difflib.get_close_matches(split, SPLITS, n=1, cutoff=0.4)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise ValueError(f"{where}: unknown split {split!r}; expected train, val and test.{hint}")
            if not row["label"]:
                raise ValueError(f"{where}: the label is empty.")
            if not file.is_file():
                raise FileNotFoundError(f"{where}: there is no file {file.absolute()}. Paths are relative to `root`.")
            if file.resolve() in seen:
                raise ValueError(f"{where}: {row['path']} is named a second time; each file belongs to one split.")
            seen.add(file.resolve())
            splits[split].append((file, row["label"]))
    return splits


def class_names(splits: dict[str, Files]) -> list[str]:
    """The sorted names of the classes.

    Raises:
        ValueError: If there are fewer than two, or one has no file in some split.
    """
    names = sorted({name for files in splits.values() for _, name in files})
    if len(names) < 2:
        raise ValueError(f"A classifier needs at least two classes, found {names or 'no files'}.")
    found = {split: {name for _, name in files} for split, files in splits.items()}
    absent = [f"{name!r} in {split}" for name in names for split in SPLITS if name not in found[split]]
    if absent:
        raise ValueError(
            f"Each class needs at least one file in each split (so three files if one folder is cut up). "
            f"No file of {', '.join(absent[:10])}{' and others' if absent[10:] else ''}. Add some or remove the class."
        )
    return names
