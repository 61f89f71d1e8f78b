"""Which files are found and how they are split; the files themselves may be empty here."""

import pytest
from torchvision.datasets.folder import IMG_EXTENSIONS as IMAGES

from datamodules.class_folders import class_names, cut, find_splits, read_split_file


def touch(root, **counts):
    """`counts` files in each folder; "__" stands for "/"."""
    for folder, count in counts.items():
        (root / folder.replace("__", "/")).mkdir(parents=True)
        for n in range(count):
            (root / folder.replace("__", "/") / f"{n:03}.png").touch()


def names(files, root):
    return [file.relative_to(root).as_posix() for file, _ in files]


def test_cut_is_exact_stratified_disjoint_and_depends_on_names_only(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    touch(one, cat=30, dog=100, owl=3)
    touch(two, owl=3, dog=100, cat=30)  # another place, another order of creation
    splits, again = (find_splits(root, IMAGES, 0.15, 0.2) for root in (one, two))
    for name, counts in {"cat": (20, 4, 6), "dog": (65, 15, 20), "owl": (1, 1, 1)}.items():
        found = tuple(sum(label == name for _, label in splits[split]) for split in ("train", "val", "test"))
        assert found == counts
    files = [file for part in splits.values() for file in names(part, one)]
    assert len(set(files)) == len(files) == 133
    assert {s: names(f, one) for s, f in splits.items()} == {s: names(f, two) for s, f in again.items()}


def test_a_new_image_moves_at_most_one_old_one_across_each_cut(tmp_path):
    touch(tmp_path, cat=40, dog=40)
    before = {file: split for split, files in find_splits(tmp_path, IMAGES, 0.2, 0.2).items() for file, _ in files}
    (tmp_path / "cat" / "new.png").touch()
    after = {file: split for split, files in find_splits(tmp_path, IMAGES, 0.2, 0.2).items() for file, _ in files}
    assert sum(after[file] != split for file, split in before.items()) <= 2


def test_only_visible_images_count(tmp_path):
    touch(tmp_path, cat=5, dog=5)
    for stray in ("cat/notes.txt", "cat/._000.png", "cat/.hidden.jpg", "loose.png"):
        (tmp_path / stray).touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / "UPPER.JPG").touch()
    files = [file for part in find_splits(tmp_path, IMAGES, 0.2, 0.2).values() for file in names(part, tmp_path)]
    assert len(files) == 11
    assert "cat/UPPER.JPG" in files


def test_folders_of_splits_are_used_as_they_are(tmp_path):
    touch(tmp_path, train__cat=6, train__dog=6, test__cat=2, test__dog=3, val__cat=1, val__dog=1)
    splits = find_splits(tmp_path, IMAGES, 0.5, 0.5)
    assert {split: len(files) for split, files in splits.items()} == {"train": 12, "test": 5, "val": 2}
    assert {label for _, label in splits["test"]} == {"cat", "dog"}
    assert all(name.startswith("test/") for name in names(splits["test"], tmp_path))


def test_validation_is_cut_out_of_training_where_it_is_absent(tmp_path):
    touch(tmp_path, train__cat=10, train__dog=20, test__cat=2, test__dog=2)
    splits = find_splits(tmp_path, IMAGES, 0.2, 0.5)
    assert [label for _, label in splits["val"]] == ["cat"] * 2 + ["dog"] * 4
    assert all(name.startswith("train/") for name in names(splits["val"], tmp_path))
    assert (len(splits["train"]), len(splits["test"])) == (24, 4)


