r"""The latency ladder: a student trained at T = 5, then taken down to T = 1, every rung from the one before.

A student trained at T = 1 from scratch falls silent layer by layer. Here every rung starts from the full state of the
rung above (weights, norms, and the thresholds and leaks of `Leaky` neurons), with a fresh optimiser and schedule, and
may be distilled from it: the rung above is then the teacher, in place of one that the recipe names, which teaches the
first rung only. T counts how often a still image is shown; in a sequence of frames T is that of the data.

    RUN/ladder.json         what the ladder is, and its table
    RUN/T5/, RUN/T4/, ...   one run for every rung; see `run.py`
    RUN/T4/recipe.yaml      what rung 4 is trained by
    RUN/T4/start/           the test of rung 4 before it is trained: the weights of rung 5, shown T = 4 steps
    RUN/T4/start.ckpt       those weights with thresholds set anew (--recalibrate true)

An interrupted ladder goes on where it stopped when the command is given again; a rung is finished once it was tested.
It runs in one process on one device: it starts one trainer after the other, and DDP would repeat the whole command.

Source: Chowdhury, Rathi and Roy, Towards ultra low latency spiking neural networks for vision and sequential tasks
using temporal pruning, ECCV 2022, arXiv:2110.05929 (IIR-SNN). Distillation from the rung above is ours.
"""

import argparse
import copy
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, cast

import torch
import yaml
from jsonargparse import ArgumentParser
from lightning import Trainer
from rich.console import Console
from rich.table import Table

from lightning_modules.callbacks import GrowSteps
from lightning_modules.distillation import DistillationModule
from lightning_modules.module import ClassifierModule
from lightning_modules.objectives import Objective
from zoo.energy import HOROWITZ_45NM, Measurement
from zoo.model import SpikingModel
from zoo.registry.files import read_json, replacing, write_json, write_text
from zoo.registry.results import Results, read_results
from zoo.registry.runs import Run, load_run, run_checkpoint
from zoo.thresholds import calibrate_thresholds, learned_thresholds

from .record import differences
from .run import RunCLI, missing_recipe

CALIBRATION_SAMPLES = 512
KD_HELP = "true: the rung above is the teacher, in place of one in the recipe, which then teaches the first rung only"
CHOOSE = "a ladder takes num_steps down: choose a spiking student of images (`snnzoo list`)."


