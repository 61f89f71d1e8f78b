"""Whole ladders on the digits, of a student of two layers; one of them is killed."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

import zoo
from cli import main
from commands.arguments import call
from commands.ladder import ladder as ladder_command
from commands.ladder_rungs import refuse_silence
from datamodules import DigitsDataModule
from zoo.model import spiking_neurons
from zoo.registry.results import Results
from zoo.registry.runs import Run

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "configs/digits/spiking_vgg_ladder.yaml")
FIT_TEACHER = ["fit", "--config", str(ROOT / "configs/digits/teacher.yaml"), "--trainer.max_epochs=1", "--run"]
TINY = ["--model.model_args.stages", "[[8], [16]]", "--data.batch_size", "128"]


def ladder(run, *changes, steps="2,1", epochs="1"):
    main(["ladder", "--config", RECIPE, "--run", str(run), "--steps", steps, "--epochs", epochs, *TINY, *changes])


def state(run, name="best"):
    return torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def climbed(tmp_path_factory):
    """A ladder of three rungs, made once and only read."""
    run = tmp_path_factory.mktemp("ladder")
    with torch.random.fork_rng(devices=[]):
        ladder(run, steps="3,2,1", epochs="2,1,1")
    return run


def test_every_rung_is_a_run_that_starts_from_the_one_above(climbed):
    for steps, epochs in ((3, 2), (2, 1), (1, 1)):
        run = climbed / f"T{steps}"
        checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
        assert checkpoint["epoch"] + 1 == epochs
        assert Run(str(run)).results().num_steps == steps
        assert zoo.create_model(str(run)).num_steps == steps
        recipe = yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]
        assert recipe["model"] == ("spiking_vgg_tiny" if steps == 3 else str(climbed / f"T{steps + 1}"))
        assert recipe["model_args"]["num_steps"] == steps
        # A fresh optimiser: it counts the steps of this rung only.
        optimizer = checkpoint["optimizer_states"][0]["state"].values()
        assert {int(entry["step"]) for entry in optimizer} == {epochs * 10}


def test_before_is_the_rung_above_shown_fewer_steps(climbed):
    data = DigitsDataModule(batch_size=128)
    data.setup("test")
    for steps in (2, 1):
        model = zoo.create_model(str(climbed / f"T{steps + 1}"), num_steps=steps).eval()
        with torch.no_grad():
            right = [(model(x).argmax(-1) == y).float() for x, y in data.test_dataloader()]
        recorded = json.loads((climbed / f"T{steps}/start/results.json").read_text())["metrics"]["acc"]
        assert torch.cat(right).mean().item() == pytest.approx(recorded, abs=1e-6)


def test_the_full_state_goes_down(climbed):
    """Thresholds and leaks are learned, and a rung begins with those of the one above: one epoch moves them little."""
    names = {key for key in state(climbed / "T3") if key.endswith((".leak", ".v_threshold"))}
    assert len(names) == 4
    for name in names:
        first, second = (state(climbed / run)[name].item() for run in ("T3", "T2"))
        initial = 0.9 if name.endswith("leak") else 1.0
        assert first != initial
        assert abs(second - first) < 0.05
        assert state(climbed / "T1")[name] <= (1 if name.endswith("leak") else 10)
    leaks = [name for name in names if name.endswith(".leak")]
    assert all(state(climbed / "T1")[name] == state(climbed / "T2")[name] for name in leaks), "T = 1 has no past"


def test_the_table(climbed, capsys):
    before = {path: path.stat().st_mtime_ns for path in climbed.rglob("*.ckpt")}
    ladder(climbed, steps="3,2,1", epochs="2,1,1")  # finished: nothing is trained again
    assert {path: path.stat().st_mtime_ns for path in climbed.rglob("*.ckpt")} == before
    shown = " ".join(capsys.readouterr().out.split())
    rungs = json.loads((climbed / "ladder.json").read_text())["rungs"]
    assert [rung["num_steps"] for rung in rungs] == [3, 2, 1]
    assert rungs[0]["acc_before"] is None
    for rung in rungs:
        results = Run(str(climbed / f"T{rung['num_steps']}")).results()
        assert rung["acc"] == results.metrics["acc"]
        assert rung["energy_uj"] == pytest.approx(results.measurement["energy_uj"]["effective"], abs=1e-6)
        for words in (f"{rung['acc']:.2%}", f"{rung['firing_rate']:.3f}", f"{rung['energy_uj']:.2f}"):
            assert words in shown
    assert "4.6 pJ a MAC, 0.9 pJ an AC (45 nm fp32)" in shown
    assert "binary activations" in shown


def test_a_ladder_can_be_shorter_or_other_only_elsewhere(climbed, capsys):
    ladder(climbed, steps="3,2", epochs="2,1")
    ladder(climbed, steps="3,2,1", epochs="2,1,1")
    capsys.readouterr()
    for changes, words in (
        ({"steps": "3,1", "epochs": "2,1"}, "steps was [3, 2, 1], now [3, 1]"),
        ({"steps": "3,2,1", "epochs": "2,2,1"}, "epochs was [2, 1, 1], now [2, 2, 1]"),
    ):
        with pytest.raises(SystemExit):
            ladder(climbed, **changes)
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        ladder(climbed, "--kd", "true", steps="3,2,1", epochs="2,1,1")
    assert "holds another ladder: kd was False, now True" in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_an_interrupted_ladder_goes_on_to_the_same_result(tmp_path, start, how):
    """Interrupted in the training of its second rung."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    ladder(whole, epochs="1,4")
    command = ["ladder", "--config", RECIPE, "--run", str(broken), "--steps", "2,1", "--epochs", "1,4", *TINY]
    process = start([sys.executable, str(ROOT / "cli.py"), *command], stdout=subprocess.DEVNULL, stderr=-3)
    last = broken / "T1/checkpoints/last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(how)
    process.wait()
    assert 0 < torch.load(last, weights_only=True)["epoch"] + 1 < 4, "the ladder was not interrupted in its middle"
    first = (broken / "T2/checkpoints/last.ckpt").stat().st_mtime_ns

    ladder(broken, epochs="1,4")
    assert (broken / "T2/checkpoints/last.ckpt").stat().st_mtime_ns == first, "a finished rung stays as it is"
    for name in ("best", "last"):
        expected, found = state(whole / "T1", name), state(broken / "T1", name)
        assert expected.keys() == found.keys()
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
    rungs = [json.loads((run / "ladder.json").read_text())["rungs"] for run in (whole, broken)]
    assert rungs[0] == rungs[1]


