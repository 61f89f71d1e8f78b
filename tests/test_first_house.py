"""Files made by the code of the first house are read by today's: see tests/data/first_house/README.md."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import zoo
from cli import main
from commands.run import RunCLI

HOUSE = Path(__file__).parent / "data/first_house"
PUBLISHED = "registry/sew_resnet_tiny.ce_digits"
RUNS = sorted(path.name for path in (HOUSE / "runs").iterdir())
FAMILIES = {path.stem: path for path in sorted((HOUSE / "recipes").glob("*.yaml"))}


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A copy of the files, as the working directory: their paths are relative to it."""
    shutil.copytree(HOUSE, tmp_path / "house")
    monkeypatch.chdir(tmp_path / "house")
    return tmp_path / "house"


def test_a_published_checkpoint_is_whole_and_gives_its_golden_logits(house):
    report = zoo.verify(PUBLISHED)
    assert (report.num_samples, report.reproduced, report.spiking_layers) == (8, 8, 6)
    path = zoo.pull("sew_resnet_tiny.ce_digits", registry="registry", dest="copy")
    golden = load_file(path / "golden.safetensors")
    with torch.no_grad():
        logits = zoo.create_model(PUBLISHED).eval()(golden["input"])
    torch.testing.assert_close(logits, golden["logits"], atol=1e-4, rtol=0)


def test_the_weights_of_a_run_are_those_that_were_published(house):
    run, published = zoo.load_run("runs/student_ce"), zoo.create_model(PUBLISHED)
    assert zoo.describe(run) == zoo.describe(published)
    weights = published.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in run.state_dict().items())
    assert type(zoo.create_model("runs/student_bkd/checkpoints/last.ckpt")) is type(run)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_tested_with_the_numbers_of_then(house, name):
    run = house / "runs" / name
    before = json.loads((run / "results.json").read_text())
    (run / "results.json").unlink()
    main(["test", "--config", f"runs/{name}/config.yaml"])
    after = json.loads((run / "results.json").read_text())
    assert after["checkpoint"] == before["checkpoint"]
    assert after["metrics"].keys() == before["metrics"].keys()
    for key, value in before["metrics"].items():
        assert after["metrics"][key] == pytest.approx(value, rel=1e-3, abs=1e-3), key


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_published(house, name):
    main(["publish", f"runs/{name}", f"new/sew_resnet_tiny.{name}"])
    published = house / "new" / f"sew_resnet_tiny.{name}"
    assert zoo.verify(str(published)).reproduced == 8
    before = json.loads((house / "runs" / name / "results.json").read_text())
    after = json.loads((published / "results.json").read_text())
    assert after["metrics"] == before["metrics"]
    if name == "student_ce":  # everything but the card, whose words may change
        for file in ("model.safetensors", "golden.safetensors", "recipe.yaml", "config.json"):
            assert (published / file).read_bytes() == (house / PUBLISHED / file).read_bytes(), file


@pytest.mark.parametrize("name", RUNS)
def test_an_interrupted_run_goes_on(house, name):
    """It was stopped when the second of two epochs began; the optimiser goes on from its state."""
    last = house / f"runs/{name}/checkpoints/last.ckpt"
    before = torch.load(last, weights_only=True)
    main(["fit", "--config", f"runs/{name}/config.yaml", "--ckpt_path", "last"])
    after = torch.load(last, weights_only=True)
    assert (before["epoch"], after["epoch"]) == (0, 1)
    assert after["global_step"] == 2 * before["global_step"]
    assert after["state_dict"].keys() == before["state_dict"].keys()
    states = [checkpoint["optimizer_states"][0]["state"] for checkpoint in (before, after)]
    assert states[0].keys() == states[1].keys()
    assert all("step" not in new or new["step"] == 2 * states[0][key]["step"] for key, new in states[1].items())


def parsed(recipe):
    """What today's command line makes of a recipe, before anything is read or created."""

    class Parsed(Exception):
        pass

    class Parsing(RunCLI):
        def instantiate_classes(self):
            raise Parsed(self.recipe)

    with pytest.raises(Parsed) as found:
        Parsing(["fit", "--config", str(recipe)])
    return yaml.safe_load(str(found.value))


def short_names(value):
    """A recipe in which a class is named by the last part of its path, because modules may move."""
    if isinstance(value, dict):
        return {
            key: short_names(entry).rpartition(".")[2] if key == "class_path" else short_names(entry)
            for key, entry in value.items()
        }
    return [short_names(entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recipe_means_what_it_meant(family, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = yaml.safe_load(FAMILIES[family].read_text())
    after = parsed(FAMILIES[family])
    assert_kept(short_names(before), short_names(after), family)


def assert_kept(before, after, key):
    """Every value of the old recipe is in the new one, which may have options more."""
    if isinstance(before, dict):
        assert before.keys() <= after.keys(), key
        for name, value in before.items():
            assert_kept(value, after[name], f"{key}.{name}")
    elif isinstance(before, list):
        assert len(before) == len(after), key
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            assert_kept(old, new, f"{key}[{index}]")
    else:
        assert after == before, key
