"""The record of a run: its recipe, and the choices that follow from the machine and the data.

`RUN/config.yaml` holds the recipe, without the options of one call. Every checkpoint holds a copy of it. It also holds
the precision, the number of processes and the number of optimiser steps, which a recipe may leave open. A fit that goes
on from a checkpoint must agree with it in everything but `MAY_DIFFER`, which is recorded anew.
"""

import math
import shutil
from collections.abc import Mapping
from fnmatch import fnmatch
from inspect import signature
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from lightning import Callback, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from zoo.registry.files import write_text
from zoo.registry.runs import Run

# What one call asks for, such as the checkpoint to start from: the arguments of the trainer's methods, and our own.
CALL_OPTIONS = frozenset(
    {"overwrite"}.union(
        *(
            signature(getattr(Trainer, command)).parameters.keys() - skipped - {"self"}
            for command, skipped in LightningCLI.subcommands().items()
        )
    )
)

# What may differ when a run goes on, because it changes nothing that is learned, or only its rounding. `*` also stands
# for dots. Everything else is compared, also what only chooses the best epoch, such as trainer.limit_val_batches.
SAMPLING = ("num_tokens", "temperature", "top_k", "sampling_seed")
MAY_DIFFER = (
    # Where things are. Other data of another size are noticed by the number of steps.
    *("run", "data.*.root", "data.*.cache_dir"),
    # The checkpoint itself compares the vocabulary, and a run keeps its tokeniser in another place than it came from.
    "data.*.tokenizer",
    # How fast things go, and in how much memory. save_memory gives the same gradient.
    *("save_every_minutes", "data.*.cache_gb", "data.*.num_workers", "model.init_args.save_memory"),
    # What only `predict` and `test` read.
    *(f"model.init_args.{name}" for name in SAMPLING),
    *(f"model.init_args.task.init_args.{name}" for name in SAMPLING),
    *("data.*.prompts", "trainer.limit_test_batches", "trainer.limit_predict_batches", "trainer.inference_mode"),
    # What is shown, logged or checked.
    *("trainer.logger", "trainer.log_every_n_steps", "trainer.profiler", "trainer.enable_*", "trainer.model_registry"),
    *("trainer.num_sanity_val_steps", "trainer.detect_anomaly", "trainer.fast_dev_run"),
    # When the call ends; the schedule follows max_epochs and max_steps.
    "trainer.max_time",
    # Where it is computed, by which kernels. Precision and number of processes are compared as chosen, see `course`.
    *("trainer.accelerator", "trainer.strategy", "trainer.devices", "trainer.num_nodes", "trainer.precision"),
    *("trainer.deterministic", "trainer.benchmark"),
)


def recipe_of(parser: LightningArgumentParser, config: Namespace) -> str:
    """The recipe in a parsed command line, as YAML: model, data, trainer, seed and run."""
    recipe = Namespace({key: value for key, value in vars(config).items() if key not in CALL_OPTIONS})
    return parser.dump(recipe, skip_unset=False, format="yaml")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint file, whose tensors stay on disk until they are used.

    Raises:
        ValueError: If the file is no checkpoint, or is damaged, or holds anything but tensors and plain values.
    """
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except (UnpicklingError, EOFError, RuntimeError) as error:
        # torch's own sentence recommends to trust the file.
        pickled = isinstance(error, UnpicklingError) or not str(error)
        reason = "expected tensors and plain values only" if pickled else str(error).splitlines()[0]
        raise ValueError(
            f"{path} is not a checkpoint of a run, or is damaged: {reason}. Choose another one."
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} is not a checkpoint of a run: expected a dict, found {type(checkpoint).__name__}.")
    return checkpoint


def past_of(path: Path, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint holds of its run: "recipe", and the keys of `course`.

    A checkpoint of an earlier version holds neither. Its recipe is the `config.yaml` of the run that it lies in.

    Raises:
        ValueError: If the recipe is nowhere, or the checkpoint has no state of an optimiser.
    """
    past = dict(checkpoint.get("run", {}))
    recipe = recipe_from_yaml(past["recipe"]) if "recipe" in past else recipe_beside(path)
    if not recipe:
        raise ValueError(
            f"{path} cannot go on: expected a recipe in it, or the config.yaml of its run, found neither. "
            f"Start a new run from its weights instead: --model.model {path} (a distilled student: --model.student), "
            "without --ckpt_path."
        )
    if "optimizer_states" not in checkpoint:
        raise ValueError(
            f"{path} holds weights only, and a training goes on with the state of its optimiser. Start a new run from "
            f"them: --model.{network_option(recipe)} {path} --run NEW, without --ckpt_path."
        )
    return past | {"recipe": recipe}


def network_option(recipe: Mapping[str, Any]) -> str:
    """The argument of a recipe's module that names the network to train."""
    return "student" if "student" in ((recipe.get("model") or {}).get("init_args") or {}) else "model"


def recipe_beside(path: Path) -> dict[str, Any]:
    """The recipe of the run that a checkpoint file lies in; empty if there is none."""
    file = Run(str(path)).file("config.yaml")
    return recipe_from_yaml(file.read_text(encoding="utf-8")) if file else {}


def recipe_from_yaml(text: str) -> dict[str, Any]:
    """A recipe from YAML; empty if it is none."""
    try:
        recipe = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return recipe if isinstance(recipe, dict) else {}