def test_distillation_from_the_rung_above(tmp_path):
    ladder(tmp_path, "--kd")
    recipe = yaml.safe_load((tmp_path / "T1/config.yaml").read_text())["model"]
    assert recipe["class_path"].endswith("DistillationModule")
    init = recipe["init_args"]
    assert init["student"] == init["teacher"] == str(tmp_path / "T2")
    assert [term["class_path"].rsplit(".", 1)[1] for term in init["objectives"]] == ["CrossEntropy", "LogitKD"]
    results = Run(str(tmp_path / "T1")).results()
    # The teacher answers in its own two steps, and as well as when it was tested.
    assert results.metrics["teacher_acc"] == pytest.approx(Run(str(tmp_path / "T2")).results().metrics["acc"], abs=1e-6)
    assert not [key for key in state(tmp_path / "T1") if key.startswith("teacher.")]


def test_a_recipe_with_a_teacher_keeps_its_own(tmp_path):
    teacher = tmp_path / "teacher"
    main([*FIT_TEACHER, str(teacher)])
    settings = yaml.safe_load(Path(RECIPE).read_text())
    settings["model"]["class_path"] = "DistillationModule"
    init = settings["model"]["init_args"]
    init["student"], init["student_args"] = init.pop("model"), init.pop("model_args") | {"stages": [[8], [16]]}
    init["teacher"], init["objectives"] = str(teacher), [{"class_path": "CrossEntropy"}, {"class_path": "LogitKD"}]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    for kd, expected in (("false", str(teacher)), ("true", str(tmp_path / "true/T2"))):
        options = ["--run", str(tmp_path / kd), "--steps", "2,1", "--epochs", "1", "--kd", kd, "--data.batch_size=128"]
        main(["ladder", "--config", str(tmp_path / "recipe.yaml"), *options])
        found = yaml.safe_load((tmp_path / kd / "T1/config.yaml").read_text())["model"]["init_args"]
        assert found["teacher"] == expected
        assert found["student_args"]["num_steps"] == 1


def test_silence_stops_the_ladder_and_new_thresholds_help(tmp_path, capsys):
    """The rung above is changed so that its second layer falls silent."""
    ladder(tmp_path, steps="2")
    layer = "model.stages.1.0.act.v_threshold"
    for name in ("best", "last"):
        path = tmp_path / f"T2/checkpoints/{name}.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["state_dict"][layer].fill_(50.0)
        torch.save(checkpoint, path)
    main(["test", "--config", str(tmp_path / "T2/config.yaml")])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        ladder(tmp_path)
    message = capsys.readouterr().err
    for words in ("Spikes vanish at T = 1", "stages.1.0.act (0.00%) fire below 0.50%", "--recalibrate true"):
        assert words in message
    assert not (tmp_path / "T1/checkpoints").exists()
    ladder(tmp_path, "--recalibrate")
    assert "thresholds set to" in capsys.readouterr().out
    started = torch.load(tmp_path / "T1/start.ckpt", weights_only=True)["state_dict"]
    assert started[layer] < 10
    assert torch.equal(started["model.fc.weight"], state(tmp_path / "T2")["model.fc.weight"])
    assert min(Run(str(tmp_path / "T1")).results().measurement["firing_rates"].values()) > 0.005


