import numpy as np
import pytest
import torch
from scipy.io import savemat

from datamodules.errors import DataError
from datamodules.spikes.ecg import UNLABELLED, QTDBDataModule, read_windows, record_starts

STEPS = 1301
RECORDS = (3, 4, 2, 3)  # windows of each record of the training file


def write(root, split, records, **changes):
    """A file as Yin et al.'s: windows 1,000 steps apart out of records of beats, with their gaps and marks."""
    draw = np.random.default_rng(len(records))
    x, y = [], []
    for windows in records:
        length = 1000 * windows + 301
        spikes = draw.integers(0, 2, (length, 4))
        phase = np.repeat(np.arange(length // 10) % 6, draw.integers(10, 90, length // 10))[:length]
        label = np.eye(6, dtype=np.uint8)[phase]
        label[-200:] = 0  # the annotation ends before the record
        for start in range(0, 1000 * windows, 1000):
            x.append(spikes[start : start + STEPS].copy())
            y.append(label[start : start + STEPS].copy())
            y[-1][:19] = np.eye(6)[0]
            y[-1][19:37] = 0
            x[-1][-1, 0] = -1
    content = {"x": np.int16(x), "y": np.uint8(y), "max_i": np.full((len(x), 1), STEPS, np.uint16)}
    savemat(root / f"QTDB_{split}.mat", content | changes)
    return content


@pytest.fixture
def root(tmp_path):
    write(tmp_path, "train", RECORDS)
    write(tmp_path, "test", (2, 2))
    return tmp_path


def make(root, **changes):
    data = QTDBDataModule(**{"root": str(root), "batch_size": 2, **changes})
    data.setup("fit")
    return data


def test_every_step_has_its_label(tmp_path):
    write(tmp_path, "train", RECORDS)
    written = write(tmp_path, "test", (2, 2))
    x, y = (torch.cat(parts, 1) for parts in zip(*make(tmp_path).test_dataloader(), strict=True))
    assert x.shape == (1300, 4, 4)
    assert (x.dtype, y.dtype, y.shape) == (torch.float32, torch.int64, (1300, 4))
    assert torch.equal(x, torch.from_numpy(written["x"][:, :-1]).permute(1, 0, 2).float())
    one_hot = torch.from_numpy(written["y"][:, :-1]).permute(1, 0, 2)
    known = y != UNLABELLED
    assert torch.equal(known, one_hot.any(-1))
    assert 0 < (~known).float().mean() < 0.2
    assert torch.equal(torch.nn.functional.one_hot(y[known], 6), one_hot[known])


def test_no_record_is_on_both_sides(root):
    assert record_starts(read_windows(root / "QTDB_train.mat")[1]) == [0, 3, 7, 9]
    for fraction, cut in ((0.1, 9), (0.3, 7), (0.75, 3)):
        data = make(root, val_fraction=fraction)
        assert (len(data.splits["train"]), len(data.splits["val"])) == (cut, 12 - cut)
    with pytest.raises(ValueError, match=r"val_fraction = 0.9 of 12 windows in 4 records leaves none to train on"):
        make(root, val_fraction=0.9)


def test_what_it_says_of_its_input(root):
    cfg = make(root).input_cfg
    assert (cfg["input_size"], cfg["sequence_ndim"], cfg["dt"]) == ((4, 1, 1), 3, 4.0)
    assert cfg["label_names"] == ["P", "PQ", "QR", "RS", "ST", "TP"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((4, STEPS, 3), np.int16)}, r"expected x \[n, 1301, 4\].* found \{'x': \(4, 1301, 3\)"),
        ({"y": np.zeros((4, 700, 6), np.uint8)}, r"'y': \(4, 700, 6\)"),
        ({"max_i": np.full((4, 1), 900)}, r"max_i says that windows have 900..900 steps, x has 1301"),
        ({"x": np.full((4, STEPS, 4), 2, np.int16)}, "expected x of 0 and 1"),
        ({"y": np.ones((4, STEPS, 6), np.uint8)}, "y one-hot"),
    ],
)
def test_contents_it_refuses(root, changes, message):
    write(root, "test", (2, 2), **changes)
    with pytest.raises(DataError, match=f"QTDB_test.mat: .*{message}"):
        make(root)


def test_files_it_refuses(root):
    whole = (root / "QTDB_test.mat").read_bytes()
    for broken in (b"", whole[:100], whole[:-1000], b"no matlab " * 100):
        (root / "QTDB_test.mat").write_bytes(broken)
        with pytest.raises(DataError, match=r"QTDB_test.mat( at byte \d+)?: "):
            make(root)
    savemat(root / "QTDB_test.mat", {"a": 1})
    with pytest.raises(DataError, match=r"found \{\}"):
        make(root)
    (root / "QTDB_test.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no QTDB_test.mat. Get them from https://github.com/byin-cwi"):
        make(root)
