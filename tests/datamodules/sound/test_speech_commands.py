import pickle
import wave

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.sound.speech_commands import WORDS, SpeechCommandsDataModule

RATE = 16000


def write(file, frequency, seconds):
    sound = 10000 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)
    with wave.open(str(file), "wb") as recording:
        recording.setparams((1, 2, RATE, 0, "NONE", ""))
        recording.writeframes(sound.astype("<i2").tobytes())


@pytest.fixture
def folder(tmp_path):
    """The real layout: <word>/<speaker>_nohash_<n>.wav, the lists, the noise."""
    folder = tmp_path / "speech_commands_v0.02"
    for number, word in enumerate(WORDS):
        (folder / word).mkdir(parents=True)
        for speaker in ("aa", "bb", "cc"):
            write(folder / word / f"{speaker}_nohash_0.wav", 100 * (number + 2), 0.2)
    (folder / "_background_noise_").mkdir()
    write(folder / "_background_noise_/pink_noise.wav", 50, 2)
    (folder / "validation_list.txt").write_text("".join(f"{word}/bb_nohash_0.wav\n" for word in WORDS))
    (folder / "testing_list.txt").write_text("".join(f"{word}/cc_nohash_0.wav\n" for word in WORDS))
    return folder


def test_official_splits_and_padding(folder):
    for root in (folder, folder.parent):
        data = SpeechCommandsDataModule(root=str(root), num_workers=0)
        data.setup("fit")
        assert {split: len(source) for split, source in data.splits.items()} == dict.fromkeys(data.splits, 35)
        for split, speaker in (("train", "aa"), ("val", "bb"), ("test", "cc")):
            files = [file for file, _ in data.find()[split]]
            assert {file.name for file in files} == {f"{speaker}_nohash_0.wav"}
            assert [file.parent.name for file in files] == sorted(WORDS)
    x, y = next(iter(data.val_dataloader()))
    assert x.shape == (100, 32, 40)
    assert y.tolist() == list(range(32))
    assert data.label_names[y[4]] == "dog"
    assert not x[21:].any(), "a sample of 200 ms is padded with silence"
    loudest = x[5].argmax(-1)
    assert (loudest.diff() >= 0).all(), "higher tones are in higher bands"
    assert loudest[-1] > loudest[0] + 10


def test_it_travels_to_a_loading_process(folder):
    data = SpeechCommandsDataModule(root=str(folder), encoding="spikes", num_workers=0)
    data.setup("fit")
    copy = pickle.loads(pickle.dumps(data.splits["train"]))
    assert (copy[3, 9, 0][0] == data.splits["train"][3, 9, 0][0]).all()
    assert set(copy[0][0].unique().tolist()) == {0.0, 1.0}
    assert data.in_chans == 80


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds testing_list.txt .*speech_commands_v0.02.tar.gz"):
        SpeechCommandsDataModule(root=str(tmp_path / "nowhere")).find()
    (folder / "validation_list.txt").unlink()
    (folder / "bed").rename(folder / "bett")
    with pytest.raises(FileNotFoundError, match=r"lacks bed, validation_list.txt"):
        SpeechCommandsDataModule(root=str(folder)).find()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("testing_list.txt", "cat/cc_nohash_0.wav\ncat/zz_nohash_0.wav", r"entry 2, 'cat/zz_nohash_0.wav', is no"),
        ("testing_list.txt", "\x00\xff", "entry 1"),
        ("testing_list.txt", "cat/bb_nohash_0.wav", "cat/bb_nohash_0.wav is in the validation list, too"),
        ("validation_list.txt", "", "no recording is left for val"),
    ],
)
def test_bad_lists(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=message):
        SpeechCommandsDataModule(root=str(folder)).find()


def test_a_bad_file_is_named_when_it_is_asked_for(folder):
    (folder / "backward/bb_nohash_0.wav").write_bytes(b"RIFF")
    data = SpeechCommandsDataModule(root=str(folder), num_workers=0)
    data.setup("fit")
    with pytest.raises(DataError, match=r"backward/bb_nohash_0.wav: no wav file"):
        next(iter(data.val_dataloader()))
