import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import zoo
from cli import RUN_COMMANDS, VERBS, events_as, main

ROOT = Path(__file__).parents[1]


@pytest.fixture
def registry(tmp_path):
    """A registry that holds one (untrained) student."""
    import torch

    model = zoo.create_model("spiking_vgg_tiny", num_classes=10, in_chans=1, num_steps=2)
    model.pretrained_cfg.update(input_size=(1, 8, 8), mean=(0.5,), std=(0.25,))
    for _ in range(80):  # until the statistics of the norms let every layer fire
        model(torch.randn(8, 1, 8, 8))
    zoo.publish(model, tmp_path / "registry/spiking_vgg_tiny.noise")
    return str(tmp_path / "registry")


def fails(args, capsys):
    """The message of a command that must fail."""
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_overview_names_every_command(capsys):
    main([])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in RUN_COMMANDS | VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert VERBS[verb].__doc__.splitlines()[0].split(":")[0] in " ".join(capsys.readouterr().out.split())


def test_help_of_fit(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--help"])
    assert stop.value.code == 0
    assert "--run" in capsys.readouterr().out


def test_help_is_quick():
    """The overview must not wait for torch."""
    code = "import sys, cli; cli.main([]); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_unknown_command_names_the_closest(capsys):
    assert "Unknown command 'tset'. Did you mean 'test'" in fails(["tset"], capsys)


def test_list(registry, capsys):
    main(["list", "--filter", "sew_resnet?8"])
    assert capsys.readouterr().out.split() == ["sew_resnet18"]
    main(["list", "--pretrained", "--registry", registry])
    assert capsys.readouterr().out.split() == ["spiking_vgg_tiny.noise"]


def test_info(registry, capsys):
    main(["info", "sew_resnet18"])
    shown = capsys.readouterr().out
    assert "11,689,512" in shown
    assert "None" not in shown
    main(["info", "spiking_vgg_tiny.noise", "--registry", registry])
    shown = capsys.readouterr().out
    assert "stages.2" in shown
    assert "(1, 8, 8)" in shown


def test_pull_and_verify(registry, tmp_path, capsys):
    main(["verify", "spiking_vgg_tiny.noise", "--registry", registry])
    assert "is whole" in capsys.readouterr().out
    main(["pull", "spiking_vgg_tiny.noise", "--registry", registry, "--dest", str(tmp_path / "copy")])
    assert (tmp_path / "copy/model.safetensors").exists()
    (tmp_path / "copy/model.safetensors").write_bytes(b"x")
    assert "model.safetensors was altered" in fails(["verify", f"local-dir:{tmp_path}/copy"], capsys)


def test_report(registry, capsys):
    main(["report", "spiking_vgg_tiny.noise", "--registry", registry])
    shown = capsys.readouterr().out
    for words in ("effective ACs", "4.6 pJ a MAC", "encoder.conv", "8 golden samples"):
        assert words in shown
    main(["report", "test_resnet"])
    assert "Untrained" in capsys.readouterr().out


def test_report_counts_spike_trains(tmp_path, capsys):
    import torch

    model = zoo.create_model("eventprop_mlp_tiny", num_steps=40)
    zoo.publish(model, tmp_path / "eventprop_mlp_tiny.noise", golden_input=(torch.rand(40, 6, 5) < 0.3).float())
    main(["report", "eventprop_mlp_tiny.noise", "--registry", str(tmp_path)])
    assert "measured on 6 golden samples" in capsys.readouterr().out


def test_report_shows_the_early_exit_of_a_test(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    recipe, run = str(ROOT / "configs/digits/ladder.yaml"), str(tmp_path / "run")
    main(["fit", "--config", recipe, "--run", run, "--trainer.max_epochs", "1", "--data.batch_size", "128"])
    main(["test", "--config", f"{run}/config.yaml"])
    curve = json.loads((tmp_path / "run/results.json").read_text())["early_exit"]
    capsys.readouterr()
    main(["report", run])
    shown = capsys.readouterr().out
    assert "early exit, on the test split" in shown
    tested = json.loads((tmp_path / "run/results.json").read_text())["measurement"]
    assert f"The test measured {tested['energy_uj']['effective']:.3f} µJ (effective) on 256 samples" in shown
    lines = [line.split() for line in shown.replace("│", " ").splitlines()]
    encoder = 4.6e-6 * tested["layers"][0]["macs"]
    for score, rows in curve.items():
        for row in rows:  # five steps, of which the encoder has no part
            energy = encoder + (tested["energy_uj"]["effective"] - encoder) * row["mean_steps"] / 5
            cells = [f"{row['threshold']:g}", f"{row['acc']:.2%}", f"{row['mean_steps']:.2f}", f"{energy:.3f}", "µJ"]
            assert [score, *cells] in lines
    main(["publish", run, str(tmp_path / "registry/spiking_vgg_tiny.digits")])
    main(["report", f"local-dir:{tmp_path}/registry/spiking_vgg_tiny.digits"])
    assert "early exit, on the test split" in capsys.readouterr().out


def test_draw(registry, tmp_path, capsys):
    main(["draw", "spiking_vgg_tiny.noise", "--registry", registry])
    printed = capsys.readouterr().out
    assert "flowchart TD" in printed
    assert "LIF" in printed
    main(["draw", "spiking_vgg_tiny.noise", "--registry", registry, "--output", str(tmp_path / "vgg.mmd")])
    assert (tmp_path / "vgg.mmd").read_text(encoding="utf-8") == printed
    for name, file in (("sew_resnet_tiny", "x.png"), ("sew_*tiny", "x.mmd")):
        assert "output must end in .md" in fails(["draw", name, "--output", str(tmp_path / file)], capsys)
        assert not (tmp_path / file).exists()
    assert "Did you mean 'sew_resnet_tiny'" in fails(["draw", "sew_resnet_tinny"], capsys)


def test_drawings_of_all_tiny_students(tmp_path):
    main(["draw", "*tiny", "--output", str(tmp_path / "wiring.md")])
    drawn = (tmp_path / "wiring.md").read_text(encoding="utf-8")
    assert drawn == (ROOT / "tests/zoo/data/wiring.md").read_text(encoding="utf-8"), "run `make wiring`"


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
    recipe = str(ROOT / "configs/event_folder/student_ce.yaml")
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
    assert events_as("sew_dvs_tiny", frames, None) == {"data.size": list(frames.pretrained_cfg["input_size"][1:])}
    assert events_as("spikepoint_tiny", clouds, None) == {}


def test_data_shows_numbers_and_a_picture(tmp_path, capsys):
    main(["data", "yin_yang", "--show", "--output", str(tmp_path / "picture.png")])
    printed = capsys.readouterr().out
    for words in ("YinYangDataModule", "[200, 5]", "5,000", "train", "val", "test", "Picture: "):
        assert words in printed
    with Image.open(tmp_path / "picture.png") as image:
        assert image.width > 500
    assert "no DataModule" in fails(["data", "nothing"], capsys)


def test_data_downloads_what_is_missing(tmp_path, capsys, monkeypatch):
    def fetch(data):
        raise OSError("no network here")

    monkeypatch.setattr("datamodules.nmnist.NMNISTDataModule.fetch", fetch)
    assert "no network here" in fails(["data", "nmnist", "--root", str(tmp_path)], capsys)


# Bad input, before any training ---------------------------------------------------------------------------------------

CE = ["fit", "--config", str(ROOT / "configs/digits/student_ce.yaml"), "--run", "unused"]


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
def test_bad_input(changes, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = " ".join(fails([*CE, *changes], capsys).split())
    assert all(word in message for word in words), message
    assert not any(word in message for word in ("Namespace", "NoneType", "Subtypes", "Union")), message
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(
    ("command", "recipe", "words"),
    [
        ("fit", "configs/digits/lader.yaml", "the closest is configs/digits/ladder.yaml"),
        ("ladder", "digits/lader.yml", "the closest is configs/digits/ladder.yaml"),
        ("fit", "configs", "one is configs/digits/student_ce.yaml"),
    ],
)
def test_a_missing_recipe_is_named_with_the_closest(command, recipe, words, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert fails([command, "--config", recipe], capsys).startswith(f"error: There is no recipe {recipe}; {words}.\n")


@pytest.mark.parametrize(("args", "missing"), [([], "run"), (["--run", "x"], "data, model")])
def test_a_run_without_a_recipe_is_told_of_one(args, missing, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    message = fails(["fit", *args], capsys)
    assert f"No {missing} given. A recipe gives all: --config configs/digits/student_ce.yaml." in message


@pytest.mark.parametrize("value", ["true", "2.5"])
def test_sltt_says_what_it_takes(value, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = fails([*CE, "--model.sltt", value], capsys)
    assert f"sltt takes its options, found {value}: {{}} learns from all steps, {{k: 2}} from 2 of them" in message
    assert "Unknown class" not in message


def test_missing_data_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = str(ROOT / "configs/fashion_mnist/student_ce.yaml")
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    message = fails(["fit", "--config", recipe, "--data.root", str(tmp_path / "nothing")], capsys)
    assert "train-images-idx3-ubyte" in message


def refuse(*_, **__):
    raise OSError("no network here")
