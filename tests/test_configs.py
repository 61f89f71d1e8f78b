"""Every recipe parses, and runs for two batches on fake data in the real layout on disk."""

import re
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy.io import savemat

import zoo
from cli import main
from datamodules.sound.speech_commands import WORDS
from datamodules.sound.spoken_digits import SPEAKERS

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "configs").glob("*/*.yaml"))


def fake_fashion_mnist(root, _):
    """idx files: a magic number, the sizes, the bytes."""
    raw = root / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for part, count in (("train", 400), ("t10k", 20)):
        images = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        sizes = np.array([0x803, count, 28, 28], ">i4")
        (raw / f"{part}-images-idx3-ubyte").write_bytes(sizes.tobytes() + images.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(np.array([0x801, count], ">i4").tobytes() + labels.tobytes())


def fake_cifar10(root, monkeypatch):
    """Pickled batches, whose checksums torchvision knows by heart."""
    import hashlib
    import pickle

    from torchvision.datasets import CIFAR10

    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    sums = {}
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
        batch = {"data": draw.integers(0, 256, (80, 3072), dtype=np.uint8), "labels": [n % 10 for n in range(80)]}
        (folder / name).write_bytes(pickle.dumps(batch))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    monkeypatch.setattr(CIFAR10, "train_list", [[f"data_batch_{n}", sums[f"data_batch_{n}"]] for n in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})


def fake_images(root, _):
    """Class folders of small images."""
    draw = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(draw.integers(0, 256, (24, 30, 3), dtype=np.uint8)).save(root / label / f"{number}.png")


def fake_event_folder(root, _):
    """Class folders of recordings of two formats, of a camera of 34 x 32 pixels."""
    draw = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for n in range(20):  # so many events in so small a place that an untrained net fires
            columns = [
                np.sort(draw.integers(0, 10**5, 5000)),
                *draw.integers(10, 20, (2, 5000)),
                draw.integers(0, 2, 5000),
            ]
            columns[1][0], columns[2][0] = 33, 31
            if n % 2:
                np.save(root / label / f"{n}.npy", np.stack(columns, 1))
            else:
                np.savetxt(root / label / f"{n}.csv", np.stack(columns, 1), "%d", ",")


def fake_spoken_digits(root, _):
    """Wav files of 8 kHz, 16 bit: a tone for each digit, of every speaker."""
    (root / "recordings").mkdir(parents=True)
    for digit in range(10):
        for speaker in SPEAKERS:
            tone = 8000 * np.sin(np.arange(2000) * (digit + 1) / 4)
            with wave.open(str(root / f"recordings/{digit}_{speaker}_0.wav"), "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", ""))
                file.writeframes(tone.astype("<i2").tobytes())


def fake_speech_commands(root, _):
    """Folders of words with wav files of 16 kHz, 16 bit: bursts of noise; the lists of validation and test."""
    folder = root / "speech_commands_v0.02"
    draw = np.random.default_rng(0)
    for word in WORDS:
        (folder / word).mkdir(parents=True)
        for speaker in range(3):
            sound = draw.normal(0, 8000, 12000).clip(-30000, 30000) * np.sin(np.arange(12000) / 500)
            with wave.open(str(folder / f"{word}/{speaker:08x}_nohash_0.wav"), "wb") as file:
                file.setparams((1, 2, 16000, 0, "NONE", ""))
                file.writeframes(sound.astype("<i2").tobytes())
    for speaker, name in enumerate(("validation_list.txt", "testing_list.txt")):
        (folder / name).write_text("\n".join(f"{word}/{speaker:08x}_nohash_0.wav" for word in WORDS))


def fake_heidelberg(root, name, parts, classes):
    """HDF5 files of SHD and SSC: times and units in rows of different lengths, labels, words and speakers."""
    import h5py

    (root / name.upper()).mkdir(parents=True)
    draw = np.random.default_rng(0)
    for part in parts:
        with h5py.File(root / name.upper() / f"{name}_{part}.h5", "w") as file:
            lengths = draw.integers(5000, 10000, 40)
            for key, kind in (("times", np.float16), ("units", np.uint16)):
                rows = file.create_dataset(f"spikes/{key}", 40, h5py.vlen_dtype(kind))
                for row, length in enumerate(lengths):
                    rows[row] = draw.random(length) if key == "times" else draw.integers(0, 700, length)
            file["labels"] = np.arange(40, dtype=np.uint16) % classes
            file["extra/keys"] = np.array([f"word {label}" for label in range(classes)], "S")
            file["extra/speaker"] = np.arange(40, dtype=np.uint16) % 12


