"""Which options of training pay on few cores? Each alone, added to a plain recipe, on a tenth of CIFAR-10.

    python benchmarks/training_options.py --root DATA --teacher TEACHER      # an hour on two cores; it can be resumed
    python benchmarks/training_options.py --only base,ema --seeds 0          # a part of it

Student: spiking_pool_vgg_xs (32-64-128), T = 2. 5,000 training images, 8 epochs, SGD, cosine; accuracy on 5,120 of
the other official training images. No test image is used. Every run is `snnzoo fit` on a recipe written beside it.
The table gives mean and standard deviation over seeds, the gain over the plain recipe (paired by seed), and seconds,
which mean little on a shared machine.
"""

import argparse
import copy
import csv
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

EPOCHS = 8
ROOT = Path(__file__).parents[1]
OUTPUT = Path("runs/training_options")
CROP = {"class_path": "torchvision.transforms.v2.RandomCrop", "init_args": {"size": 32, "padding": 4}}
REFLECT = {**CROP, "init_args": {"size": 32, "padding": 4, "padding_mode": "reflect"}}
RANDOM_FLIP = {"class_path": "torchvision.transforms.v2.RandomHorizontalFlip"}


def base(root: str, seed: int) -> dict[str, Any]:
    """The plain recipe."""
    sgd = {"lr": 0.2, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
    data = {"root": root, "batch_size": 128, "num_workers": 0, "val_fraction": 0.9}
    return {
        "seed_everything": seed,
        "model": {
            "class_path": "ClassificationModule",
            "init_args": {
                "model": "spiking_pool_vgg_xs",
                "model_args": {"num_steps": 2},
                "objectives": [{"class_path": "CrossEntropy"}],
                "optimizer": {"class_path": "torch.optim.SGD", "init_args": sgd},
                "warmup_epochs": 1,
            },
        },
        "data": {"class_path": "CIFAR10DataModule", "init_args": {**data, "augmentation": [CROP, RANDOM_FLIP]}},
        "trainer": {
            "max_epochs": EPOCHS,
            "check_val_every_n_epoch": EPOCHS,
            "limit_val_batches": 40,
            "callbacks": [],
        },
    }


def callback(name: str, **arguments: Any) -> Any:
    """An option that is a callback."""
    return lambda recipe, _: recipe["trainer"]["callbacks"].append({"class_path": name, "init_args": arguments})


def objective(name: str, **arguments: Any) -> Any:
    """An option that is another cross-entropy."""
    chosen = [{"class_path": name, "init_args": arguments}]
    return lambda recipe, _: recipe["model"]["init_args"].update(objectives=chosen)


def augmentation(*parts: dict[str, Any]) -> Any:
    """An option that is another augmentation."""
    return lambda recipe, _: recipe["data"]["init_args"].update(augmentation=list(parts))


def distil(recipe: dict[str, Any], teacher: str) -> None:
    """A teacher whose logits are cached and compared at every step, with the augmentation that a cache allows."""
    recipe["model"]["class_path"] = "DistillationModule"
    args = recipe["model"]["init_args"]
    args |= {"student": args.pop("model"), "student_args": args.pop("model_args"), "teacher": teacher}
    args["objectives"].append({"class_path": "LogitKD", "init_args": {"temperature": 4.0, "per_step": True}})
    args["cache_teacher"] = True
    recipe["data"]["init_args"]["augmentation"] = [REFLECT, {"class_path": "AlternatingFlip"}]


OPTIONS: dict[str, Any] = {
    "base": lambda recipe, _: None,
    "grow": callback("GrowSteps", steps=[1], epochs=[EPOCHS // 2]),
    "ema": callback("EMA", decay=0.98),
    "flip_reflect": augmentation(REFLECT, {"class_path": "AlternatingFlip"}),
    "cutout": augmentation(CROP, RANDOM_FLIP, {"class_path": "SquareCutout", "init_args": {"size": 10}}),
    "smoothing": objective("CrossEntropy", label_smoothing=0.1),
    "whiten": callback("WhitenStem"),
    "lr_factors": lambda recipe, _: recipe["model"]["init_args"].update(lr_factors={r"\.bn\.bias$": 8.0}),
    "recalibrate": callback("RecalibrateNorms"),
    "cached_teacher": distil,
}


def fit(name: str, seed: int, root: str, teacher: str) -> tuple[float, float]:
    """Validation accuracy and seconds of one run, which is carried out unless it was before."""
    run = OUTPUT / name / str(seed)
    done = run / "done.yaml"
    if not done.exists():
        recipe = copy.deepcopy(base(root, seed)) | {"run": str(run)}
        OPTIONS[name](recipe, teacher)
        run.mkdir(parents=True, exist_ok=True)
        (run / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
        start = time.perf_counter()
        command = [
            sys.executable,
            str(ROOT / "cli.py"),
            "fit",
            "--config",
            str(run / "recipe.yaml"),
            "--overwrite=true",
        ]
        subprocess.run(command, check=True, capture_output=True, text=True)
        [log] = run.glob("logs/fit_*/metrics.csv")
        with log.open() as file:
            accuracy = [float(row["val/acc"]) for row in csv.DictReader(file) if row.get("val/acc")][-1]
        done.write_text(yaml.safe_dump({"accuracy": accuracy, "seconds": time.perf_counter() - start}))
    result = yaml.safe_load(done.read_text())
    return result["accuracy"], result["seconds"]


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data")
    parser.add_argument(
        "--teacher", default="runs/teachers/cifar_resnet20.cifar10", help="see examples/import_teacher.py"
    )
    parser.add_argument("--only", default=",".join(OPTIONS), help="options, separated by commas")
    parser.add_argument("--seeds", default="0,1,2")
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.seeds.split(",")]
    plain = [fit("base", seed, args.root, args.teacher) for seed in seeds]
    print("| option | accuracy | gain | seconds over base |\n|---|---|---|---|")
    for name in args.only.split(","):
        found = [fit(name, seed, args.root, args.teacher) for seed in seeds]
        gains = [100 * (own[0] - other[0]) for own, other in zip(found, plain, strict=True)]
        accuracies = [100 * accuracy for accuracy, _ in found]
        ratio = mean(own[1] for own in found) / mean(other[1] for other in plain)
        spread = [stdev(values) if len(values) > 1 else 0.0 for values in (accuracies, gains)]
        cells = f"{mean(accuracies):.2f} ± {spread[0]:.2f} | {mean(gains):+.2f} ± {spread[1]:.2f} | {ratio:.2f}"
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
