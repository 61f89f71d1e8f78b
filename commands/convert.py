"""`snnzoo convert`: the run of an ANN twin becomes the run of its spiking student, with a report.

    TARGET/config.yaml                  a recipe of the student: `snnzoo test --config TARGET/config.yaml`
    TARGET/checkpoints/{best,last}.ckpt its weights; both are the same
    TARGET/conversion.json              how it was made, how well each layer fits, accuracy over T beside the twin

Thresholds and corrections come from training images without augmentation, accuracies from the validation split.
"""

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

IMAGES_AT_ONCE = 32
"""Images of a calibration batch: local threshold balancing takes one step per batch."""


def convert(
    run: str,
    target: str,
    method: str | None = None,
    steps: int = 8,
    calibrate: str = "none",
    start: str = "potential",
    percentile: float = 99.9,
    samples: int = 1024,
    seed: int = 0,
    data: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Convert a trained ANN twin into its spiking student: docs/conversion.md.

    Args:
        run: The run of a twin, such as pool_vgg_s, or of a student trained with neuron: relu or qcfs.
        target: Directory of the student's run, new; `snnzoo test --config TARGET/config.yaml` measures it.
        method: How thresholds are found: qcfs, ltb or percentile; default: qcfs or ltb, after the twin's activation.
        steps: Steps T that the student is made for.
        calibrate: What corrects the mean error of every channel: none, bias or potential.
        start: potential (each neuron starts at half its threshold), or bias for hardware that cannot.
        percentile: Percentile of the activation, with method percentile.
        samples: Training images that thresholds and corrections are read from.
        seed: Seed of the choice of these images.
        data: Arguments of the data that differ from the twin's recipe: --data.root DATA.
        overwrite: Replace an earlier conversion.

    Raises:
        ValueError: If an argument is wrong or the network cannot be converted.
        FileNotFoundError: If there is no run, or it has no recipe.
        FileExistsError: If the target exists.
    """
    if samples < 1:
        raise ValueError(f"samples: expected an integer >= 1, found {samples}. About 1,000 images are enough.")
    from rich.console import Console

    import zoo
    from zoo.conversion import ConversionSettings, check_twin, convert_with_thresholds
    from zoo.conversion_report import STEPS_SHOWN, accuracies, layer_fits
    from zoo.registry.runs import Run

    from .convert_run import accuracy_table, check_target, layer_table, source_recipe, twin_teacher, write_run
    from .recipe_data import make_data, training_images

    settings = ConversionSettings(method, steps, calibrate, start, percentile)
    check_target(Path(target), overwrite)
    source = Run(run)
    ann, recipe = source.model(), source_recipe(source)
    method = check_twin(ann, method)
    twin_recipe = copy.deepcopy(recipe)
    recipe["data"]["init_args"] = {**(recipe["data"].get("init_args") or {}), **(data or {})}
    module = make_data(recipe["data"], seed=seed)
    module.augment = False
    module.prepare_data()
    module.setup("fit")
    images = list(training_images(module, samples, IMAGES_AT_ONCE))
    count = sum(x.shape[1] for x in images)
    print(f"{run}: thresholds ({method}) from {count:,} training images ...", flush=True)
    converted = convert_with_thresholds(ann, images, settings)
    fits = layer_fits(ann, converted, images)
    print(f"Accuracy on the validation split, in one run of {max(STEPS_SHOWN)} steps ...", flush=True)
    shares = accuracies(ann, converted.student, module.val_dataloader())
    how = {"method": method, "steps": steps, "calibrate": calibrate, "start": start}
    how |= {"percentile": percentile} if method == "percentile" else {}
    record = {
        "source": str(run),
        "architecture": zoo.describe(ann)["architecture"],
        "student": zoo.describe(converted.student)["architecture"],
        **how,
        "seed": seed,
        "samples": count,
        **({"teacher": teacher} if (teacher := twin_teacher(source, recipe)) else {}),
        "accuracy": {"split": "val", **asdict(shares)},
        "layers": [asdict(fit) for fit in fits],
        "recipe": twin_recipe,
    }
    write_run(Path(target), converted, recipe, module, record)
    console = Console()
    for table in (layer_table(f"{target}, T = {steps}", fits), accuracy_table(shares, steps, start)):
        console.print(table)