def refuse_another_recipe(path: Path, recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse to go on from a checkpoint by another recipe.

    Raises:
        ValueError: If a value differs that may not; names each of them.
    """
    changes = forbidden_changes(recorded, asked)
    if not changes:
        return
    named = "; ".join(f"{shown(key)}: expected {old}, found {new}" for key, old, new in changes)
    held = not forbidden_changes(recorded, recipe_beside(path))  # and not edited, say
    how = (
        f": --config {Run(str(path)).file('config.yaml')} --ckpt_path {path}" if held else ", with the values expected"
    )
    raise ValueError(
        f"{path} was trained by another recipe. {named}. Go on by the recorded recipe{how}. "
        f"Or start a new run from its weights: --model.{network_option(asked)} {path} --run NEW, without --ckpt_path."
    )


def forbidden_changes(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Key, recorded and asked value of everything that differs between two recipes and may not."""
    old = {key: value for key, value in recorded.items() if key not in CALL_OPTIONS}
    new = {key: value for key, value in asked.items() if key not in CALL_OPTIONS}
    found = differences("", with_new_options("", old, new), new)
    return [(key, *values) for key, *values in found if not may_differ(key)]


def may_differ(key: str) -> bool:
    """Whether a run may go on with another value of a key, such as "data.init_args.root"."""
    return any(fnmatch(key, pattern) or fnmatch(key, f"{pattern}.*") for pattern in MAY_DIFFER)


def shown(key: str) -> str:
    """A key as it is given on the command line."""
    return key.replace(".init_args", "")


def with_new_options(key: str, old: Any, new: Any) -> Any:
    """A recorded value with the options that are newer than the record, as they are now.

    A record holds all keys of a recipe (key "") and every option of a class, so one that is missing there is newer. In
    another mapping, such as `model_args`, a missing key was not given.
    """
    if is_list_of_mappings(old, new):
        return [with_new_options("entry", *pair) for pair in zip(old, new, strict=True)]
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return old
    newer = {name: value for name, value in new.items() if name not in old and key in ("", "trainer", "init_args")}
    return {name: with_new_options(name, value, new.get(name)) for name, value in old.items()} | newer


def differences(key: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """Key, old and new value of everything that differs. Mappings and lists of mappings are compared by entry."""
    if is_list_of_mappings(old, new):
        old, new = (dict(enumerate(values)) for values in (old, new))
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return [] if old == new else [(key, old, new)]
    names = dict.fromkeys([*old, *new])
    inside = {name: f"{key}.{name}" if key else str(name) for name in names}
    return [found for name in names for found in differences(inside[name], old.get(name), new.get(name))]


def is_list_of_mappings(old: Any, new: Any) -> bool:
    """Whether two values are lists, equally long, of mappings."""
    both = isinstance(old, list) and isinstance(new, list) and len(old) == len(new)
    return both and all(isinstance(value, Mapping) for value in (*old, *new))


def course(trainer: Trainer) -> dict[str, Any]:
    """Precision, number of processes and number of optimiser steps of a training, on this machine and these data."""
    steps = trainer.estimated_stepping_batches
    return {
        "precision": str(trainer.precision),
        "processes": trainer.world_size,
        "steps": steps if math.isinf(steps) else int(steps),
    }


MEND = {
    "precision": "Set --trainer.precision {}.",
    "processes": "batch_size is of one process, so their number changes the training. Set --trainer.devices {}.",
    "steps": "The data have another number of samples. Give the data that the run began with: --data.root.",
}


class RunRecord(Callback):
    """Writes the recipe of a `fit` to `RUN/config.yaml` and to every checkpoint.

    Nothing in the directory is touched before the training begins, with its checkpoint loaded. Then what was
    recorded about the weights before this fit goes, and all of a run that is replaced.

    Args:
        run: The directory of the run.
        recipe: The recipe, as YAML.
        replace: Whether the run that is there goes.
    """

    def __init__(self, run: Path, recipe: str, replace: bool) -> None:
        self.run, self.recipe, self.replace = run, recipe, replace
        self.past: dict[str, Any] = {}  # of the checkpoint
        self.course: dict[str, Any] = {}  # from the beginning of the training

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the record of the checkpoint."""
        self.past = dict(checkpoint.get("run", {}))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Put the record into the checkpoint."""
        checkpoint["run"] = {"recipe": self.recipe} | self.course

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the record.

        Raises:
            ValueError: If the training would take another course than the one that it continues.
        """
        found = course(trainer)
        for name, value in found.items():
            expected = self.past.get(name, value)
            if value != expected:
                mend = MEND[name].format(expected)
                raise ValueError(f"{self.run} cannot go on: expected {name} {expected}, found {value}. {mend}")
        self.course = found
        log = trainer.log_dir  # all processes must ask
        if not trainer.is_global_zero:
            return
        if self.replace:
            self.clear(Path(log or ""))
        for name in ("results.json", "conversion.json"):
            (self.run / name).unlink(missing_ok=True)
        write_text(self.run / "config.yaml", self.recipe)

    def clear(self, log: Path) -> None:
        """Remove the run that is replaced, but not the log of this fit."""
        logs = [path for path in self.run.glob("logs/*") if path.name != log.name]
        for folder in (self.run / "checkpoints", self.run / "plots", *logs):
            shutil.rmtree(folder, ignore_errors=True)
        for name in ("golden_input.safetensors", "predictions.csv"):
            (self.run / name).unlink(missing_ok=True)
