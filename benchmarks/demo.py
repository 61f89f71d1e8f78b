"""Does the main job work, end to end? Every command is shown as you would type it; `make demo` runs this.

Trains a timm teacher on scikit-learn's handwritten digits, distils it into a spiking student, trains the same student
without a teacher, tests all three, publishes, pulls and verifies the student, and fine-tunes it on images of other
classes. Everything lands in runs/demo; the same seed gives the same numbers.
"""

import random
import shlex
import shutil
import time
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from cli import main
from zoo.energy import HOROWITZ_45NM
from zoo.registry.results import read_results

ROOT = Path("runs/demo")
CONFIGS = Path(__file__).parent.parent / "configs/digits"
NAME = "sew_resnet_tiny.bkd_digits"
console = Console()


def snnzoo(*args: str | Path) -> float:
    """Show and run one command; returns its seconds."""
    words = [str(arg) for arg in args]
    console.print(f"\n[bold]$ snnzoo {shlex.join(words)}[/bold]", highlight=False, soft_wrap=True)
    start = time.perf_counter()
    main(words)
    return time.perf_counter() - start


def train(recipe: str, *changes: str) -> float:
    """Fit and test one recipe; returns the seconds of the fit."""
    run = ["--run", str(ROOT / recipe), *changes]
    seconds = snnzoo("fit", "--config", CONFIGS / f"{recipe}.yaml", *run)
    snnzoo("test", "--config", ROOT / recipe / "config.yaml")
    return seconds


def draw_shapes(root: Path, per_class: int = 30, side: int = 32) -> None:
    """Write PNGs of circles, crosses, squares and triangles, of random size and place, in noise."""
    draw_random = random.Random(0)
    for shape in ("circle", "cross", "square", "triangle"):
        (root / shape).mkdir(parents=True)
        for number in range(per_class):
            image = Image.new("L", (side, side))
            pen = ImageDraw.Draw(image)
            half = draw_random.uniform(8, 12)
            x, y = (draw_random.uniform(half + 1, side - half - 1) for _ in range(2))
            box = (x - half, y - half, x + half, y + half)
            if shape == "circle":
                pen.ellipse(box, outline=255, width=4)
            elif shape == "square":
                pen.rectangle(box, outline=255, width=4)
            elif shape == "triangle":
                pen.polygon([(x, y - half), (x - half, y + half), (x + half, y + half)], outline=255, width=4)
            else:
                pen.line((x - half, y, x + half, y), fill=255, width=5)
                pen.line((x, y - half, x, y + half), fill=255, width=5)
            noisy = [min(255, max(0, int(value * 0.8 + draw_random.gauss(25, 25)))) for value in image.tobytes()]
            Image.frombytes("L", (side, side), bytes(noisy)).save(root / shape / f"{number:02}.png")


def summary(times: dict[str, float]) -> Table:
    """One row a model, from the `results.json` of its test."""
    assumption = (
        f"Operations of one inference, all time steps, zeros skipped. Energy: {HOROWITZ_45NM.mac_pj} pJ a MAC, "
        f"{HOROWITZ_45NM.ac_pj} pJ an AC ({HOROWITZ_45NM.name}); no memory traffic, no neuron updates. "
        "Rate: spikes per neuron and step."
    )
    table = Table("model", caption=assumption, title="snnzoo demo")
    for column in ("accuracy", "params", "rate", "MACs", "ACs", "µJ", "training"):
        table.add_column(column, justify="right", no_wrap=True)
    for model, seconds in times.items():
        results = read_results(ROOT / model)
        cost = results.measurement
        table.add_row(
            model.replace("sew_resnet", "student"),  # the table is 80 columns wide
            f"{results.accuracy:.2%}",
            f"{cost['parameters'] / 1e3:.0f} k",
            "-" if cost["firing_rate"] is None else f"{cost['firing_rate']:.3f}",
            f"{cost['macs'] / 1e6:.2f} M",
            f"{cost['acs'] / 1e6:.2f} M",
            f"{cost['energy_uj']['effective']:.2f}",
            f"{seconds:.0f} s",
        )
    return table


def demo() -> None:
    """The main job."""
    torch.set_num_threads(1)  # the tensors are small, and one thread adds up alike on every machine
    shutil.rmtree(ROOT, ignore_errors=True)
    start = time.perf_counter()
    times = {"teacher": train("teacher")}
    times["sew_resnet_bkd"] = train("sew_resnet_bkd", "--model.teacher", str(ROOT / "teacher"))
    times["sew_resnet_ce"] = train("sew_resnet_ce")

    registry = ROOT / "registry"
    snnzoo("publish", ROOT / "sew_resnet_bkd", registry / NAME)
    snnzoo("pull", NAME, "--registry", registry)
    snnzoo("verify", NAME, "--registry", registry)

    draw_shapes(ROOT / "shapes")
    tune = ["--data", ROOT / "shapes", "--run", ROOT / "finetuned", "--epochs", "60"]
    times["finetuned"] = snnzoo("finetune", NAME, "--registry", registry, *tune)

    console.print()
    console.print(summary(times))
    console.print(f"Plots: {ROOT}/*/plots. Everything took {time.perf_counter() - start:.0f} s.", highlight=False)


if __name__ == "__main__":
    demo()
