"""The run that `snnzoo convert` writes: what is read of the twin's run, the files of the student's, and two tables."""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import Trainer
from rich.table import Column, Table

import zoo
from lightning_modules.classification import ClassificationModule
from zoo.conversion import Conversion
from zoo.conversion_report import STEPS_SHOWN, Accuracies, LayerFit
from zoo.data_info import DataInfo
from zoo.registry.files import fingerprint, read_json, replace_directory, write_json
from zoo.registry.results import read_results
from zoo.registry.runs import Run


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse to write over what is there; only a conversion may be replaced.

    Raises:
        FileExistsError: If the target exists, and overwrite is False or it is no conversion, or its weights are others.
    """
    if not target.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{target} exists. Replace it: --overwrite; or choose another directory.")
    if not (target / "conversion.json").is_file():
        raise FileExistsError(
            f"{target} was not written by snnzoo convert: it has no conversion.json, so --overwrite does not replace "
            "it. Choose another directory."
        )
    if read_json(target / "conversion.json").get("checkpoint") != Run(str(target)).fingerprint:
        raise FileExistsError(
            f"{target} holds other weights than its conversion.json describes, so --overwrite does not replace it. "
            "Choose another directory."
        )


def source_recipe(run: Run) -> dict[str, Any]:
    """The recipe of a run.

    Raises:
        FileNotFoundError: If it has none.
    """
    recipe = run.recipe()
    if not recipe:
        raise FileNotFoundError(
            f"{run.checkpoint} lies in no run with a config.yaml, which names the data. Give the directory of a "
            "run that snnzoo fit wrote."
        )
    return recipe


def twin_teacher(run: Run, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Name, architecture and licence of the teacher of a twin; of an untested twin the name only; empty without one."""
    file, name = run.file("results.json"), (recipe["model"].get("init_args") or {}).get("teacher")
    facts = (read_results(file.parent).teacher if file else None) or ({"name": name} if name else {})
    return {key: value for key, value in facts.items() if key != "measurement"}


# The run of the student -----------------------------------------------------------------------------------------------


def write_run(
    target: Path, conversion: Conversion, recipe: Mapping[str, Any], module: Any, record: Mapping[str, Any]
) -> None:
    """Recipe, checkpoints and report, written under a temporary name and then renamed."""
    about = zoo.describe(conversion.student)
    args = {key: value for key, value in about["model_args"].items() if key not in ("num_classes", "in_chans")}
    init = recipe["model"]["init_args"]
    own = {"model": about["architecture"], "model_args": args, "optimizer": init["optimizer"]}
    student_recipe = {
        "seed_everything": recipe.get("seed_everything", 0),
        "run": str(target),
        "model": {"class_path": "lightning_modules.ClassificationModule", "init_args": own},
        "data": recipe["data"],
        "trainer": recipe.get("trainer") or {},
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as folder:
        stage = Path(folder) / "run"
        (stage / "checkpoints").mkdir(parents=True)
        best = stage / "checkpoints/best.ckpt"
        save_checkpoint(best, conversion, about["architecture"], args, module)
        shutil.copy(best, best.with_name("last.ckpt"))
        (stage / "config.yaml").write_text(yaml.safe_dump(student_recipe, sort_keys=False), encoding="utf-8")
        write_json(stage / "conversion.json", {**record, "checkpoint": fingerprint(best)})
        replace_directory(stage, target)


def save_checkpoint(path: Path, conversion: Conversion, architecture: str, args: dict[str, Any], module: Any) -> None:
    """A checkpoint of the module that the recipe makes, as the trainer writes it, without an optimiser."""
    trained = ClassificationModule(
        architecture,
        optimizer=lambda groups: torch.optim.SGD(groups),
        input_cfg=module.input_cfg,
        model_args=args,
    )
    known = DataInfo.from_dict(module.input_cfg).model_cfg()
    trained.model.pretrained_cfg.update({**conversion.student.pretrained_cfg, **known})
    trained.model.load_state_dict(conversion.student.state_dict())
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no list of devices, no advertisements
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(trained)
    trainer.save_checkpoint(path, weights_only=True)


# Tables ---------------------------------------------------------------------------------------------------------------


def layer_table(title: str, fits: list[LayerFit]) -> Table:
    """How well each layer fits, one line each."""
    caption = "a: activation of the twin; theta: what a spike stands for; rate: spikes per neuron and step."
    table = Table(Column("layer", overflow="fold"), title=title, caption=caption)
    for column in ("theta", "rate", "mean |a|", "mean |a - theta rate|"):
        table.add_column(column, justify="right", no_wrap=True)
    for fit in fits:
        numbers = (fit.threshold, fit.rate, fit.activation, fit.error)
        table.add_row(fit.name, *(f"{number:.4f}" for number in numbers))
    return table


def accuracy_table(shares: Accuracies, steps: int, start: str) -> Table:
    """Accuracy after t steps, beside the twin's."""
    caption = f"{shares.num_samples:,} images of the validation split, in one run of {max(STEPS_SHOWN)} steps."
    if start == "bias":
        caption += f" The constant current is right at T = {steps}, too large after it."
    table = Table("", title="accuracy", caption=caption)
    columns = {"twin": shares.ann, **{f"T = {t}": share for t, share in shares.snn.items()}}
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_row("validation", *(f"{share:.2%}" for share in columns.values()))
    return table
