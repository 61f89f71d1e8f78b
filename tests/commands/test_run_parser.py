"""Bad input, before any training."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CE = ["fit", "--config", str(ROOT / "configs/digits/sew_resnet_ce.yaml"), "--run", "unused"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--model.model", "sew_resnet_tinny"], ["Unknown model 'sew_resnet_tinny'", "'sew_resnet_tiny'"]),
        (["--model.model_args", '{"num_steps": 0}'], ["num_steps", "found 0"]),
        (["--model.model", "spiking_vgg11"], ["at least 32x32", "8x8"]),
        (["--model.objectives", '[{"class_path": "LogitKD"}]'], ["LogitKD needs a teacher"]),
        (["--model.objectives", '[{"class_path": "LogitKDD"}]'], ["LogitKDD", "Did you mean 'LogitKD'"]),
        (["--data", "NMNISTDataModule", "--data.representation", "{class_path: Frame}"], ["Did you mean 'Frames'"]),
        (["--data", "NMNISTDataModule", "--data.filters", "[{class_path: Denois}]"], ["Did you mean 'Denoise'"]),
        (["--data", "DigitDataModule"], ["DigitDataModule", "Did you mean 'DigitsDataModule'"]),
        (["--data.batch_size", "0"], ["batch_size", "at least 1"]),
        (["--model.modle", "x"], ["modle", "snnzoo fit --model.help CLASS"]),
        (["--trainer.max_epochs", "many"], ["trainer.max_epochs", "<class 'int'>", "many"]),
    ],
)
def test_bad_input(changes, words, fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = " ".join(fails([*CE, *changes]).split())
    assert all(word in message for word in words), message
    assert not any(word in message for word in ("Namespace", "NoneType", "Subtypes", "Union")), message
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(
    ("command", "recipe", "words"),
    [
        ("fit", "configs/digits/spiking_vgg_lader.yaml", "the closest is configs/digits/spiking_vgg_ladder.yaml"),
        ("ladder", "digits/spiking_vgg_lader.yml", "the closest is configs/digits/spiking_vgg_ladder.yaml"),
        ("fit", "configs", "one is configs/digits/sew_resnet_ce.yaml"),
    ],
)
def test_a_missing_recipe_is_named_with_the_closest(command, recipe, words, monkeypatch, fails):
    monkeypatch.chdir(ROOT)
    assert fails([command, "--config", recipe]).startswith(f"error: There is no recipe {recipe}; {words}.\n")


@pytest.mark.parametrize(("args", "missing"), [([], "run"), (["--run", "x"], "data, model")])
def test_a_run_without_a_recipe_is_told_of_one(args, missing, monkeypatch, fails):
    monkeypatch.chdir(ROOT)
    message = fails(["fit", *args])
    assert f"No {missing} given. A recipe gives all: --config configs/digits/sew_resnet_ce.yaml." in message


@pytest.mark.parametrize("value", ["true", "2.5"])
def test_sltt_says_what_it_takes(value, fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = fails([*CE, "--model.sltt", value])
    assert f"sltt takes its options, found {value}: {{}} learns from all steps, {{k: 2}} from 2 of them" in message
    assert "Unknown class" not in message


def test_missing_data_is_named(tmp_path, fails, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = str(ROOT / "configs/fashion_mnist/sew_resnet8_ce.yaml")
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    message = fails(["fit", "--config", recipe, "--data.root", str(tmp_path / "nothing")])
    assert "train-images-idx3-ubyte" in message


def refuse(*_, **__):
    raise OSError("no network here")