def test_train_may_be_a_class(tmp_path):
    touch(tmp_path, train=5, bus=5)
    assert class_names(find_splits(tmp_path, IMAGES, 0.2, 0.2)) == ["bus", "train"]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({}, "found no class folders. Expected .*/<class>/<file>, or a split_file"),
        ({"cat": 3, "dog": 0}, "dog: a class folder without data"),
        ({"training__cat": 3, "testing__cat": 3}, "testing: a class folder without data. Files must lie directly"),
        ({"train__cat": 3}, "found a folder train but no folder test"),
        ({"train__cat": 3, "test__cat": 3, "valid__cat": 3}, r"found \['valid'\] beside the folder train; expected"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path, folders, message):
    touch(tmp_path, **folders)
    with pytest.raises(ValueError, match=message):
        find_splits(tmp_path, IMAGES, 0.2, 0.2)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"cat": 9}, r"at least two classes, found \['cat'\]"),
        ({"cat": 9, "dog": 2}, "Each class needs at least one file in each split .* No file of 'dog' in train"),
        ({"cat": 9, "dog": 1}, "No file of 'dog' in train, 'dog' in val"),
        ({"train__a": 5, "train__b": 5, "test__a": 1, "test__c": 1}, "'b' in test, 'c' in train, 'c' in val"),
        ({f"c{n:02}": 1 for n in range(20)}, "'c04' in val and others. Add some or"),
    ],
)
def test_classes_that_cannot_be_learned_or_measured(tmp_path, folders, message):
    touch(tmp_path, **folders)
    with pytest.raises(ValueError, match=message):
        class_names(find_splits(tmp_path, IMAGES, 0.2, 0.2))


def test_cut_without_files():
    assert cut([], None, {"val": 0.1}) == {"train": [], "val": []}


ROWS = ["a.png,cat,train", "b.png,cat,val", "sub/c.png,cat,test", "d.png,dog,train", "e.png,dog,val", "f.png,dog,test"]


def write_csv(root, rows, header="path,label,split", encoding="utf-8"):
    (root / "sub").mkdir()
    for name in ("a.png", "b.png", "sub/c.png", "d.png", "e.png", "f.png"):
        (root / name).touch()
    (root / "split.csv").write_text("\n".join([header, *rows]), encoding=encoding)
    return root / "split.csv"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_split_file(tmp_path, encoding):
    splits = read_split_file(write_csv(tmp_path, ROWS, encoding=encoding), tmp_path)
    assert names(splits["test"], tmp_path) == ["sub/c.png", "f.png"]
    assert class_names(splits) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ("a.png,cat,tset", ValueError, "line 8: unknown split 'tset'; expected train, val and test. .*mean 'test'"),
        ("a.png,cat,", ValueError, "line 8: unknown split ''"),
        ("a.png", ValueError, "line 8: unknown split ''"),
        ("a.png,,train", ValueError, "line 8: the label is empty"),
        ("g.png,cat,train", FileNotFoundError, "line 8: there is no file /.*/g.png. Paths are relative to `root`"),
        ("a.png,cat,test", ValueError, "line 8: a.png is named a second time; each file belongs to one split"),
        ("sub/../a.png,cat,test", ValueError, "line 8: sub/../a.png is named a second time"),
    ],
)
def test_errors_in_a_split_file_have_a_line(tmp_path, row, error, message):
    with pytest.raises(error, match=message):
        read_split_file(write_csv(tmp_path, [*ROWS, row]), tmp_path)


def test_a_label_that_training_does_not_know(tmp_path):
    splits = read_split_file(write_csv(tmp_path, [*ROWS[:5], "f.png,wolf,test"]), tmp_path)
    with pytest.raises(ValueError, match="No file of 'dog' in test, 'wolf' in train, 'wolf' in val"):
        class_names(splits)


@pytest.mark.parametrize(("header", "absent"), [("path,label", "split"), ("file,label,split", "path"), ("", "label")])
def test_a_column_is_missing(tmp_path, header, absent):
    with pytest.raises(ValueError, match=f"split.csv: missing column .*'{absent}'.*the header path,label,split"):
        read_split_file(write_csv(tmp_path, [], header), tmp_path)


def test_no_split_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"split_file: there is no file /.*/nowhere.csv"):
        read_split_file(tmp_path / "nowhere.csv", tmp_path)


def test_an_empty_split_file(tmp_path):
    with pytest.raises(ValueError, match="at least two classes, found no files"):
        class_names(read_split_file(write_csv(tmp_path, []), tmp_path))


def test_files_left_out_are_counted_in_one_line(tmp_path, caplog):
    for name in ("cat", "dog"):
        (tmp_path / name / "deeper").mkdir(parents=True)
        for file in ("1.png", "2.png", "3.png", "4.heic", "deeper/5.png", ".hidden"):
            (tmp_path / name / file).touch()
    with caplog.at_level("INFO"):
        find_splits(tmp_path, IMAGES, 0.2, 0.2)
    (line,) = [record.message for record in caplog.records]
    assert "left out 4 files" in line
    assert "2 .heic" in line
    assert "2 .png" in line
