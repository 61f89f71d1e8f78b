"""Recipes that Python carries out, and the switches of a run."""

from pathlib import Path

import pytest
import torch
import yaml

from cli import main
from commands.fit import check_recipes, parse_recipe, run_recipe
from commands.recipes import read_recipe
from commands.run import switches

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "configs/digits/sew_resnet_ce.yaml"
TINY = ["--model.model", "spiking_vgg_tiny", "--model.model_args.num_steps", "2", "--data.batch_size", "256"]


@pytest.mark.filterwarnings("ignore:.*did not fire once")  # after five batches
def test_a_recipe_from_python_is_the_run_of_the_command_line(tmp_path):
    words = ["--config", str(RECIPE), *TINY, "--trainer.max_epochs", "1"]
    main(["fit", *words, "--run", str(tmp_path / "words")])
    recipe = read_recipe(RECIPE)
    recipe["run"] = str(tmp_path / "dict")
    recipe["model"]["init_args"] |= {"model": "spiking_vgg_tiny"}
    recipe["model"]["init_args"]["model_args"] = {
        **recipe["model"]["init_args"].get("model_args", {}),
        "num_steps": 2,
    }
    recipe["data"]["init_args"] = {**recipe["data"].get("init_args", {}), "batch_size": 256}
    recipe["trainer"]["max_epochs"] = 1
    run_recipe("fit", recipe)
    records = [yaml.safe_load((tmp_path / name / "config.yaml").read_text()) for name in ("words", "dict")]
    assert records[0] | {"run": ""} == records[1] | {"run": ""}
    states = [
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("words", "dict")
    ]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())

    parsed = parse_recipe([*words, "--run", str(tmp_path / "words")])
    assert parsed == records[0], "what is parsed is what is recorded"
    run_recipe("test", parsed | {"ckpt_path": "nothing.ckpt", "overwrite": True})  # options of an earlier call
    assert (tmp_path / "words/results.json").exists()
    with pytest.raises(FileExistsError, match="already holds a run"):
        run_recipe("fit", parsed)

    before = (tmp_path / "words/checkpoints/last.ckpt").read_bytes()
    main(["fit", *words, "--run", str(tmp_path / "words"), "--overwrite", "--seed_everything", "1"])
    assert (tmp_path / "words/checkpoints/last.ckpt").read_bytes() != before


def test_parsing_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = parse_recipe(["--config", str(RECIPE), "--model.freeze_backbone", "--trainer.benchmark"])
    assert recipe["model"]["init_args"]["freeze_backbone"] is True
    assert recipe["trainer"]["benchmark"] is True
    assert "ckpt_path" not in recipe
    assert not list(tmp_path.iterdir())


def test_switches_of_a_run():
    expected = {"--overwrite", "--model.freeze_backbone", "--model.init_args.pretrained", "--data.augment"}
    assert expected <= switches()
    assert not {"--run", "--trainer.max_epochs", "--trainer.accelerator", "--model.model"} & switches()


def test_a_recipe_must_exist(tmp_path):
    check_recipes(["--config", str(RECIPE), "--model.x", "--config"])
    check_recipes(["--config", "{run: x}", "--run", "y"])
    for words in (["--config", "nothing.yaml"], ["-c", "nothing.yaml"], ["--config=nothing.yaml"]):
        with pytest.raises(FileNotFoundError, match=r"There is no recipe nothing.yaml"):
            check_recipes(words)
