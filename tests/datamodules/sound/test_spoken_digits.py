import wave

import numpy as np
import pytest
import torch

from datamodules.errors import DataError
from datamodules.sound.spoken_digits import SPEAKERS, SpokenDigitsDataModule

RATE = 8000


def write(file, samples, rate=RATE, channels=1):
    with wave.open(str(file), "wb") as recording:
        recording.setparams((channels, 2, rate, 0, "NONE", ""))
        recording.writeframes((np.asarray(samples) * 2**15).astype("<i2").tobytes())


@pytest.fixture
def root(tmp_path):
    """The real layout: recordings/{digit}_{speaker}_{index}.wav."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for digit in range(10):
        for speaker in SPEAKERS:
            for index in range(2):
                write(folder / f"{digit}_{speaker}_{index}.wav", tone(200 + 300 * digit, 0.1 + 0.01 * index))
    return tmp_path


def tone(frequency, seconds):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)


def test_speakers_are_in_one_split(root):
    data = SpokenDigitsDataModule(root=str(root), test_speakers=["george", "theo"], val_speakers=["lucas"])
    data.setup("fit")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 60, "val": 20, "test": 40}
    assert data.speakers["train"] == ("jackson", "nicolas", "yweweler")
    x, y = next(iter(data.val_dataloader()))
    assert x.shape == (100, 20, 64)
    assert x.dtype == torch.float32
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert y.tolist() == [digit for digit in range(10) for _ in range(2)]


def test_only_training_is_augmented(root):
    data = SpokenDigitsDataModule(root=str(root))
    data.setup("fit")
    plain = data.splits["train"].source[0][0].float()
    shifted = [data.splits["train"][0, seed, 0][0] for seed in range(8)]
    assert any(not torch.equal(x, plain) for x in shifted)
    assert torch.equal(data.splits["val"][0][0], data.splits["val"].source[0][0].float())


def test_what_is_missing_is_named(tmp_path, root):
    with pytest.raises(FileNotFoundError, match=r"no recordings .*github.com/Jakobovski"):
        SpokenDigitsDataModule(root=str(tmp_path / "nowhere")).setup("fit")
    for file in (root / "recordings").glob("*_lucas_*"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"of lucas\."):
        SpokenDigitsDataModule(root=str(root)).setup("fit")


def test_files_of_another_kind(root):
    file = root / "recordings/3_theo_0.wav"
    write(file, np.zeros(100), rate=16000, channels=2)
    with pytest.raises(DataError, match=r"3_theo_0.wav: 2 channels of 16 bit at 16000 Hz"):
        SpokenDigitsDataModule(root=str(root)).setup("fit")
    file.write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"3_theo_0.wav: no wav file"):
        SpokenDigitsDataModule(root=str(root)).setup("fit")


def test_mel_frames_are_real_numbers(root):
    data = SpokenDigitsDataModule(root=str(root), encoding="mel", bands=20, dt=20.0)
    data.setup("fit")
    x, _ = next(iter(data.train_dataloader()))
    assert x.shape == (50, 32, 20)
    assert x.min() == 0
    assert x.max() == 1
    assert len(x.unique()) > 100
    assert (data.in_chans, len(data.mean), data.input_cfg["dt"]) == (20, 20, 20.0)
    with pytest.raises(ValueError, match='encoding: expected "spikes" or "mel", found \'lfcc\''):
        SpokenDigitsDataModule(encoding="lfcc")


@pytest.mark.parametrize("name", ["dt", "duration", "level", "floor"])
def test_arguments_out_of_range(name):
    with pytest.raises(ValueError, match=f"{name}: expected > 0 .*found 0"):
        SpokenDigitsDataModule(**{name: 0})


@pytest.mark.parametrize(
    ("test", "val"), [(["theo"], ["theo"]), (["nobody"], ["theo"]), ([], ["theo"]), (SPEAKERS[1:], SPEAKERS[:1])]
)
def test_impossible_speakers(test, val):
    with pytest.raises(ValueError, match="test_speakers and val_speakers: expected some of george"):
        SpokenDigitsDataModule(test_speakers=test, val_speakers=val)
