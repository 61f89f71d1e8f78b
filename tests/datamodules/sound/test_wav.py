import struct
import wave
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datamodules.errors import DataError
from datamodules.sound.wav import LevelCrossings, MelFrames, Shift, Sounds, read_wav, triangles

RATE = 8000


def write(file, samples, rate=RATE, channels=1, width=2):
    with wave.open(str(file), "wb") as recording:
        recording.setparams((channels, width, rate, 0, "NONE", ""))
        recording.writeframes((np.asarray(samples) * 2**15).astype("<i2").tobytes())


def tone(frequency, seconds, rate=RATE):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def test_mel_frames_against_plain_sums():
    """A Fourier sum a bin, a triangle a band, in loops."""
    draw = np.random.default_rng(0)
    sound = draw.normal(0, 0.1, 400).astype(np.float32)
    encode = MelFrames(RATE, dt=10.0, duration=30.0, bands=5, window=20.0, f_min=100.0, f_max=3000.0, floor=40.0)
    mel = np.linspace(*(2595 * np.log10(1 + f / 700) for f in (100, 3000)), 7)
    edges = 700 * (10 ** (mel / 2595) - 1)
    energy = np.zeros((3, 5))
    for step in range(3):
        begin = 80 * step
        frame = [sound[begin + n] * (0.5 - 0.5 * np.cos(2 * np.pi * n / 159)) for n in range(160)]
        for k in range(encode.n_fft // 2 + 1):
            frequency = k * RATE / encode.n_fft
            value = abs(sum(frame[n] * np.exp(-2j * np.pi * k * n / encode.n_fft) for n in range(160))) ** 2
            for band in range(5):
                left, middle, right = edges[band : band + 3]
                if left < frequency <= middle:
                    energy[step, band] += value * (frequency - left) / (middle - left)
                elif middle < frequency < right:
                    energy[step, band] += value * (right - frequency) / (right - middle)
    expected = np.maximum(0, 1 + 10 * np.log10(energy / energy.max()) / 40)
    x = encode(sound)
    assert x.dtype == torch.float32
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert x.max() == 1


@pytest.mark.parametrize(("rate", "bands", "highest"), [(8000, 140, None), (16000, 140, 4000.0), (16000, 40, None)])
def test_no_band_is_empty(rate, bands, highest):
    encode = MelFrames(rate, bands=bands, f_min=50.0, f_max=highest)
    assert (encode.triangles.sum(1) > 0).all()
    x = encode(np.random.default_rng(0).normal(0, 0.1, rate).astype(np.float32))
    assert x.shape == (100, bands)
    assert (x.std(0) > 0).all()


def test_the_highest_frequency_is_in_the_sound():
    with pytest.raises(ValueError, match=r"f_max: expected > 0 and at most 4000, found 14000"):
        MelFrames(8000, bands=140, f_min=50, f_max=14000)
    with pytest.raises(ValueError, match="f_min: expected at least 0 and below f_max, 4000 Hz, found 4000"):
        MelFrames(8000, f_min=4000)


def test_sound_of_16_khz_needs_no_resampling():
    """Below 4 kHz a tone looks alike at both rates."""
    low, high = (MelFrames(rate, f_max=4000.0)(tone(440, 0.5, rate)[: rate // 4]) for rate in (8000, 16000))
    loud = (low > 0.3) | (high > 0.3)
    assert (low - high)[loud].abs().max() < 0.02


def test_silence_is_zero():
    assert not MelFrames(RATE)(np.zeros(4000, np.float32)).any()
    x = MelFrames(RATE)(tone(700, 0.3))
    assert not x[31:].any(), "what is not there is silent"
    assert x[:25].any()
    assert MelFrames(RATE, duration=100.0)(tone(700, 0.3)).shape == (10, 40)


def test_a_tone_begins_and_ends_in_its_band():
    encode = LevelCrossings(RATE, dt=10.0, duration=600.0, bands=32)
    spikes = encode(np.concatenate([np.zeros(RATE // 5), tone(1000, 0.2), np.zeros(RATE // 5)]).astype(np.float32))
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
    encode, sound = LevelCrossings(RATE, bands=32), tone(700, 0.3)
    assert torch.equal(encode(sound), encode(sound / 4))
    assert not encode(np.zeros(4000, np.float32)).any()


def test_every_rise_is_paid_back_by_falls():
    """With one level, a recording that ends in silence falls as often as it rises."""
    spikes = LevelCrossings(RATE, level=50.0)(np.concatenate([np.zeros(800, np.float32), tone(500, 0.3)]))
    assert spikes.any()
    assert torch.equal(spikes[:, ::2].sum(0), spikes[:, 1::2].sum(0))


def test_bands_overlap_to_one():
    bins = np.linspace(0, 4000, 257)
    bands = triangles(MelFrames(RATE, bands=32).edges, bins)
    peaks = bins[bands.argmax(1)]
    assert (np.diff(peaks) > 0).all()
    inside = (bins > peaks[0] + 20) & (bins < peaks[-1] - 200)
    assert np.allclose(bands.sum(0)[inside], 1)


@pytest.mark.parametrize("per_band", [1, 2])
def test_shift_moves_bands_and_steps_together(per_band):
    x = torch.zeros(20, 12)
    x[10, 4] = x[12, 7] = 0.5
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        (a, b), (c, d) = Shift(1, 2, per_band)(x).nonzero().tolist()
        assert (c - a, d - b) == (2, 3), "the pattern stays"
        seen.add((a - 10, b - 4))
    assert seen == {(steps, bands * per_band) for steps in range(-2, 3) for bands in (-1, 0, 1)}


@pytest.mark.parametrize("name", ["dt", "duration", "window", "floor", "level", "bands"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_arguments_out_of_range(name, value):
    if name == "bands" and value != value:
        value = -3
    with pytest.raises(ValueError, match=f"{name}: expected .*found {value}"):
        LevelCrossings(RATE, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("window", 0.01), ("window", 0.25), ("duration", float("inf")), ("dt", float("inf"))]
)
def test_lengths_of_which_nothing_can_be_made(name, value):
    with pytest.raises(ValueError, match=f"{name}: .*found {value}"):
        MelFrames(RATE, **{name: value})


def test_wav_files_are_read_back(tmp_path):
    sound = np.array([0, 0.5, -0.5, -1.0, 0.25])
    write(tmp_path / "a.wav", sound)
    assert read_wav(tmp_path / "a.wav", RATE).tolist() == sound.tolist()
    x, label = Sounds([(tmp_path / "a.wav", 7)], MelFrames(RATE))[0]
    assert (x.shape, label) == ((100, 40), 7)


def test_wav_files_of_another_kind(tmp_path):
    file = tmp_path / "a.wav"
    write(file, np.zeros(100), rate=16000, channels=2)
    with pytest.raises(DataError, match=r"a.wav: 2 channels of 16 bit at 16000 Hz; .* 8000 Hz"):
        read_wav(file, RATE)
    write(file, [])
    with pytest.raises(DataError, match="a.wav: holds no sound"):
        read_wav(file, RATE)
    write(file, np.zeros(100))
    file.write_bytes(file.read_bytes()[:144])
    with pytest.raises(DataError, match=r"a.wav at byte 144: breaks off: 100 of 200 bytes"):
        read_wav(file, RATE)


@given(st.data())
def test_a_damaged_wav_file_is_named(tmp_path_factory, data):
    """Truncated anywhere, or with any four bytes of the header replaced: an error with the name, or the sound."""
    file = tmp_path_factory.mktemp("wav") / "a.wav"
    write(file, tone(500, 0.01))
    whole = bytearray(file.read_bytes())
    if data.draw(st.booleans()):
        file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        with pytest.raises(DataError, match="a.wav"):
            read_wav(file, RATE)
    else:
        at = data.draw(st.integers(0, 40))
        whole[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
        file.write_bytes(whole)
        with suppress(DataError):
            assert len(read_wav(file, RATE)) <= 80


def riff(code, bits, data, extension=b"", before=b""):
    """A wav file of one channel at 8 kHz, written by hand."""
    size = bits // 8
    content = struct.pack("<HHIIHH", code, 1, RATE, RATE * size, size, bits) + extension
    chunks = before + struct.pack("<4sI", b"fmt ", len(content)) + content
    chunks += struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks


def extension(code, valid_bits):
    """What an extensible header adds: its length, valid bits, speakers, and the code of the samples in a GUID."""
    guid = struct.pack("<H", code) + bytes.fromhex("000000001000800000aa00389b71")
    return struct.pack("<HHI", 22, valid_bits, 4) + guid


@pytest.mark.parametrize("before", [b"", struct.pack("<4sI", b"LIST", 3) + b"abc\0"])
def test_an_extensible_header(tmp_path, before):
    samples = np.array([0, 1, -1, 2**14, -(2**15)], "<i2")
    (tmp_path / "a.wav").write_bytes(riff(0xFFFE, 16, samples.tobytes(), extension(1, 16), before))
    assert read_wav(tmp_path / "a.wav", RATE).tolist() == (samples / 2**15).tolist()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (riff(3, 32, bytes(8)), "expected 16-bit PCM, found floating-point numbers. Convert it"),
        (riff(0xFFFE, 32, bytes(8), extension(3, 32)), "expected 16-bit PCM, found floating-point numbers. Convert it"),
        (riff(7, 8, bytes(8)), "expected 16-bit PCM, found mu-law. Convert it"),
        (riff(0xFFFE, 24, bytes(9), extension(1, 24)), "1 channels of 24 bit at 8000 Hz; .* Convert it"),
    ],
)
def test_a_good_file_of_another_kind_is_to_be_converted(tmp_path, content, found):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.wav: {found}"):
        read_wav(tmp_path / "a.wav", RATE)
