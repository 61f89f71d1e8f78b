import wave

import numpy as np
import pytest
import torch

from datamodules.spoken_digits import RATE, SPEAKERS, Shift, SpokenDigitsDataModule, mel_bands


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


def test_a_tone_begins_and_ends_in_its_band():
    data = SpokenDigitsDataModule(dt=10.0, duration=600.0)
    sound = np.concatenate([np.zeros(RATE // 5), tone(1000, 0.2), np.zeros(RATE // 5)])
    spikes = data.encode(sound.astype(np.float32))
    assert spikes.shape == (60, 64)
    mel = 2595 * np.log10(1 + 1000 / 700)
    band = round(mel / (2595 * np.log10(1 + 4000 / 700)) * 33) - 1  # 32 triangles between 34 edges
    rises, falls = (spikes[:, 2 * band + side].nonzero().flatten().tolist() for side in (0, 1))
    assert rises[0] in range(16, 21)  # at 200 ms, as soon as the window of 32 ms reaches it
    assert falls[-1] in range(38, 42)  # at 400 ms
    assert not [step for step in rises + falls if 22 < step < 36], "a steady tone crosses no level"
    steady = spikes[22:36].sum(0)
    assert not steady[2 * band - 2 : 2 * band + 4].any()


def test_loudness_does_not_matter_and_silence_is_silent():
    data, sound = SpokenDigitsDataModule(), tone(700, 0.3).astype(np.float32)
    assert torch.equal(data.encode(sound), data.encode(sound / 4))
    assert not data.encode(np.zeros(4000, np.float32)).any()


def test_every_rise_is_paid_back_by_falls():
    """With one level, a recording that ends in silence falls as often as it rises."""
    data = SpokenDigitsDataModule(level=50.0)
    spikes = data.encode(np.concatenate([np.zeros(800), tone(500, 0.3)]).astype(np.float32))
    assert spikes.any()
    assert torch.equal(spikes[:, ::2].sum(0), spikes[:, 1::2].sum(0))


def test_bands_overlap_to_one():
    bands, bins = mel_bands(32), np.linspace(0, 4000, 257)
    peaks = bins[bands.argmax(1)]
    assert (np.diff(peaks) > 0).all()
    inside = (bins > peaks[0] + 20) & (bins < peaks[-1] - 200)
    assert np.allclose(bands.sum(0)[inside], 1)


def test_shift_moves_bands_and_steps_together():
    x = torch.zeros(20, 12, dtype=torch.uint8)
    x[10, 4] = x[12, 7] = 1
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        (a, b), (c, d) = Shift(1, 2)(x).nonzero().tolist()
        assert (c - a, d - b) == (2, 3), "the pattern stays"
        seen.add((a - 10, b - 4))
    assert seen == {(steps, channels) for steps in range(-2, 3) for channels in (-2, 0, 2)}


def test_only_training_is_augmented(root):
    data = SpokenDigitsDataModule(root=str(root))
    data.setup("fit")
    plain = data.splits["train"].source[0][0].float()
    shifted = [data.splits["train"][0, seed][0] for seed in range(8)]
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
    with pytest.raises(ValueError, match=r"3_theo_0.wav has 2 channels of 16 bit at 16000 Hz"):
        SpokenDigitsDataModule(root=str(root)).setup("fit")
    file.write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"3_theo_0.wav is no wav file"):
        SpokenDigitsDataModule(root=str(root)).setup("fit")


@pytest.mark.parametrize("name", ["dt", "duration", "level", "floor"])
def test_arguments_out_of_range(name):
    with pytest.raises(ValueError, match=f"{name} must be > 0 .*got 0"):
        SpokenDigitsDataModule(**{name: 0})


@pytest.mark.parametrize(
    ("test", "val"), [(["theo"], ["theo"]), (["nobody"], ["theo"]), ([], ["theo"]), (SPEAKERS[1:], SPEAKERS[:1])]
)
def test_impossible_speakers(test, val):
    with pytest.raises(ValueError, match="test_speakers and val_speakers must be some of george"):
        SpokenDigitsDataModule(test_speakers=test, val_speakers=val)
