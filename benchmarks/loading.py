"""Is loading the bottleneck of training? Samples a second of a recipe's loader, and of a training step of its student.

    python benchmarks/loading.py configs/nmnist/spiking_vgg_ce.yaml --root data

prints, for training data as the recipe has them: the first pass over the files (a new, empty cache), later passes
without and with two loading processes, and how many samples forward, backward and update manage (mixed bf16, one batch
again and again, no loading, no logging). Data are no bottleneck if the later passes are faster than the step.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml

import zoo
from datamodules import BaseDataModule
from datamodules.find import find


def made(recipe: Path, args: argparse.Namespace, cache: str, workers: int) -> BaseDataModule:
    """The recipe's data, with their cache in a folder of its own."""
    data = find(str(recipe), args.root, args.options)
    data.num_workers = workers
    if hasattr(data, "cache"):
        data.cache.folder = Path(cache)
    data.setup("fit")
    return data


def samples_per_second(data: BaseDataModule, passes: int) -> float:
    """Of passes over the training data, the median; starting the processes is part of it."""
    rates = []
    for _ in range(passes):
        start, samples = time.perf_counter(), 0
        for x, _y in data.train_dataloader():
            samples += x.shape[1]
        rates.append(samples / (time.perf_counter() - start))
    return statistics.median(rates)


def trained_per_second(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int) -> float:
    """Of steps on one batch, the median."""
    optimizer = torch.optim.AdamW(model.parameters())
    rates = []
    for _ in range(steps):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.forward_sequence(x).mean(0)
        F.cross_entropy(logits.float(), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        rates.append(len(y) / (time.perf_counter() - start))
    return statistics.median(rates)


def main() -> None:
    """Measure the recipes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--root", help="folder of the data, instead of the recipe's")
    parser.add_argument("--options", type=yaml.safe_load, help="other arguments of the DataModule, as of `snnzoo data`")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("samples/s: first pass, later passes, with 2 processes | training step | later / step")
    for recipe in args.recipes:
        settings: dict[str, Any] = yaml.safe_load(recipe.read_text())["model"]["init_args"]
        with tempfile.TemporaryDirectory() as cache:
            first = samples_per_second(made(recipe, args, cache, 0), 1)
            data = made(recipe, args, cache, 0)
            later = samples_per_second(data, 3)
            parallel = samples_per_second(made(recipe, args, cache, 2), 3)
            x, y = next(iter(data.train_dataloader()))
        name = settings.get("model") or settings["student"]
        arguments = settings.get("model_args") or settings.get("student_args") or {}
        model = zoo.create_model(name, num_classes=data.num_classes, in_chans=data.in_chans, **arguments)
        step = trained_per_second(model, x, y, 7)
        rates = f"{first:8,.0f} {later:8,.0f} {parallel:8,.0f} | {step:8,.0f} | {later / step:5.1f}"
        print(f"{f'{recipe.parent.name}/{recipe.stem}':28} {rates}")


if __name__ == "__main__":
    main()
