"""The classes, the blocks and the archive in the archive of N-Caltech101; reading is tested with all published sets."""

import zipfile
from pathlib import Path

from datamodules import NCaltech101DataModule
from datamodules.events.published import number


def write(root, count):
    for name in NCaltech101DataModule.label_names:
        (root / "Caltech101" / name).mkdir(parents=True)
        for i in range(1, count + 1):
            (root / "Caltech101" / name / f"image_{i:04d}.bin").touch()


def test_each_class_is_cut_into_blocks(tmp_path):
    write(tmp_path, 31)
    for samples, numbers in zip(
        NCaltech101DataModule(root=str(tmp_path)).find().values(),
        (range(1, 27), range(27, 29), range(29, 32)),
        strict=True,
    ):
        assert [number(sample.file) for sample in samples] == list(numbers) * 101
        assert [sample.label for sample in samples[:: len(numbers)]] == list(range(101))


def test_classes():
    names = NCaltech101DataModule.label_names
    assert len(set(names)) == 101
    assert list(names) == sorted(names)
    assert "Faces" not in names  # left out by the authors, as Faces_easy has the same images
    assert {"BACKGROUND_Google", "Faces_easy", "yin_yang"} <= set(names)


def test_the_archive_in_the_archive_is_unpacked(tmp_path, monkeypatch):
    """tonic 1.7.0 stops at the outer one."""

    def fetch(root):
        write(tmp_path / "elsewhere", 3)
        Path(root, "NCALTECH101").mkdir()
        with zipfile.ZipFile(Path(root, "NCALTECH101/Caltech101.zip"), "w") as archive:
            for file in sorted((tmp_path / "elsewhere").rglob("*.bin")):
                archive.write(file, file.relative_to(tmp_path / "elsewhere"))

    monkeypatch.setattr("tonic.datasets.NCALTECH101", fetch)
    data = NCaltech101DataModule(root=str(tmp_path))
    data.prepare_data()
    assert len(data.find()["test"]) == 101
