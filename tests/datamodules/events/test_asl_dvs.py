"""The split of ASL-DVS; reading is tested with all published sets."""

import pytest

from datamodules import ASLDVSDataModule
from datamodules.events.published import number


@pytest.mark.parametrize("digits", [4, 1])
def test_each_letter_is_cut_into_blocks(tmp_path, digits):
    for letter in ASLDVSDataModule.label_names:
        (tmp_path / letter).mkdir()
        for i in range(1, 51):
            (tmp_path / letter / f"{letter}_{i:0{digits}d}.mat").touch()
    found = ASLDVSDataModule(root=str(tmp_path)).find()
    for letter in "ay":
        train, val, test = (
            [number(sample.file) for sample in samples if sample.file.parent.name == letter]
            for samples in found.values()
        )
        assert train == list(range(1, 37))
        assert val == list(range(37, 41))
        assert test == list(range(41, 51))
    assert "j" not in ASLDVSDataModule.label_names
    assert "z" not in ASLDVSDataModule.label_names