class Options(argparse.ArgumentParser):
    """A parser whose errors are exceptions."""

    def error(self, message: str) -> NoReturn:
        """Raise what `cli.main` prints.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"snnzoo ladder: {message}. `snnzoo ladder --help` lists the options.")


@dataclass(frozen=True)
class Ladder:
    """What a ladder is.

    Attributes:
        recipe: The path of the recipe of the first rung.
        run: Where the rungs go.
        steps: T of every rung, descending.
        epochs: Epochs of every rung; None for those of the recipe.
        kd: Whether the rung above is the teacher, in place of one that the recipe names.
        recalibrate: Whether thresholds are set from data before a rung is trained.
        min_rate: Firing rate below which a layer counts as silent, before training.
        options: Further options of `snnzoo fit`.
    """

    recipe: str
    run: Path
    steps: tuple[int, ...]
    epochs: tuple[int | None, ...]
    kd: bool
    recalibrate: bool
    min_rate: float
    options: tuple[str, ...]

    def rung(self, index: int) -> Path:
        """The run of a rung."""
        return self.run / f"T{self.steps[index]}"


def ladder(datamodule_class: type, args: Sequence[str]) -> None:
    """Climb down: train and test every rung that is not finished, and print the table.

    Raises:
        ValueError: If an option is wrong, the ladder does not descend, the directory holds another ladder, a rung
            could not be trained, or a layer falls silent.
        KeyboardInterrupt: If it was interrupted; the message says how to go on.
    """
    plan = parse(args)
    refuse_another(plan)
    for index in range(len(plan.steps)):
        if not (plan.rung(index) / "results.json").exists():
            try:
                train(datamodule_class, plan, index)
            except KeyboardInterrupt as stop:
                command = shlex.join(["snnzoo", "ladder", *args])
                raise KeyboardInterrupt(f"Interrupted at T = {plan.steps[index]}.\nGo on: {command}") from stop
    rows = [row(plan, index) for index in range(len(plan.steps))]
    remember(plan, rows)
    Console().print(table(plan, rows))


# Options --------------------------------------------------------------------------------------------------------------


def parse(args: Sequence[str]) -> Ladder:
    """The ladder of a command line.

    Raises:
        ValueError: If an option is missing or wrong, or the ladder does not descend.
    """
    parser = Options(
        prog="snnzoo ladder",
        description="Train at the first T, then go down step by step, and say what each T costs.",
        epilog="Any other option is one of `snnzoo fit` and holds for every rung: --data.root DATA.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="recipe of the first rung")
    parser.add_argument("--steps", default="5,4,3,2,1", help="T of every rung, descending; default: 5,4,3,2,1")
    parser.add_argument("--epochs", help="epochs of every rung, or one number for all; default: those of the recipe")
    parser.add_argument("--run", help="directory of the ladder; default: that of the recipe")
    parser.add_argument("--kd", type=boolean, default=False, help=KD_HELP)
    parser.add_argument("--recalibrate", type=boolean, default=False, help="true: set thresholds anew before a rung")
    parser.add_argument("--min_rate", type=float, default=0.005, help="rate of a silent layer; 0: go on anyway")
    known, options = parser.parse_known_args(list(args))
    own = [option for option in options if option.split("=")[0] in ("--ckpt_path", "--overwrite")]
    if own:
        parser.error(f"{own[0]} is not for a ladder, which goes on by itself; to begin anew, choose another --run")
    steps = integers("steps", known.steps)
    if any(lower >= higher for higher, lower in pairwise(steps)):
        raise ValueError(
            f"A ladder descends, every T below the one before; found --steps {known.steps}. Such as --steps 5,4,3,2,1."
        )
    epochs: tuple[int | None, ...] = (None,) * len(steps)
    if known.epochs is not None:
        given = integers("epochs", known.epochs)
        epochs = given * len(steps) if len(given) == 1 else given
        if len(epochs) != len(steps):
            raise ValueError(f"--epochs needs one number, or one for each of {len(steps)} rungs; found {known.epochs}.")
    run = Path(known.run or read_recipe(known.config)["run"])
    return Ladder(known.config, run, steps, epochs, known.kd, known.recalibrate, known.min_rate, tuple(options))


def boolean(text: str) -> bool:
    """True or false, as everywhere on the command line."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, found {text!r}")
    return text.lower() == "true"


def integers(name: str, text: str) -> tuple[int, ...]:
    """Positive integers, separated by commas.

    Raises:
        ValueError: If they are anything else.
    """
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise ValueError(f"--{name} are integers >= 1, separated by commas; found {text!r}.")
    return numbers