def fake_text(root, _):
    """Texts in folders: those of this repository."""
    root.mkdir()
    for path in (ROOT / "docs").glob("*.md"):
        (root / path.name).write_text(path.read_text())


def fake_nmnist(root, _):
    """Files of 5 bytes an event: x, y, polarity and time."""
    draw = np.random.default_rng(0)
    for part in ("Train", "Test"):
        for digit in range(10):
            folder = root / f"NMNIST/{part}/{digit}"
            folder.mkdir(parents=True)
            for number in range(4):
                t, p = np.sort(draw.integers(0, 60_000, 5000)), draw.integers(0, 2, 5000)
                x, y = draw.integers(10, 20, (2, 5000))  # so many in so small a place that an untrained net fires
                content = np.stack([x, y, p << 7, t >> 8, t & 255], 1).astype(np.uint8)
                (folder / f"{number:05d}.bin").write_bytes(content.tobytes())


def fake_dvs_gesture(root, _):
    """Arrays of x, y, polarity and time in ms, as tonic has them."""
    draw = np.random.default_rng(0)
    for part, users in (("Train", (1, 2, 3)), ("Test", (24,))):
        for user in users:
            folder = root / f"DVSGesture/ibmGesture{part}/user{user:02d}_lab"
            folder.mkdir(parents=True)
            for label in range(11):
                np.save(folder / f"{label}.npy", draw.integers(0, (30, 30, 2, 6000), (10_000, 4)).astype(np.float64))


def fake_cifar10_dvs(root, _):
    """AER-DAT2.0: lines of text, then addresses of 15 bits, and times."""
    draw = np.random.default_rng(0)
    for name in ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"):
        folder = root / f"CIFAR10DVS/{name}"
        folder.mkdir(parents=True)
        for number in range(5):
            pairs = np.stack([draw.integers(0, 2**15, 200), np.sort(draw.integers(0, 10**6, 200))], 1)
            (folder / f"cifar10_{name}_{number}.aedat").write_bytes(b"#!AER-DAT2.0\r\n" + pairs.astype(">u4").tobytes())


def fake_ecg(root, _):
    """Windows of the length of the files, no two of one record."""
    root.mkdir()
    for split in ("train", "test"):
        label = np.arange(8)[:, None] + np.arange(1301) // 50
        x = np.random.default_rng(0).integers(0, 2, (8, 1301, 4), dtype=np.int16)
        content = {"x": x, "y": np.eye(6, dtype=np.uint8)[label % 6], "max_i": np.full((8, 1), 1301)}
        savemat(root / f"QTDB_{split}.mat", content)


