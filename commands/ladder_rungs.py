"""The rungs of a ladder: what is refused before the first is trained, and how each is trained and tested."""

import copy
import re
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from lightning import Trainer

from lightning_modules.callbacks import GrowSteps
from lightning_modules.distillation import DistillationModule
from lightning_modules.module import ClassifierModule
from lightning_modules.objectives import Objective
from zoo.model import SpikingModel
from zoo.registry.files import replacing, write_text
from zoo.registry.results import Results, read_results
from zoo.registry.runs import Run
from zoo.sequence import SequenceKind
from zoo.thresholds import calibrate_thresholds, learned_thresholds

from .fit import parse_recipe
from .ladder_plan import Ladder
from .ladder_record import remember
from .recipe_data import make_data, training_images
from .recipes import read_recipe
from .run import RunCLI, call_of

CALIBRATION_SAMPLES = 512
CHOOSE = "a ladder takes num_steps down: choose a spiking student of images (`snnzoo list`)."


class RungCLI(RunCLI):
    """A run of a ladder: it refuses what this rung or one further down could not do, before it begins."""

    def __init__(self, plan: Ladder, args: dict[str, Any]) -> None:
        self.plan = plan
        super().__init__(args)

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
    if model.kind is SequenceKind.SPIKE_TRAINS:
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
            "--kd true and freeze_backbone: true are mutually exclusive, because DistillationModule trains the whole "
            "student. Leave one of them out."
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


def train(plan: Ladder, index: int) -> None:
    """Train and test a rung, or go on with it.

    Raises:
        ValueError: If the ladder cannot be climbed, or a layer is silent before the training.
    """
    run, steps = plan.rung(index), plan.steps[index]
    if index == 0:
        recipe = first_recipe(plan)
    elif (run / "checkpoints/last.ckpt").exists():
        recipe = read_recipe(run / "config.yaml")
    else:
        previous = plan.rung(index - 1)
        recipe = rung_recipe(plan, index, previous, recalibrate(previous, run, steps) if plan.recalibrate else previous)
        write_text(run / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False))
        RungCLI(plan, call_of("test", recipe | {"run": str(run / "start")}, ckpt_path="none"))
        refuse_silence(read_results(run / "start"), steps, plan.min_rate)
    RungCLI(plan, call_of("fit", recipe, ckpt_path="last"))
    RungCLI(plan, call_of("test", read_recipe(run / "config.yaml"), ckpt_path="best"))


def first_recipe(plan: Ladder) -> dict[str, Any]:
    """The recipe of the first rung: that of the ladder with the options of the command line."""
    return at_steps(parse_recipe(["--config", plan.recipe, *plan.options]), plan, 0)


def at_steps(recipe: dict[str, Any], plan: Ladder, index: int) -> dict[str, Any]:
    """A recipe, changed in place to the directory, the epochs and the T of a rung."""
    recipe["run"] = str(plan.rung(index))
    if (epochs := plan.epochs[index]) is not None:
        recipe["trainer"]["max_epochs"] = epochs
    init = recipe["model"]["init_args"]
    key = arguments_of(init)
    init[key] = {**(init.get(key) or {}), "num_steps": plan.steps[index]}
    return recipe


def arguments_of(init: dict[str, Any]) -> str:
    """Where a module takes the arguments of the network."""
    return "student_args" if "student" in init else "model_args"


def rung_recipe(plan: Ladder, index: int, previous: Path, start: Path) -> dict[str, Any]:
    """The recipe of a rung: that of the first as it ran, from the weights of `start`."""
    recipe = at_steps(read_recipe(plan.rung(0) / "config.yaml"), plan, index)
    model, init = recipe["model"], recipe["model"]["init_args"]
    key = arguments_of(init)
    init["student" if key == "student_args" else "model"] = str(start)
    if plan.kd:
        if key == "model_args":
            model["class_path"] = "DistillationModule"
            init["student"], init["student_args"] = init.pop("model"), init.pop("model_args")
            term = {"class_path": "LogitKD", "init_args": {"per_step": init.get("sltt") is not None}}
            init["objectives"] = [*(init["objectives"] or [{"class_path": "CrossEntropy"}]), term]
            for name in ("input_size", "frames", "freeze_backbone"):  # not of a student
                init.pop(name, None)
        init["teacher"] = str(previous)
    return recipe


def recalibrate(previous: Path, run: Path, steps: int) -> Path:
    """A checkpoint of the rung above with thresholds set from training data at T = `steps`.

    Raises:
        ValueError: If no threshold of the student is learned.
    """
    source = Run(str(previous))
    model = source.model()
    model.num_steps = steps
    data = make_data(read_recipe(previous / "config.yaml")["data"])
    data.setup("fit")
    images = torch.cat(list(training_images(data, CALIBRATION_SAMPLES, CALIBRATION_SAMPLES)), dim=1)
    found = calibrate_thresholds(model, images)
    checkpoint = torch.load(source.checkpoint, weights_only=True, map_location="cpu")
    for name, threshold in found.items():
        checkpoint["state_dict"][f"{checkpoint['zoo']['prefix']}{name}.v_threshold"].fill_(threshold)
    path = run / "start.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        torch.save(checkpoint, part)
    print(f"{run}: thresholds set to", ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
    return path


def refuse_silence(results: Results, steps: int, min_rate: float) -> None:
    """Stop before the training of a rung whose spikes vanish, because a layer that does not fire gets no gradient.

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