def read_recipe(path: str | Path) -> dict[str, Any]:
    """A recipe as it stands in its file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no YAML, or no recipe.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(missing_recipe(str(path)))
    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}. See configs/digits/ladder.yaml.") from error
    if not isinstance(recipe, dict) or not {"run", "model", "data"} <= set(recipe):
        raise ValueError(f"{path} is not a recipe: it needs run, model and data. See configs/digits/ladder.yaml.")
    return recipe


def about(plan: Ladder) -> dict[str, Any]:
    """What must not change from one call to the next."""
    options = {"recipe": read_recipe(plan.recipe), "options": list(plan.options), "kd": plan.kd}
    return options | {"steps": list(plan.steps), "epochs": list(plan.epochs)}


def remembered(plan: Ladder) -> dict[str, Any]:
    """What the directory says of its ladder; nothing before its first rung has begun."""
    begun = any(plan.run.glob("T*/config.yaml"))
    return read_json(plan.run / "ladder.json") if begun and (plan.run / "ladder.json").exists() else {}


def refuse_another(plan: Ladder) -> None:
    """Refuse to go on with another ladder; more rungs may be added below.

    Raises:
        ValueError: If the directory holds rungs that were made otherwise.
    """
    before = remembered(plan)
    for key, value in about(plan).items():
        old = before.get(key, value)
        # A shorter or longer ladder is the same one, as far as both go.
        same = old == value
        if key in ("steps", "epochs"):
            shared = min(len(old), len(value))
            same = old[:shared] == value[:shared]
        if not same:
            changes = "; ".join(f"{name} was {was}, now {now}" for name, was, now in differences(key, old, value))
            raise ValueError(
                f"{plan.run} holds another ladder: {changes}. Go on with the same options, or "
                "choose another directory: --run DIR."
            )


def remember(plan: Ladder, rows: Sequence[dict[str, Any]] = ()) -> None:
    """Write down what the ladder is and the rungs that are finished, and keep those of a longer ladder."""
    before, now = remembered(plan), about(plan) | {"rungs": list(rows)}
    for key in ("steps", "epochs", "rungs"):
        now[key] += before.get(key, [])[len(now[key]) :]
    plan.run.mkdir(parents=True, exist_ok=True)
    write_json(plan.run / "ladder.json", now)


# Before anything is trained -------------------------------------------------------------------------------------------


class RungCLI(RunCLI):
    """A run of a ladder: it refuses what this rung or one further down could not do, before it begins."""

    def __init__(self, datamodule_class: type, plan: Ladder, args: Sequence[str]) -> None:
        self.plan = plan
        super().__init__(datamodule_class, args)

    def instantiate_classes(self) -> None:
        """Make model, data and trainer.

        Raises:
            ValueError: If one of them refuses its arguments, or the ladder one of them.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            no_steps = r"(\S+) (does not take these arguments: .*'num_steps'|with activations \(an ANN twin\))"
            if stepless := re.search(no_steps, str(error)):
                raise ValueError(f"{stepless[1]} has no time steps; {CHOOSE}") from error
            raise
        refuse_devices(self.trainer)
        refuse_growth(self.trainer)
        refuse_model(self.plan, self.model)
        if self.plan.kd:
            refuse_distillation(self.model)

    def before_fit(self) -> None:
        """Write down what the ladder is, now that nothing speaks against it."""
        remember(self.plan)
        super().before_fit()


def refuse_devices(trainer: Trainer) -> None:
    """Refuse several processes.

    Raises:
        ValueError: If the trainer has more than one.
    """
    if trainer.world_size > 1:
        raise ValueError(
            f"A ladder runs in one process on one device, found {trainer.world_size}: it starts one trainer after the "
            "other. Add --trainer.devices 1, or train the rungs one by one with `snnzoo fit`."
        )


