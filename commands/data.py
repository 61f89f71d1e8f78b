"""`snnzoo data`: the numbers of a dataset, and a picture of it, before training."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from datamodules.survey import Split


def data(
    name: str,
    root: str | None = None,
    options: dict[str, Any] | None = None,
    show: bool = False,
    output: str = "runs/data.png",
) -> None:
    """Show a dataset before training: samples, classes, shapes, events; a picture.

    Args:
        name: A DataModule (NMNISTDataModule, or only nmnist), a recipe (configs/nmnist/spiking_vgg_ce.yaml), or a
            folder with one sub-folder per class, of recordings or of images.
        root: Folder of the data, for a DataModule and a recipe.
        options: Other arguments of the DataModule, such as '{sensor_size: [64, 48, 2], on_error: skip}'.
        show: Write a picture: samples over time, events, class balance.
        output: File of the picture.
    """
    from rich.console import Console

    from datamodules.find import find
    from datamodules.survey import survey

    module = find(name, root, options)
    module.prepare_data()
    module.setup("fit")
    console = Console()
    for table in data_tables(name, module, survey(module)):
        console.print(table)
    if show:
        from .data_figure import draw

        draw(module, Path(output))
        console.print(f"Picture: {output}", highlight=False, soft_wrap=True)


def data_tables(name: str, module: Any, splits: "dict[str, Split]") -> list["Table"]:
    """Two tables of a dataset: its samples, and its splits."""
    from rich.table import Table

    from zoo.sequence import SequenceKind

    sample = module.splits["val"][0][0]
    facts = Table("", "", title=f"{name}: {type(module).__name__}", show_header=False)
    axes = SequenceKind(module.sequence_ndim).sample_axes
    facts.add_row(f"a sample {axes}", f"{list(sample.shape)}, {sample.dtype}, {sample.min():g} to {sample.max():g}")
    facts.add_row("classes K", str(module.num_classes))
    if hasattr(module, "sensor_size"):
        facts.add_row("sensor W, H, P", str(module.sensor_size))
        facts.add_row("representation", str(module.representation))
    surveyed = any(split.surveyed for split in splits.values())
    counted = ("events, median (least to most)", "ms, median", "ON", "empty") if surveyed else ()
    table = Table("split", "samples", "a class: least to most", *counted, title="splits")
    for split, found in splits.items():
        counts = found.classes.values()
        row = [split, f"{found.samples:,}", f"{min(counts):,} to {max(counts):,}" if counts else "-"]
        table.add_row(*row, *(event_cells(found) if surveyed else ()))
    if any(len(split.surveyed) < split.samples for split in splits.values()) and surveyed:
        table.caption = "Events are counted in up to 500 samples of a split, evenly spaced."
    return [facts, table]


def event_cells(split: "Split") -> list[str]:
    """Events of the surveyed recordings of a split."""
    from statistics import median

    events = [facts.events for facts in split.surveyed]
    on = sum(facts.on for facts in split.surveyed) / max(sum(events), 1)
    duration = median(facts.duration for facts in split.surveyed) / 1000
    spread = f"{median(events):,.0f} ({min(events):,} to {max(events):,})"
    return [spread, f"{duration:,.1f}", f"{on:.0%}", str(events.count(0))]
