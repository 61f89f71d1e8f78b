"""Whole runs through the command line, on the digits; the last test kills one."""

import json
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI
from torch.utils.data import Subset
from torchmetrics.classification import MulticlassAccuracy

from cli import main
from commands.run import RunCLI, find_checkpoint, next_version, training_precision
from datamodules import DigitsDataModule
from lightning_modules import ClassificationModule
from zoo.models.spiking_vgg import SpikingVGG
from zoo.registry.files import fingerprint

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "configs/digits/sew_resnet_ce.yaml")
TINY = ["--model.model", "spiking_vgg_tiny", "--model.model_args", '{"num_steps": 2}', "--data.batch_size", "128"]


def fit(run, *changes, epochs=1):
    main(["fit", "--config", RECIPE, *TINY, "--run", str(run), "--trainer.max_epochs", str(epochs), *changes])


def test_a_run_is_complete(tmp_path, capsys):
    run = tmp_path / "run"
    fit(run)
    assert (run / "config.yaml").exists()
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert (run / "plots/learning_curves.png").exists()
    assert list((run / "logs/fit_0").glob("events.out.tfevents.*"))
    assert (run / "logs/fit_0/metrics.csv").exists()
    recorded = yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]
    assert recorded["num_classes"] is recorded["in_chans"] is None  # of the data, by their link, never said twice
    assert "input_cfg" not in recorded

    assert "Epoch 1/1" in capsys.readouterr().out

    main(["test", "--config", str(run / "config.yaml")])  # the record alone repeats the test, of the best checkpoint
    results = json.loads((run / "results.json").read_text())
    lines = [line.split() for line in capsys.readouterr().out.replace("│", " ").splitlines()]
    assert ["test/acc", f"{results['metrics']['acc']:.2%}"] in lines
    energy = f"{results['measurement']['energy_uj']['effective']:.3f}"
    assert ["test/energy_uj", energy, "µJ", "per", "inference,", "effective", "convention"] in lines
    assert 0 < results["metrics"]["acc"] <= 1
    assert results["dataset"] == "Digits"
    assert results["num_steps"] == 2

    main(["predict", "--config", str(run / "config.yaml")])
    assert len((run / "predictions.csv").read_text().splitlines()) == 1 + 359
    main(["validate", "--config", str(run / "config.yaml")])
    assert "val/acc" in capsys.readouterr().out


def test_a_run_is_not_trained_over(tmp_path, capsys):
    run = tmp_path / "run"
    fit(run)
    before = (run / "checkpoints/last.ckpt").read_bytes()
    with pytest.raises(SystemExit):
        fit(run)
    assert "already holds a run" in capsys.readouterr().err
    with pytest.raises(SystemExit):  # bad input is found before anything is replaced
        fit(run, "--overwrite", "true", "--model.model", "sew_resnet_tinny")
    assert (run / "checkpoints/last.ckpt").read_bytes() == before
    fit(run, "--overwrite", "true", "--seed_everything", "1")
    assert (run / "checkpoints/last.ckpt").read_bytes() != before


def test_the_record_of_a_resumed_run_holds_no_options_of_one_call(tmp_path, capsys):
    """So it measures the best checkpoint, can be published, and is replaced when that is asked for."""
    run = tmp_path / "run"
    fires = ["--data.batch_size", "16"]  # after two epochs; a silent network is not published
    fit(run, *fires, "--overwrite", "true", epochs=2)
    whole = yaml.safe_load((run / "config.yaml").read_text())
    assert whole.keys() == {"seed_everything", "run", "save_every_minutes", "model", "data", "trainer"}
    fit(run, *fires, "--ckpt_path", "last", epochs=2)
    assert yaml.safe_load((run / "config.yaml").read_text()) == whole

    best = run / "checkpoints/best.ckpt"
    checkpoint = torch.load(best, weights_only=True)
    checkpoint["state_dict"]["model.fc.bias"] += 1.0  # so that it is not the last
    torch.save(checkpoint, best)
    main(["test", "--config", str(run / "config.yaml")])
    assert json.loads((run / "results.json").read_text())["checkpoint"] == fingerprint(best)
    main(["publish", str(run), str(tmp_path / "registry/spiking_vgg_tiny.digits")])

    before = (run / "checkpoints/last.ckpt").read_bytes()
    main(["fit", "--config", str(run / "config.yaml"), "--overwrite", "true", "--seed_everything", "1"])
    replaced = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert (run / "checkpoints/last.ckpt").read_bytes() != before
    assert replaced["global_step"] == 160, "it was trained anew"