def refuse_growth(trainer: Trainer) -> None:
    """Refuse `GrowSteps`, which every rung would take from the recipe.

    Raises:
        ValueError: If the trainer has this callback.
    """
    if any(isinstance(callback, GrowSteps) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        raise ValueError(
            "snnzoo ladder: expected a recipe without GrowSteps, because a ladder takes T down rung by rung, found "
            "GrowSteps in trainer.callbacks. Leave it out, or train the first rung with `snnzoo fit` and name its run "
            "as the model."
        )


def refuse_model(plan: Ladder, module: ClassifierModule) -> None:
    """Refuse a student that cannot be taken down to the last T.

    Raises:
        ValueError: If num_steps does nothing, SLTT needs more steps, or no threshold is there to be set.
    """
    model, last = module.model, plan.steps[-1]
    if not isinstance(model, SpikingModel):
        raise ValueError(f"{type(model).__name__} has no time steps; {CHOOSE}")
    if model.sequence_ndim == 3:
        raise ValueError(
            f"{model.pretrained_cfg['architecture']} takes spike trains, whose T is that of the data; {CHOOSE}"
        )
    if module.sltt is not None and (module.sltt.k or 0) > last:
        raise ValueError(
            f"sltt learns from k = {module.sltt.k} steps, and --steps goes down to {last}. Choose k <= {last}, "
            "none, or a ladder that ends above."
        )
    if plan.recalibrate:
        learned_thresholds(model)


def refuse_distillation(module: ClassifierModule) -> None:
    """Refuse what cannot learn from the rung above.

    Raises:
        ValueError: If the backbone is frozen, or a recipe with a teacher has no objective for the rung above.
    """
    if getattr(module, "freeze_backbone", False):
        raise ValueError(
            "--kd true and freeze_backbone: true exclude each other: DistillationModule trains the whole student. "
            "Leave one of them out."
        )
    if isinstance(module, DistillationModule):
        objectives = cast(list[Objective], list(module.objectives.values()))
        if not any(objective.needs_teacher for objective in objectives):
            raise ValueError(
                f"--kd true makes the rung above the teacher, but none of its objectives "
                f"({', '.join(module.objectives)}) learns from a teacher. Add {{class_path: LogitKD}} to the recipe."
            )
        stages = module.model.feature_info
        with torch.random.fork_rng(devices=[]):  # the layers of this trial must not change those of the training
            for objective in objectives:
                copy.deepcopy(objective).build(stages, stages)


# Rungs ----------------------------------------------------------------------------------------------------------------


def train(datamodule_class: type, plan: Ladder, index: int) -> None:
    """Train and test a rung, or go on with it.

    Raises:
        ValueError: If the ladder cannot be climbed, or a layer is silent before the training.
    """
    run, steps, epochs = plan.rung(index), plan.steps[index], plan.epochs[index]
    config = run / "config.yaml"
    if index == 0:
        init = read_recipe(plan.recipe)["model"].get("init_args") or {}
        options = [*plan.options, f"--model.{arguments_of(init)}.num_steps={steps}", f"--run={run}"]
        options += [] if epochs is None else [f"--trainer.max_epochs={epochs}"]
        recipe = [f"--config={plan.recipe}", *options]
    else:
        recipe = [f"--config={config}"]
        if not (run / "checkpoints/last.ckpt").exists():
            previous = plan.rung(index - 1)
            start = recalibrate(datamodule_class, previous, run, steps) if plan.recalibrate else previous
            recipe, settings = [f"--config={run / 'recipe.yaml'}"], rung_recipe(plan, index, previous, start)
            write_text(run / "recipe.yaml", yaml.safe_dump(settings, sort_keys=False))
            RungCLI(datamodule_class, plan, ["test", *recipe, f"--run={run / 'start'}", "--ckpt_path=none"])
            refuse_silence(read_results(run / "start"), steps, plan.min_rate)
    RungCLI(datamodule_class, plan, ["fit", *recipe, "--ckpt_path=last"])
    RungCLI(datamodule_class, plan, ["test", f"--config={config}", "--ckpt_path=best"])


def arguments_of(init: dict[str, Any]) -> str:
    """Where a module takes the arguments of the network."""
    return "student_args" if "student" in init else "model_args"


def rung_recipe(plan: Ladder, index: int, previous: Path, start: Path) -> dict[str, Any]:
    """The recipe of a rung: that of the first as it ran, from the weights of `start`."""
    recipe = copy.deepcopy(read_recipe(plan.rung(0) / "config.yaml"))
    recipe["run"] = str(plan.rung(index))
    if (epochs := plan.epochs[index]) is not None:
        recipe["trainer"]["max_epochs"] = epochs
    model, init = recipe["model"], recipe["model"]["init_args"]
    key = arguments_of(init)
    init[key] = {**(init[key] or {}), "num_steps": plan.steps[index]}
    init["student" if key == "student_args" else "model"] = str(start)
    if plan.kd:
        if key == "model_args":
            model["class_path"] = "DistillationModule"
            init["student"], init["student_args"] = init.pop("model"), init.pop("model_args")
            term = {"class_path": "LogitKD", "init_args": {"per_step": init.get("sltt") is not None}}
            init["objectives"] = [*(init["objectives"] or [{"class_path": "CrossEntropy"}]), term]
            for name in ("input_size", "freeze_backbone"):  # a student has neither
                init.pop(name, None)
        init["teacher"] = str(previous)
    return recipe


def recalibrate(datamodule_class: type, previous: Path, run: Path, steps: int) -> Path:
    """A checkpoint of the rung above with thresholds set from training data at T = `steps`.

    Raises:
        ValueError: If no threshold of the student is learned.
    """
    model = load_run(previous)
    model.num_steps = steps
    found = calibrate_thresholds(model, training_samples(datamodule_class, previous, CALIBRATION_SAMPLES))
    checkpoint = torch.load(run_checkpoint(previous), weights_only=True, map_location="cpu")
    for name, threshold in found.items():
        checkpoint["state_dict"][f"{checkpoint['zoo']['prefix']}{name}.v_threshold"].fill_(threshold)
    path = run / "start.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        torch.save(checkpoint, part)
    print(f"{run}: thresholds set to", ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    return path


def training_samples(datamodule_class: type, run: Path, count: int) -> torch.Tensor:
    """The first samples that a run trains on, [T, N, C, H, W]; fewer if there are fewer."""
    parser = ArgumentParser()
    parser.add_subclass_arguments(datamodule_class, "data")
    config = parser.parse_object({"data": read_recipe(run / "config.yaml")["data"]})
    data = parser.instantiate_classes(config).data
    data.setup("fit")
    batches: list[torch.Tensor] = []
    for x, _ in data.train_dataloader():
        batches.append(x)
        if sum(batch.shape[1] for batch in batches) >= count:
            break
    return torch.cat(batches, dim=1)[:, :count]


def refuse_silence(results: Results, steps: int, min_rate: float) -> None:
    """Stop before a rung is trained in which spikes vanish: what does not fire does not learn.

    Raises:
        ValueError: If a layer fires below `min_rate`.
    """
    rates = results.measurement["firing_rates"]
    silent = [f"{name} ({rate:.2%})" for name, rate in rates.items() if rate < min_rate]
    if silent:
        raise ValueError(
            f"Spikes vanish at T = {steps}: before training, {', '.join(silent)} fire below {min_rate:.2%}. Set the "
            "thresholds from data (the same command with --recalibrate true, for neuron: leaky), take smaller steps, "
            "or go on anyway (--min_rate 0). The rungs above stay as they are."
        )


# Table ----------------------------------------------------------------------------------------------------------------


def row(plan: Ladder, index: int) -> dict[str, Any]:
    """What a finished rung reached and costs."""
    run = plan.rung(index)
    results = Run(str(run)).results()
    cost = Measurement.from_dict(results.measurement)
    start = read_results(run / "start").accuracy if index else None
    return {
        "num_steps": plan.steps[index],
        "acc_before": start,
        "acc": results.accuracy,
        "firing_rate": cost.firing_rate,
        "lowest_rate": min(cost.firing_rates.values()),
        "macs": cost.macs,
        "acs": cost.acs,
        "energy_uj": cost.energy_uj(),
    }


def table(plan: Ladder, rows: list[dict[str, Any]]) -> Table:
    """The rungs, one line each."""
    energy = HOROWITZ_45NM
    caption = (
        "Test split. Accuracy before: the weights of the rung above at this T, not yet trained. Rate: spikes per "
        "neuron and step; lowest: of one layer. M: million operations of one inference, all steps, zeros skipped. "
        f"Energy: {energy.mac_pj} pJ a MAC, {energy.ac_pj} pJ an AC ({energy.name}); no memory traffic, no neuron "
        "updates."
    )
    if plan.steps[-1] == 1:
        caption += " At T = 1 nothing is remembered: it is a network with binary activations, and leaks do nothing."
    drawn = Table("T", title=f"{plan.run}", caption=caption, caption_justify="left")
    for column in ("acc. before", "acc. after", "rate", "lowest", "M MACs", "M ACs", "energy, µJ"):
        drawn.add_column(column, justify="right", no_wrap=True)
    for line in rows:
        before = "-" if line["acc_before"] is None else f"{line['acc_before']:.2%}"
        rates = [f"{line['firing_rate']:.3f}", f"{line['lowest_rate']:.3f}"]
        counts = [f"{line[key] / 1e6:.3f}" for key in ("macs", "acs")]
        drawn.add_row(str(line["num_steps"]), before, f"{line['acc']:.2%}", *rates, *counts, f"{line['energy_uj']:.2f}")
    return drawn
