"""`snnzoo convert`: the run of an ANN twin becomes the run of its spiking student, with a report.

    TARGET/config.yaml                  a recipe of the student: `snnzoo test --config TARGET/config.yaml`
    TARGET/checkpoints/{best,last}.ckpt its weights; both are the same
    TARGET/conversion.json              how it was made, how well each layer fits, accuracy over T beside the twin

Thresholds and corrections come from training images without augmentation, accuracies from the validation split.
"""

import copy
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from lightning import LightningDataModule, Trainer
from rich.console import Console
from rich.table import Table
from torch import Tensor

import zoo
from lightning_modules.classification import ClassificationModule
from zoo.conversion import (
    STEPS_SHOWN,
    Accuracies,
    Conversion,
    LayerFit,
    accuracies,
    check_options,
    check_twin,
    convert_with_thresholds,
    layer_fits,
)
from zoo.registry.files import fingerprint, read_json, replace_directory, write_json
from zoo.registry.results import read_results
from zoo.registry.runs import load_run, run_checkpoint, run_file

from .run import readable

IMAGES_AT_ONCE = 32
"""Images of a calibration batch: local threshold balancing takes one step a batch."""


def convert_run(
    datamodule_class: type,
    run: str,
    target: str,
    method: str | None = None,
    steps: int = 8,
    calibrate: str = "none",
    start: str = "potential",
    percentile: float = 99.9,
    samples: int = 1024,
    seed: int = 0,
    data: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Convert the twin of a run, write the run of the student, and print how well it fits.

    Args:
        datamodule_class: What the recipe's data is a subclass of.
        run: Directory of the twin's run, or a `.ckpt` file in it.
        target: Directory of the student's run.
        method: See `zoo.convert`; and so on.
        steps: See `zoo.convert`.
        calibrate: See `zoo.convert`.
        start: See `zoo.convert`.
        percentile: See `zoo.convert`.
        samples: Training images that the thresholds are read from.
        seed: Of the choice of these images.
        data: Arguments of the DataModule that differ from the recipe's, such as {"root": "data"}.
        overwrite: Replace a conversion that is already there.

    Raises:
        ValueError: If an argument is wrong or the network cannot be converted.
        FileNotFoundError: If there is no run, or it has no recipe.
        FileExistsError: If the target exists.
    """
    check_options(method, steps, calibrate, start, percentile)
    if samples < 1:
        raise ValueError(f"samples: expected an integer >= 1, found {samples}. About 1,000 images are enough.")
    check_target(Path(target), overwrite)
    ann, recipe = load_run(run), source_recipe(run)
    method = check_twin(ann, method)
    twin_recipe = copy.deepcopy(recipe)
    recipe["data"]["init_args"] = {**(recipe["data"].get("init_args") or {}), **(data or {})}
    module = make_data(datamodule_class, recipe["data"], seed)
    images = list(calibration_images(module, samples))
    print(f"{run}: thresholds ({method}) from {sum(x.shape[1] for x in images):,} training images ...", flush=True)
    conversion = convert_with_thresholds(ann, images, method, steps, calibrate, start, percentile)
    fits = layer_fits(ann, conversion, images)
    print(f"Accuracy on the validation split, in one run of {max(STEPS_SHOWN)} steps ...", flush=True)
    shares = accuracies(ann, conversion.student, module.val_dataloader())
    how = {"method": method, "steps": steps, "calibrate": calibrate, "start": start, "seed": seed}
    how |= {"percentile": percentile} if method == "percentile" else {}
    record = {
        "source": str(run),
        "architecture": zoo.describe(ann)["architecture"],
        "student": zoo.describe(conversion.student)["architecture"],
        **how,
        "samples": sum(x.shape[1] for x in images),
        **({"teacher": teacher} if (teacher := twin_teacher(run, recipe)) else {}),
        "accuracy": {"split": "val", **asdict(shares)},
        "layers": [asdict(fit) for fit in fits],
        "recipe": twin_recipe,
    }
    write_run(Path(target), conversion, recipe, module, record)
    console = Console()
    for table in (layer_table(f"{target}, T = {steps}", fits), accuracy_table(shares, steps, start)):
        console.print(table)


# Before anything is computed ------------------------------------------------------------------------------------------


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
    if read_json(target / "conversion.json").get("checkpoint") != fingerprint(run_checkpoint(target)):
        raise FileExistsError(
            f"{target} holds other weights than its conversion.json describes, so --overwrite does not replace it. "
            "Choose another directory."
        )


def source_recipe(run: str) -> dict[str, Any]:
    """The recipe of a run.

    Raises:
        FileNotFoundError: If it has none.
    """
    path = run_file(run, "config.yaml")
    if path is None:
        raise FileNotFoundError(
            f"{run_checkpoint(run)} lies in no run with a config.yaml, which names the data. Give the directory of a "
            "run that snnzoo fit wrote."
        )
    recipe: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return recipe


def twin_teacher(run: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Name, architecture and licence of the teacher of a twin; of an untested twin the name only; empty without one."""
    file, name = run_file(run, "results.json"), (recipe["model"].get("init_args") or {}).get("teacher")
    facts = (read_results(file.parent).teacher if file else None) or ({"name": name} if name else {})
    return {key: value for key, value in facts.items() if key != "measurement"}


def make_data(datamodule_class: type, config: Mapping[str, Any], seed: int) -> Any:
    """The DataModule of a recipe, read, its training images without augmentation.

    Raises:
        ValueError: If it does not take an argument.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(datamodule_class, "data")
    init = {**config["init_args"], "seed": seed}
    try:
        module = parser.instantiate_classes(parser.parse_object({"data": {**config, "init_args": init}})).data
    except ArgumentError as error:
        raise ValueError(f"The data of this run cannot be made:\n{readable(str(error))}") from error
    module.augment = False
    module.prepare_data()
    module.setup("fit")
    return module


def calibration_images(module: LightningDataModule, samples: int) -> Iterator[Tensor]:
    """Training images [T, N, C, H, W], `samples` of them or all, in batches of `IMAGES_AT_ONCE`."""
    left = samples
    for x, _ in module.train_dataloader():
        yield from x[:, :left].split(IMAGES_AT_ONCE, 1)
        left -= x.shape[1]
        if left <= 0:
            return


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
        num_classes=module.num_classes,
        in_chans=module.in_chans,
        input_cfg=module.input_cfg,
        model_args=args,
    )
    trained.model.pretrained_cfg.update({**conversion.student.pretrained_cfg, **module.input_cfg})
    trained.model.load_state_dict(conversion.student.state_dict())
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no list of devices, no advertisements
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(trained)
    trainer.save_checkpoint(path, weights_only=True)


# Tables ---------------------------------------------------------------------------------------------------------------


def layer_table(title: str, fits: list[LayerFit]) -> Table:
    """How well each layer fits, one line each."""
    caption = "a: activation of the twin; theta: what a spike stands for; rate: spikes per neuron and step."
    table = Table("layer", title=title, caption=caption)
    for column in ("theta", "rate", "mean |a|", "mean |a - theta rate|"):
        table.add_column(column, justify="right")
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
