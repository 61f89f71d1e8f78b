import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

import zoo
from cli import main
from commands.finetune import events_as, our_representation

ROOT = Path(__file__).parents[2]


def test_finetune_on_a_folder(registry, tmp_path, capsys):
    for index, colour in enumerate(("dark", "light")):
        (tmp_path / "images" / colour).mkdir(parents=True)
        for number in range(12):
            Image.new("L", (12, 10), 40 + 150 * index + number).save(tmp_path / "images" / colour / f"{number}.png")
    run = tmp_path / "run"
    command = ["finetune", "spiking_vgg_tiny.noise", "--data", str(tmp_path / "images"), "--registry", registry]
    main([*command, "--run", str(run), "--epochs", "2", "--batch_size", "4"])
    tuned = zoo.create_model(str(run))
    assert tuned.num_classes == 2
    assert tuned.num_steps == 2
    assert tuned.pretrained_cfg["label_names"] == ["dark", "light"]
    assert "test/acc" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*did not fire once")  # after four batches
def test_finetune_on_recordings(tmp_path, capsys):
    """In the representation and the size of the run that is fine-tuned."""
    draw = np.random.default_rng(0)
    for label, right in (("left", 0), ("right", 16)):
        (tmp_path / "recordings" / label).mkdir(parents=True)
        for n in range(12):
            t, x, y = np.sort(draw.integers(0, 9000, 99)), right + draw.integers(0, 16, 99), draw.integers(0, 24, 99)
            x[0], y[0] = 31, 23
            np.save(tmp_path / "recordings" / label / f"{n}.npy", np.stack([t, x, y, draw.integers(0, 2, 99)], 1))
    recipe = str(ROOT / "configs/event_folder/spiking_vgg_ce.yaml")
    frames = '{"class_path": "Frames", "init_args": {"num_steps": 3, "values": "binary"}}'
    here = ["--data.root", str(tmp_path / "recordings"), "--data.batch_size", "4", "--trainer.max_epochs", "1"]
    first = ["--run", str(tmp_path / "first"), "--data.size", "16", "--data.representation", frames]
    main(["fit", "--config", recipe, *first, *here])
    command = ["finetune", str(tmp_path / "first"), "--data", str(tmp_path / "recordings"), "--epochs", "1"]
    main([*command, "--run", str(tmp_path / "second")])
    settings = yaml.safe_load((tmp_path / "second/config.yaml").read_text())["data"]["init_args"]
    assert settings["representation"]["init_args"] == {
        "by": "time",
        "num_steps": 3,
        "values": "binary",
        "window_ms": None,
    }
    assert settings["size"] == [16, 16]
    results = json.loads((tmp_path / "second/results.json").read_text())
    assert results["num_steps"] == 3  # of the frames; the student shows still images for 4
    assert {name for name in results["metrics"] if name.startswith("acc_at")} == {f"acc_at_{t}" for t in (1, 2, 3)}
    assert zoo.create_model(str(tmp_path / "second")).pretrained_cfg["label_names"] == ["left", "right"]
    assert "test/acc" in capsys.readouterr().out


def test_clouds_are_not_scaled_to_their_number_of_points():
    frames, clouds = (zoo.create_model(name) for name in ("sew_dvs_tiny", "spikepoint_tiny"))
    assert events_as("sew_dvs_tiny", frames, {}) == {"size": list(frames.pretrained_cfg["input_size"][1:])}
    assert events_as("spikepoint_tiny", clouds, {}) == {}


@pytest.mark.parametrize("path", ["Frames", "datamodules.Frames", "datamodules.old.Frames"])
def test_a_representation_of_ours_passes(path):
    arguments = {"num_steps": 3, "values": "binary", "window_ms": None}
    expected = {"class_path": "Frames", "init_args": arguments}
    assert our_representation("x.y", {"class_path": path, "init_args": arguments}) == expected
    assert our_representation("x.y", path) == {"class_path": "Frames", "init_args": {}}


@pytest.mark.parametrize(
    "recorded",
    [
        {"class_path": "os.system", "init_args": {"command": "x"}},
        {"class_path": "harm.Frames"},
        {"class_path": "datamodules.BaseDataModule"},
        {"class_path": "Frames", "init_args": {"values": {"class_path": "harm.Harm"}}},
        {"class_path": "Frames", "init_args": {"values": ["harm.Harm"]}},
        {"class_path": "Frames", "dict_kwargs": {"x": 1}},
        ["Frames"],
        "harm.Harm",
    ],
)
def test_nothing_of_a_stranger_is_imported(recorded):
    with pytest.raises(ValueError, match=r"^x.y: expected a recipe whose data.representation is one of Cloud, Frames"):
        our_representation("x.y", recorded)


def test_the_recipe_of_a_stranger_runs_nothing(tmp_path, monkeypatch, fails):
    """A pulled recipe names a class whose import leaves a trace."""
    (tmp_path / "harm.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')\nclass Harm: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "recordings/left").mkdir(parents=True)
    np.save(tmp_path / "recordings/left/0.npy", np.zeros((9, 4), int))
    pulled = {"data": {"init_args": {"representation": {"class_path": "harm.Harm"}}}}
    source = SimpleNamespace(model=lambda: None, recipe=lambda: pulled)
    monkeypatch.setattr("zoo.registry.sources.locate", lambda *_, **__: source)
    message = fails(["finetune", "a.b", "--data", str(tmp_path / "recordings")])
    assert "found {'class_path': 'harm.Harm'}" in message
    assert not (tmp_path / "marker").exists()