def test_a_record_of_an_earlier_version(tmp_path, capsys):
    """It holds the options of the call that wrote it, which ask for nothing now."""
    run = tmp_path / "run"
    fit(run)
    old = {"ckpt_path": str(run / "checkpoints/last.ckpt"), "weights_only": None, "overwrite": True}
    with (run / "config.yaml").open("a") as file:
        file.write(yaml.safe_dump(old))
    (run / "checkpoints/last.ckpt").unlink()
    main(["test", "--config", str(run / "config.yaml")])
    assert f"ckpt_path: {old['ckpt_path']} in the recipe is left out" in capsys.readouterr().err
    best = fingerprint(run / "checkpoints/best.ckpt")
    assert json.loads((run / "results.json").read_text())["checkpoint"] == best
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(run / "config.yaml")])
    assert "already holds a run" in capsys.readouterr().err


def test_testing_needs_a_checkpoint(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["test", "--config", RECIPE, "--run", str(tmp_path / "none")])
    assert "There is no checkpoint" in capsys.readouterr().err


def test_find_checkpoint(tmp_path):
    (tmp_path / "best.ckpt").touch()
    assert find_checkpoint(tmp_path, None, "fit") is None
    assert find_checkpoint(tmp_path / "new", "last", "fit") is None  # interrupted before the first checkpoint
    assert find_checkpoint(tmp_path, None, "test") == str(tmp_path / "best.ckpt")
    assert find_checkpoint(tmp_path, str(tmp_path / "best.ckpt"), "fit") == str(tmp_path / "best.ckpt")


def test_next_version(tmp_path):
    assert next_version(tmp_path, "fit") == "fit_0"
    for name in ("fit_0", "fit_10", "test_99"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path, "fit") == "fit_11"