def test_silence_is_judged_by_the_rate():
    results = Results(measurement={"firing_rates": {"a": 0.004, "b": 0.2}})
    with pytest.raises(ValueError, match=r"a \(0.40%\) fire below 0.50%"):
        refuse_silence(results, 1, 0.005)
    refuse_silence(results, 1, 0.0)


def test_a_student_without_learned_thresholds(tmp_path, capsys):
    ladder(tmp_path, "--model.model_args.neuron=lif", "--min_rate=0")
    model = zoo.create_model(str(tmp_path / "T1"))
    assert {type(neuron).__name__ for neuron in spiking_neurons(model).values()} == {"LIF"}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        ladder(tmp_path / "other", "--model.model_args.neuron=lif", "--recalibrate=true")
    assert "expected learned thresholds, found none. Choose neuron: {name: leaky}" in capsys.readouterr().err
    assert not (tmp_path / "other").exists(), "refused before the first rung"


def test_an_interrupted_ladder_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt("of one run")

    monkeypatch.setattr("commands.ladder_rungs.train", interrupt)
    with pytest.raises(SystemExit) as stop:
        ladder(tmp_path / "a b")
    assert stop.value.code == 130
    said = capsys.readouterr().err
    assert "Interrupted at T = 2." in said
    command = [
        "snnzoo",
        "ladder",
        "--config",
        RECIPE,
        "--run",
        str(tmp_path / "a b"),
        "--steps",
        "2,1",
        "--epochs",
        "1",
    ]
    assert shlex.split(said.split("Go on: ")[1]) == [*command, *TINY]


# Bad input, before any training ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--steps", "1,2,3"], "--steps: expected numbers that descend, such as 5,4,3,2,1, found 1,2,3"),
        (["--steps", "4,4,1"], "expected numbers that descend"),
        (["--steps", "4,0"], "expected integers >= 1, separated by commas, found '4,0'"),
        (["--steps", "4;2"], "found '4;2'"),
        (["--steps", ""], "found ''"),
        (["--steps", "3,2,1", "--epochs", "5,5"], "expected one number, or one for each of 3 rungs, found 5,5"),
        (["--epochs", "0"], "--epochs: expected integers >= 1"),
        (["--kd=maybe"], "--kd: expected true or false, found 'maybe'"),
        (["--min_rate", "low"], "--min_rate: expected a number, found 'low'"),
        (["--ckpt_path", "last"], "--ckpt_path is not for a ladder"),
        (["--overwrite=true"], "--overwrite=true is not for a ladder"),
        (["--overwrite"], "--overwrite is not for a ladder"),
    ],
)
def test_bad_options(changes, words):
    with pytest.raises(ValueError, match="ladder|--") as error:
        call("ladder", ladder_command, ["--config", RECIPE, *changes])
    assert words in str(error.value)


def test_bad_input_through_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no_recipe.yaml").write_text("- a list\n")
    for args, words in (
        ([], "required: config"),
        (["--config", "missing.yaml"], "missing.yaml"),
        (["--config", "no_recipe.yaml"], "is not a recipe"),
        (["--config", RECIPE, "--run", "x", "--model.modle", "y"], "modle"),
        (["--config", RECIPE, "--run", "y", "--model.model", "spiking_vgg_tinny"], "'spiking_vgg_tiny'"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["ladder", *args])
        assert stop.value.code == 2
        assert words in capsys.readouterr().err


def test_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["ladder", "--help"])
    assert stop.value.code == 0
    assert "--recalibrate" in capsys.readouterr().out


# What a rung further down could not do, before the first is trained ---------------------------------------------------


def changed_recipe(path, **init_args):
    """The recipe of the digits, of a tiny student, with other arguments of its module."""
    settings = yaml.safe_load(Path(RECIPE).read_text())
    settings["model"]["init_args"]["model_args"]["stages"] = [[8], [16]]
    settings["model"]["init_args"] |= init_args
    path.write_text(yaml.safe_dump(settings))
    return str(path)


def refused(capsys, run, recipe, *changes):
    """What is said of a ladder that is refused, and that it leaves no trace."""
    with pytest.raises(SystemExit) as stop:
        main(["ladder", "--config", recipe, "--run", str(run), "--steps", "2,1", "--epochs", "1", *changes])
    assert stop.value.code == 2
    assert not run.exists()
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("yin_yang/eventprop_mlp_sum", "eventprop_mlp_200 takes spike trains, whose T is that of the data"),
        ("digits/teacher", "test_resnet has no time steps"),
        ("digits/pool_vgg_qcfs", "pool_vgg_tiny has no time steps"),
    ],
)
def test_a_model_without_a_number_of_steps_is_refused(tmp_path, capsys, recipe, words):
    message = refused(capsys, tmp_path / "run", str(ROOT / f"configs/{recipe}.yaml"))
    assert words in message
    assert "choose a spiking student of images" in message


