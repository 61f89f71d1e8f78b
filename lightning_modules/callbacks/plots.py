"""Pictures of a run: learning curves, confusion matrix, firing rates, a spike raster, early exit."""

import csv
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from zoo.model import spiking_neurons
from zoo.trace import watching

MOST_CLASSES = (
    256  # of a confusion matrix: torchmetrics compares every answer with all of its cells, 2 GB for 1,024 tokens
)
MOST_NEURONS = 100  # of a layer in the raster


class Plots(Callback):
    """Draws into `<run>/plots`: `learning_curves.png` after `fit`, the others after `test`."""

    def __init__(self) -> None:
        self.confusion: MulticlassConfusionMatrix | None = None
        self.stack = ExitStack()
        self.raster: dict[str, Tensor] = {}
        self.rates: dict[str, list[float]] = {}
        self.sample: tuple[int, int] | None = None  # class and answer of the sample in the raster

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw the learning curves."""
        curves = read_curves(Path(trainer.default_root_dir))
        if trainer.is_global_zero and not trainer.fast_dev_run and curves:  # type: ignore[attr-defined]
            save(draw_learning_curves(curves), trainer, "learning_curves")

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin to count answers."""
        countable = pl_module.num_classes <= MOST_CLASSES
        self.confusion = MulticlassConfusionMatrix(pl_module.num_classes).to(pl_module.device) if countable else None
        self.raster, self.rates, self.sample = {}, {}, None

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Watch the neurons in the first batch."""
        if batch_idx == 0:
            self.stack.enter_context(watching(spiking_neurons(pl_module.model), self.keep))

    def keep(self, name: str, neuron: nn.Module, args: Any, spikes: Tensor) -> None:
        """Keep the firing rate of every step, and the spikes [T, neurons] of the first sample."""
        self.rates[name] = spikes.float().flatten(1).mean(1).tolist()
        self.raster[name] = spikes[:, 0].flatten(1).bool().cpu()

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Count the answers of a batch."""
        self.stack.close()
        if batch_idx == 0 and batch[1].ndim == 1:  # one class per sample
            self.sample = int(batch[1][0]), int(outputs[0].argmax())
        if self.confusion is not None:
            target = batch[1].flatten()
            self.confusion.update(outputs.argmax(-1), target[target >= 0])  # -100: a step without a label

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw what was counted."""
        counts = None if self.confusion is None else self.confusion.compute().cpu()  # of all processes, so all ask
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        names = trainer.datamodule.input_cfg["label_names"]  # type: ignore[attr-defined]
        if counts is not None:
            save(draw_confusion(counts, names), trainer, "confusion_matrix")
        if self.rates:
            save(draw_firing_rates(self.rates), trainer, "firing_rates")
            answer = self.sample and ": class {}, answer {}".format(*(names[label] for label in self.sample))
            title = f"first sample of the test split{answer or ''}"
            save(draw_raster(self.raster, title), trainer, "spike_raster")
        if pl_module.exit_curve:
            save(draw_exit_curve(pl_module.exit_curve), trainer, "early_exit")


def read_curves(run: Path) -> dict[str, dict[int, float]]:
    """Per-epoch values by metric, from the CSV logs of a run; a resumed run has several and the last one wins."""
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    for log in sorted(run.glob("logs/fit_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1])):
        with log.open() as file:
            for row in csv.DictReader(file):
                if None in row:  # more values than names: an interruption came after a row and before its new header
                    continue
                for name, value in row.items():
                    if name.startswith(("train/", "val/")) and value:
                        curves[name][int(row["epoch"])] = float(value)
    return dict(curves)


def draw_learning_curves(curves: dict[str, dict[int, float]]) -> Figure:
    """Loss, accuracy and, if logged, the agreement with the teacher and the firing rate, over epochs."""
    panels = {
        "loss": ["train/loss", "val/loss"],
        "accuracy": ["train/acc", "val/acc"],
        "agreement with the teacher": ["val/agreement"],  # often equals the accuracy, whose line it would hide
        "firing rate": ["val/firing_rate"],
    }
    shown = {title: [n for n in names if n in curves] for title, names in panels.items()}
    shown = {title: names for title, names in shown.items() if names}
    figure = Figure(figsize=(4.2 * len(shown), 3.2), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        for name in names:
            epochs = sorted(curves[name])
            axes.plot([e + 1 for e in epochs], [curves[name][e] for e in epochs], marker=".", label=name)
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def draw_confusion(counts: Tensor, names: list[str]) -> Figure:
    """Rows are the classes, columns the answers; shares of a row are shaded, counts written when they fit."""
    size = len(names)
    figure = Figure(figsize=(max(4.0, 0.45 * min(size, 30) + 1.5),) * 2, layout="constrained")
    axes = figure.subplots()
    shares = counts / counts.sum(1, keepdim=True).clamp_min(1)
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    if size <= 30:
        axes.set_xticks(range(size), names, rotation=90 if max(map(len, names)) > 2 else 0)
        axes.set_yticks(range(size), names)
        for row in range(size):
            for column in range(size):
                if counts[row, column]:
                    colour = "white" if shares[row, column] > 0.5 else "black"
                    axes.text(
                        column, row, str(int(counts[row, column])), ha="center", va="center", color=colour, size=8
                    )
    accuracy = counts.diagonal().sum().item() / max(1, counts.sum().item())
    axes.set(xlabel="answer", ylabel="class", title=f"{accuracy:.2%} of {int(counts.sum())} right")
    return figure


def draw_firing_rates(rates: dict[str, list[float]]) -> Figure:
    """Mean firing rate of every layer, one bar each, with one dot for every step."""
    figure = Figure(figsize=(6, 0.32 * len(rates) + 1.2), layout="constrained")
    axes = figure.subplots()
    for row, steps in enumerate(rates.values()):
        axes.barh(row, sum(steps) / len(steps), color="#9ecae1")
        axes.scatter(steps, [row] * len(steps), s=14, c=range(len(steps)), cmap="viridis", zorder=2)
    axes.set_yticks(range(len(rates)), list(rates))
    axes.invert_yaxis()
    axes.set_xlabel("spikes per neuron and step\n(dots: single steps, the first dark, the last bright)")
    return figure


def draw_raster(raster: dict[str, Tensor], title: str = "") -> Figure:
    """Spikes [T, neurons] of every layer, for one sample: steps across, neurons upwards.

    Of a layer of more than 100 neurons, 100 are shown at equal distances; its title gives both numbers.
    """
    columns = min(4, len(raster))
    rows = -(-len(raster) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (name, spikes) in zip(panels, raster.items(), strict=False):
        total = spikes.shape[1]
        chosen = torch.linspace(0, total - 1, min(MOST_NEURONS, total)).long()
        spikes = spikes[:, chosen]
        count = f"{len(chosen)} of {total:,}" if len(chosen) < total else f"{total}"
        steps, neurons = spikes.nonzero(as_tuple=True)
        mark = {"marker": "s", "s": 3} if len(spikes) <= 20 else {"marker": ".", "s": 5, "linewidths": 0}
        axes.scatter(steps + 1, neurons, color="black", **mark)
        axes.set_title(f"{name}\n{count} neurons", size=8)
        axes.set(xlim=(0.5, len(spikes) + 0.5), ylim=(-2, spikes.shape[1] + 1))
        axes.set_xticks(range(1, len(spikes) + 1) if len(spikes) <= 10 else [1, len(spikes)])
    for axes in panels[len(raster) :]:
        axes.axis("off")
    figure.suptitle(title)
    figure.supxlabel("step")
    figure.supylabel("neuron")
    return figure


def draw_exit_curve(curve: dict[str, list[dict[str, float]]]) -> Figure:
    """Accuracy over mean steps of a student that stops early, one line for every score."""
    figure = Figure(figsize=(4.2, 3.2), layout="constrained")
    axes = figure.subplots()
    for score, rows in curve.items():
        axes.plot([row["mean_steps"] for row in rows], [row["acc"] for row in rows], marker=".", label=score)
    axes.set(xlabel="mean steps", ylabel="accuracy", title="early exit: one dot for every threshold")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def save(figure: Figure, trainer: Trainer, name: str) -> None:
    """Write a picture into the run, as large as its longest text needs."""
    folder = Path(trainer.default_root_dir) / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=130, bbox_inches="tight")