def weights(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_an_interrupted_run_resumes_to_the_same_result(tmp_path, start, how):
    """Dropout, augmentation and mixup are on, so every source of random numbers has to go on where it was."""
    changes = ["--model.model_args", '{"num_steps": 2, "drop_rate": 0.2}', "--data.mixup", "0.2"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit(whole, *changes, epochs=4)

    command = ["fit", "--config", RECIPE, *TINY, *changes, "--run", str(broken), "--trainer.max_epochs", "4"]
    with (tmp_path / "said").open("w") as said:
        process = start([sys.executable, str(ROOT / "cli.py"), *command], stdout=said, stderr=said)
    last = broken / "checkpoints/last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(how)
    process.wait()
    epochs_done = torch.load(last, weights_only=True)["epoch"] + 1
    assert 0 < epochs_done < 4, "the run was not interrupted in its middle"

    if how == signal.SIGINT:
        assert process.returncode == 130
        said = (tmp_path / "said").read_text()
        assert f" of 4; {last} holds the last saved state.\n" in said
        main(shlex.split(said.split("Go on: snnzoo ")[1].splitlines()[0]))
    else:
        fit(broken, *changes, "--ckpt_path", "last", epochs=4)
    assert equal(weights(whole), weights(broken))


def cut_off(monkeypatch, batches):
    """Let the power fail before batch `batches` of the next fit, the first being 0."""
    seen = iter(range(batches))
    begin = ClassificationModule.on_train_batch_start

    def fail(self, batch, batch_idx):
        if next(seen, None) is None:
            raise PowerCut
        begin(self, batch, batch_idx)

    monkeypatch.setattr(ClassificationModule, "on_train_batch_start", fail)


class PowerCut(BaseException):
    """What nothing answers to."""


def resumed(tmp_path, batches, *changes):
    """Weights of a run of four epochs of ten batches, whole and cut off; epoch and batches of the last checkpoint."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit(whole, *changes, epochs=4)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(PowerCut):
        cut_off(patch, batches)
        fit(broken, *changes, epochs=4)
    saved = torch.load(broken / "checkpoints/last.ckpt", weights_only=True)
    fit(broken, *changes, "--ckpt_path", "last", epochs=4)
    done = saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"]
    return weights(whole), weights(broken), saved["epoch"], done


def equal(expected, found):
    return expected.keys() == found.keys() and all(torch.equal(value, found[key]) for key, value in expected.items())


def test_a_run_goes_on_from_its_last_epoch_when_validation_no_longer_improves(tmp_path, monkeypatch):
    monkeypatch.setattr(MulticlassAccuracy, "compute", lambda _: torch.tensor(1.0))
    whole, broken, epoch, _ = resumed(tmp_path, 35)
    assert epoch == 2
    assert torch.load(tmp_path / "whole/checkpoints/best.ckpt", weights_only=True)["epoch"] == 0
    assert equal(whole, broken)


def test_a_run_without_validation_goes_on_from_its_last_epoch(tmp_path):
    whole, broken, epoch, _ = resumed(tmp_path, 35, "--trainer.limit_val_batches", "0")
    assert epoch == 2
    assert equal(whole, broken)


def test_a_run_goes_on_from_the_middle_of_an_epoch(tmp_path):
    """Dropout, augmentation and mixup go on where they were."""
    masks = ["--model.model_args", '{"num_steps": 2, "drop_rate": 0.2}', "--data.mixup", "0.2"]
    whole, broken, epoch, batches = resumed(tmp_path, 25, *masks, "--save_every_minutes", "0")
    assert (epoch, batches) == (2, 5)
    assert equal(whole, broken)


@pytest.mark.parametrize(
    ("command", "where", "words"),
    [
        (["fit"], "training_step", "Interrupted in epoch 1 of 30; there is no checkpoint yet.\nGo on: snnzoo fit"),
        (["fit"], "validation_step", "Interrupted before the training began. Nothing was changed"),
        (["test", "--ckpt_path", "none"], "test_step", "\nInterrupted.\n"),
    ],
)
def test_an_interruption_before_the_first_checkpoint(tmp_path, capsys, monkeypatch, command, where, words):
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # lightning ignores Ctrl-C from the first one on
    monkeypatch.setattr(ClassificationModule, where, interrupt)
    with pytest.raises(SystemExit) as stop:
        main([*command, "--config", RECIPE, *TINY, "--run", str(tmp_path)])
    assert stop.value.code == 130
    assert words in capsys.readouterr().err


def interrupt(*_):
    """Ctrl-C while the model runs."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("bf16", [True, False])
def test_a_cpu_that_computes_in_bf16_trains_in_it(tmp_path, capsys, monkeypatch, bf16):
    """Only a fit does, only one that does not name a precision; weights and tests are fp32."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16}, raising=False)
    seen = set()  # types of the logits
    forward = SpikingVGG.forward_head
    monkeypatch.setattr(SpikingVGG, "forward_head", lambda *args: note(seen, forward(*args)))
    short = ["--trainer.accelerator=cpu", "--trainer.limit_train_batches=8", "--trainer.limit_val_batches=1"]

    fit(tmp_path / "run", *short)
    assert ("parameters in bf16-mixed (chosen for this CPU" in capsys.readouterr().out) == bf16
    assert seen == {torch.bfloat16 if bf16 else torch.float32}
    saved = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert {value.dtype for value in saved.values() if value.is_floating_point()} == {torch.float32}

    seen.clear()
    fit(tmp_path / "named", *short, "--trainer.precision", "32-true")
    main(["test", "--config", str(tmp_path / "run/config.yaml")])
    assert seen == {torch.float32}


def note(seen, logits):
    """The logits, whose type is noted."""
    seen.add(logits.dtype)
    return logits


def test_only_a_cpu_gets_a_precision(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert [training_precision(name) for name in ("auto", "cuda", "cpu")] == ["32-true", "32-true", "bf16-mixed"]


# Going on -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A run of two epochs that was cut off in the second."""
    run = tmp_path_factory.mktemp("half") / "run"
    with torch.random.fork_rng(devices=[]), pytest.MonkeyPatch.context() as patch:
        cut_off(patch, 15)
        with pytest.raises(PowerCut):
            fit(run, epochs=2)
    return run


@pytest.fixture
def run(half, tmp_path):
    """That run, elsewhere, with results of its checkpoint."""
    shutil.copytree(half, tmp_path / "run")
    (tmp_path / "run/results.json").write_text("{}")
    return tmp_path / "run"


def files(run):
    """Every file of a run but its logs."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and "logs" not in path.parts}


def refused(capsys, run, *changes, epochs=2):
    """What is said of a fit that is refused, and that leaves the run as it is."""
    before = files(run)
    with pytest.raises(SystemExit) as stop:
        fit(run, *changes, epochs=epochs)
    assert stop.value.code == 2
    assert files(run) == before
    return capsys.readouterr().err


def test_a_run_goes_on_by_its_recipe_only(run, capsys):
    changes = ["--model.optimizer.lr", "0.1", "--model.optimizer.weight_decay", "0", "--data.batch_size", "64"]
    said = refused(capsys, run, *changes, "--data.num_workers", "0", "--ckpt_path", "last", epochs=9)
    for words in (
        "model.optimizer.lr: expected 0.003, found 0.1",
        "model.optimizer.weight_decay: expected 0.05, found 0.0",
        "data.batch_size: expected 128, found 64",
        "trainer.max_epochs: expected 2, found 9",
        f"--config {run / 'config.yaml'} --ckpt_path {run / 'checkpoints/last.ckpt'}",
        "--model.model",
    ):
        assert words in said
    assert "num_workers" not in said
    said = refused(capsys, run, "--model.optimizer", "torch.optim.SGD", "--ckpt_path", "last")
    assert "model.optimizer.class_path: expected torch.optim.AdamW, found torch.optim.SGD" in said


def test_an_edited_record_does_not_change_the_recipe(run, capsys):
    """A record is of what was done: the checkpoint tells."""
    record = run / "config.yaml"
    record.write_text(record.read_text().replace("lr: 0.003", "lr: 0.1"))
    before = files(run)
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(record), "--run", str(run), "--ckpt_path", "last"])
    assert files(run) == before
    said = capsys.readouterr().err
    assert "model.optimizer.lr: expected 0.003, found 0.1" in said
    assert "Go on by the recorded recipe, with the values expected." in said


def test_what_may_differ_is_recorded(run):
    """A moved run goes on where it is, with other workers, and its results are gone."""
    fit(run, "--ckpt_path", "last", "--save_every_minutes", "3", "--trainer.num_sanity_val_steps", "0", epochs=2)
    recorded = yaml.safe_load((run / "config.yaml").read_text())
    assert recorded["run"] == str(run)
    assert recorded["save_every_minutes"] == 3
    assert recorded["trainer"]["num_sanity_val_steps"] == 0
    assert not (run / "results.json").exists()
    saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert (saved["epoch"], yaml.safe_load(saved["run"]["recipe"])) == (1, recorded)


def test_a_failed_resume_changes_nothing(run, capsys):
    last = run / "checkpoints/last.ckpt"
    again = ["--ckpt_path", "last", "--trainer.num_sanity_val_steps", "0"]
    assert "There is no checkpoint" in refused(capsys, run, "--ckpt_path", str(run / "checkpoints/other.ckpt"))

    checkpoint = torch.load(last, weights_only=True)
    checkpoint["state_dict"]["model.fc.bias"] = torch.zeros(3)
    torch.save(checkpoint, last)
    before = files(run)
    with pytest.raises(RuntimeError, match=r"size mismatch for model.fc.bias"):
        fit(run, *again, epochs=2)
    assert files(run) == before

    last.write_bytes(last.read_bytes()[:1000])
    assert "last.ckpt is not a checkpoint of a run, or is damaged" in refused(capsys, run, *again)


def test_a_run_does_not_go_on_with_other_data(run, capsys, monkeypatch):
    """Half of the samples are half of the steps, which would stretch the schedule."""
    whole = DigitsDataModule.load
    monkeypatch.setattr(DigitsDataModule, "load", lambda data: {n: halved(split) for n, split in whole(data).items()})
    said = refused(capsys, run, "--ckpt_path", "last")
    assert "expected steps 20, found 10. The data have another number of samples" in said


def halved(split):
    return Subset(split, range(len(split) // 2))


def test_a_run_goes_on_in_its_own_precision(run, monkeypatch):
    """Whatever another machine would choose."""
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    others = {"bf16-mixed": False, "32-true": True}
    monkeypatch.setattr(
        torch.cpu,
        "get_capabilities",
        lambda: {"avx512_bf16": others[checkpoint["run"]["precision"]]},
        raising=False,
    )
    fit(run, "--ckpt_path", "last", epochs=2)
    saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert saved["run"]["precision"] == checkpoint["run"]["precision"]


def test_another_precision_is_refused(run, capsys):
    own = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["run"]["precision"]
    other = "32-true" if own == "bf16-mixed" else "bf16-mixed"
    said = refused(capsys, run, "--ckpt_path", "last", "--trainer.precision", other)
    assert f"expected precision {own}, found {other}. Set --trainer.precision {own}." in said


def test_a_checkpoint_of_another_run(run, tmp_path, capsys):
    """It may begin a new run, by the same recipe; it does not go into a run that is there."""
    last = str(run / "checkpoints/last.ckpt")
    new = tmp_path / "new"
    said = refused(capsys, new, "--ckpt_path", last, "--model.optimizer.lr", "0.1")
    assert "model.optimizer.lr: expected 0.003, found 0.1" in said
    before = files(run)
    fit(new, "--ckpt_path", last, epochs=2)
    assert files(run) == before
    assert torch.load(new / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 20
    assert (new / "checkpoints/best.ckpt").exists()
    assert "already holds a run" in refused(capsys, new, "--ckpt_path", last)
    assert "Leave one out" in refused(capsys, new, "--ckpt_path", last, "--overwrite", "true")


def test_a_run_without_a_last_checkpoint_is_not_begun_anew(run, capsys):
    (run / "checkpoints/last.ckpt").unlink()
    assert "There is no checkpoint" in refused(capsys, run, "--ckpt_path", "last")


@pytest.mark.filterwarnings("ignore:.*did not fire once")  # after so few steps
def test_a_run_is_replaced_only_when_the_new_one_begins(run, capsys, monkeypatch):
    (run / "predictions.csv").touch()
    with monkeypatch.context() as patch:
        patch.setattr(DigitsDataModule, "load", missing_data)
        assert "no such data" in refused(capsys, run, "--overwrite", "true")
    fit(run, "--overwrite", "true", "--data.batch_size", "256")
    assert not (run / "predictions.csv").exists()
    assert [path.name for path in (run / "logs").iterdir()] == ["fit_2"]
    assert (run / "logs/fit_2/metrics.csv").exists()
    assert torch.load(run / "checkpoints/best.ckpt", weights_only=True)["global_step"] == 5


def missing_data(_):
    raise FileNotFoundError("no such data")


@pytest.mark.filterwarnings("ignore:.*did not fire once")  # after so few steps
def test_a_trial_leaves_the_run_as_it_is(run, tmp_path):
    before = files(run)
    fit(run, "--overwrite", "true", "--trainer.fast_dev_run", "true")
    assert files(run) == before
    fit(tmp_path / "new", "--trainer.fast_dev_run", "true")
    assert not files(tmp_path / "new")


def test_a_run_without_validation_is_tested_on_its_last_checkpoint(run):
    (run / "checkpoints/best.ckpt").unlink()
    main(["test", "--config", str(run / "config.yaml"), "--run", str(run)])
    recorded = json.loads((run / "results.json").read_text())["checkpoint"]
    assert recorded == fingerprint(run / "checkpoints/last.ckpt")


# Checkpoints of others ------------------------------------------------------------------------------------------------


HARM = """
from pathlib import Path

from lightning_modules.objectives import CrossEntropy


class Harm(CrossEntropy):
    def __init__(self, marker: str) -> None:
        Path(marker).touch()
        raise ValueError("harm is done")
"""


def harmful(path, marker, nested):
    """Let a checkpoint name a class, in hyper-parameters that load with `weights_only`; it makes a file."""
    arguments = {"objectives": [{"class_path": "harm.Harm", "init_args": {"marker": str(marker)}}]}
    name = "lightning_modules.ClassificationModule"
    parameters = {"class_path": name, "init_args": arguments} if nested else {"_class_path": name, **arguments}
    torch.save(torch.load(path, weights_only=True) | {"hyper_parameters": parameters}, path)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_the_hyper_parameters_of_a_checkpoint_run_nothing(run, tmp_path, capsys, monkeypatch, command, nested):
    (tmp_path / "harm.py").write_text(HARM)
    monkeypatch.syspath_prepend(tmp_path)
    marker, last = tmp_path / "marker", run / "checkpoints/last.ckpt"
    harmful(last, marker, nested)
    args = [command, "--config", str(run / "config.yaml"), "--run", str(run), "--ckpt_path", str(last)]
    with monkeypatch.context() as patch:
        patch.setattr(RunCLI, "_run_subcommand", lambda *_: None)  # the classes are made before
        main(args)
    assert not marker.exists()

    # The same file does harm if Lightning reads its hyper-parameters, so this test would see it. A fit might refuse it
    # as another recipe, but by luck only.
    monkeypatch.setattr(RunCLI, "_parse_ckpt_path", LightningCLI._parse_ckpt_path)
    monkeypatch.setattr("commands.run.refuse_another_recipe", lambda *_: None)
    with pytest.raises(SystemExit):
        main(args)
    assert "harm is done" in capsys.readouterr().err
    assert marker.exists()


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_lightning_is_told_to_unpickle_nothing(run, monkeypatch, command):
    """Its default depends on the versions of torch and Lightning, and on where the file lies."""
    seen = {}
    monkeypatch.setattr(RunCLI, "_run_subcommand", lambda cli, name: seen.update(cli._prepare_subcommand_kwargs(name)))
    main([command, "--config", str(run / "config.yaml"), "--run", str(run), "--ckpt_path", "last"])
    assert seen["weights_only"] is True
    assert seen["ckpt_path"] == str(run / "checkpoints/last.ckpt")


class Harm:
    """What pickle runs when it reads it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_checkpoint_unpickles_nothing_but_tensors(run, tmp_path, capsys, command):
    path, marker = run / "checkpoints/last.ckpt", tmp_path / "marker"
    torch.save(torch.load(path, weights_only=True) | {"harm": Harm(marker)}, path)
    args = [command, "--config", str(run / "config.yaml"), "--run", str(run), "--ckpt_path", str(path)]
    with pytest.raises(SystemExit):
        main(args)
    assert "last.ckpt is not a checkpoint of a run, or is damaged: expected tensors" in capsys.readouterr().err
    assert not marker.exists()
    with pytest.raises(SystemExit):
        main([*args, "--weights_only", "false"])
    assert "weights_only: expected true, found false" in capsys.readouterr().err
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the file does harm if it is trusted"