def test_sltt_of_more_steps_than_the_last_rung_is_refused(tmp_path, capsys):
    recipe = changed_recipe(tmp_path / "recipe.yaml", sltt={"k": 2}, objectives=[{"class_path": "TET"}])
    assert "sltt learns from k = 2 steps, and --steps goes down to 1" in refused(capsys, tmp_path / "run", recipe)


def test_distillation_of_a_frozen_backbone_is_refused(tmp_path, capsys):
    recipe = changed_recipe(tmp_path / "recipe.yaml", freeze_backbone=True)
    assert "--kd true and freeze_backbone: true" in refused(capsys, tmp_path / "run", recipe, "--kd", "true")


def test_distillation_step_by_step(tmp_path):
    """SLTT needs terms of single steps, and so is the one that --kd adds."""
    recipe = changed_recipe(tmp_path / "recipe.yaml", sltt={"k": 1}, objectives=[{"class_path": "TET"}])
    ladder(tmp_path / "run", "--config", recipe, "--kd", "true")
    init = yaml.safe_load((tmp_path / "run/T1/config.yaml").read_text())["model"]["init_args"]
    assert init["sltt"]["k"] == 1
    assert [term["init_args"].get("per_step") for term in init["objectives"]][1:] == [True]


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ({"class_path": "CrossEntropy"}, "none of its objectives (CrossEntropy) learns from a teacher"),
        (
            {"class_path": "FeatureMSE", "init_args": {"student_stage": 0, "teacher_stage": 3}},
            "The teacher has no stage 3",  # test_resnet has one, and a student of two stages has not
        ),
    ],
)
def test_objectives_that_cannot_learn_from_the_rung_above(tmp_path, capsys, objective, words):
    settings = yaml.safe_load(Path(changed_recipe(tmp_path / "recipe.yaml")).read_text())
    settings["model"]["class_path"] = "DistillationModule"
    init = settings["model"]["init_args"]
    init["student"], init["student_args"] = init.pop("model"), init.pop("model_args")
    init["teacher"], init["objectives"] = str(tmp_path / "teacher"), [objective]
    main([*FIT_TEACHER, str(tmp_path / "teacher")])
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    message = refused(capsys, tmp_path / "run", str(tmp_path / "recipe.yaml"), "--kd", "true")
    assert words in message


def test_several_devices_are_refused(tmp_path, capsys):
    devices = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    message = refused(capsys, tmp_path / "run", RECIPE, *devices)
    assert "A ladder runs in one process on one device, found 2" in message
    assert "--trainer.devices 1" in message


def test_a_rejected_ladder_leaves_the_directory_free(tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    refused(capsys, run, RECIPE, "--data.batchsize=3")  # there is no such option
    with monkeypatch.context() as patched:
        patched.setattr(DigitsDataModule, "setup", missing_data)
        with pytest.raises(SystemExit):
            ladder(run, "--data.val_fraction=0.2", steps="1")
    assert "no such data" in capsys.readouterr().err
    ladder(run, steps="1")
    assert Run(str(run / "T1")).results().num_steps == 1


def missing_data(self, stage):
    """A setup that fails when the training has been asked for."""
    raise FileNotFoundError("no such data")


def test_the_table_of_a_finished_ladder_is_kept(climbed, capsys):
    before = json.loads((climbed / "ladder.json").read_text())
    assert len(before["rungs"]) == 3
    with pytest.raises(SystemExit):
        ladder(climbed, "--data.batchsize=3", steps="3,2,1", epochs="2,1,1")
    assert json.loads((climbed / "ladder.json").read_text()) == before
    ladder(climbed, steps="3,2", epochs="2,1")
    assert json.loads((climbed / "ladder.json").read_text()) == before


def test_a_recipe_that_is_no_yaml(tmp_path, capsys):
    (tmp_path / "broken.yaml").write_text("run: [runs/x\nmodel: {")
    assert "broken.yaml is not YAML" in refused(capsys, tmp_path / "run", str(tmp_path / "broken.yaml"))


def test_growing_steps_are_refused(tmp_path, capsys):
    grow = '[{"class_path": "GrowSteps", "init_args": {"steps": [1], "epochs": [1]}}]'
    message = refused(capsys, tmp_path / "run", RECIPE, "--trainer.callbacks", grow)
    assert "expected a recipe without GrowSteps" in message