def fake_places(root, _):
    """Traverses of 801 frames, small images under the same names, of which every eighth is a picture."""
    draw = np.random.default_rng(0)
    for season in ("spring", "summer", "fall", "winter"):
        (root / season).mkdir(parents=True)
        for number in range(0, 801, 8):
            blocks = 255 * draw.integers(0, 2, (7, 7), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
            image = Image.fromarray(blocks)
            image.save(root / season / f"images-{number:05d}.png")
            for other in range(number + 1, number + 8):
                (root / season / f"images-{other:05d}.png").touch()


FAKES = {
    "cifar10": fake_cifar10,
    "cifar10_dvs": fake_cifar10_dvs,
    "dvs_gesture": fake_dvs_gesture,
    "ecg": fake_ecg,
    "event_folder": fake_event_folder,
    "fashion_mnist": fake_fashion_mnist,
    "image_folder": fake_images,
    "nmnist": fake_nmnist,
    "places": fake_places,
    "shd": lambda root, _: fake_heidelberg(root, "shd", ("train", "test"), 20),
    "speech_commands": fake_speech_commands,
    "spoken_digits": fake_spoken_digits,
    "ssc": lambda root, _: fake_heidelberg(root, "ssc", ("train", "valid", "test"), 35),
    "text": fake_text,
}
SMALLER = {  # what else would take minutes
    "cifar10_dvs": ["--model.model", "vggsnn_tiny", "--data.size", "16"],
    "dvs_gesture": ["--model.model", "sew_dvs_tiny", "--data.size", "32"],
}


def published(name, directory, classes, chans, size, **options):
    """A checkpoint with random weights, as a teacher or a student to fine-tune."""
    model = zoo.create_model(name, num_classes=classes, in_chans=chans, **options)
    model.pretrained_cfg.update(input_size=(chans, size, size), mean=(0.5,) * chans, std=(0.25,) * chans)
    for _ in range(80):  # until the statistics of the norms let every layer fire
        model(torch.randn(4, chans, size, size))
    zoo.publish(model, directory / f"{name}.fake")
    return f"local-dir:{directory}/{name}.fake"


def published_teacher(dataset, directory, chans, size):
    """A checkpoint with random weights that takes the data."""
    if dataset == "text":
        model = zoo.create_model("spikegpt_tiny")
        zoo.publish(model, directory / "spikegpt_tiny.fake", golden_input=torch.randint(256, (32, 2)))
        return f"local-dir:{directory}/spikegpt_tiny.fake"
    name = "test_resnet" if dataset.endswith("digits") else "cifar_resnet20"
    return published(name, directory, 100 if dataset == "places" else 10, chans, size)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
@pytest.mark.filterwarnings("ignore:.*did not fire once")  # on noise, after two batches
def test_recipe_runs(recipe, tmp_path, monkeypatch):
    dataset = recipe.parent.name
    settings = yaml.safe_load(recipe.read_text())
    inputs = {
        "digits": (1, 8),
        "event_digits": (2, 34),
        "event_folder": (2, 32),
        "fashion_mnist": (1, 28),
        "places": (1, 28),
    }
    chans, size = inputs.get(dataset, (3, 32))
    changes = ["--run", str(tmp_path / "run"), "--trainer.fast_dev_run", "2", "--data.batch_size", "8"]
    if dataset in FAKES:
        FAKES[dataset](tmp_path / "data", monkeypatch)
        changes += ["--data.root", str(tmp_path / "data"), "--data.num_workers", "0"]
    if recipe.stem == "finetune":
        changes += ["--model.model", published("spiking_vgg_tiny", tmp_path, 10, chans, size)]
    for key in ("student", "model"):
        if settings["model"]["init_args"].get(key, "").startswith("runs/"):
            soft = {"name": "if", "v_reset": None, "v_init": 0.5}  # as a conversion makes it
            changes += [f"--model.{key}", published("spiking_pool_vgg_tiny", tmp_path, 10, chans, size, neuron=soft)]
    if "teacher" in settings["model"]["init_args"]:
        changes += ["--model.teacher", published_teacher(dataset, tmp_path, chans, size)]
    main(["fit", "--config", str(recipe), *changes, *SMALLER.get(dataset, [])])


def test_recipe_saves_memory(tmp_path, capsys, monkeypatch):
    ran = []
    monkeypatch.setattr("zoo.model.recompute", lambda block, x, model: ran.append(block) or block(x))
    recipe = str(ROOT / "configs/digits/sew_resnet_ce.yaml")
    fit = ["fit", "--config", recipe, "--trainer.fast_dev_run", "2", "--model.save_memory", "true", "--run"]
    main([*fit, str(tmp_path / "run")])
    assert ran
    with pytest.raises(SystemExit):
        main([*fit, str(tmp_path / "other"), "--model.objectives", '[{"class_path": "TET"}]', "--model.sltt", "{}"])
    assert "Choose one: sltt" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recipe_says_what_to_expect(recipe):
    text = recipe.read_text()
    header = text[: text.index("seed_everything")]
    for key in ("Command", "Hardware", "Expected"):
        assert re.search(rf"^# {key}: +\S", header, re.M), f"{recipe.name} does not state: {key}"
    assert f"configs/{recipe.parent.name}/{recipe.name}" in header
    assert max(map(len, text.splitlines())) <= 120


def test_recipe_names_its_own_run():
    for recipe in RECIPES:
        settings = yaml.safe_load(recipe.read_text())
        if recipe.stem != "finetune":
            assert settings["run"] == f"runs/{recipe.parent.name}/{recipe.stem}"
