"""`snnzoo report`: what one inference costs, layer by layer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from zoo.energy import Measurement


def report(name: str, registry: str | None = None) -> None:
    """Measure what one inference costs: operations, firing rates, energy, layer by layer.

    If a test recorded early exit, a table follows: accuracy and mean steps over the threshold of the score.

    Args:
        name: A published checkpoint, a run or a .ckpt (measured on its golden samples), or an architecture (untrained,
            measured on noise: only parameters and dense operations mean something).
        registry: As for pull.
    """
    from rich.console import Console

    import zoo
    from zoo.energy import measure
    from zoo.registry.build import as_model_input
    from zoo.registry.sources import Architecture, locate
    from zoo.sequence import to_sequence
    from zoo.teacher import kind_of

    found = locate(name, registry)
    model, golden = found.model(), found.golden_input()
    images = zoo.noise_input(model) if golden is None else as_model_input(model, golden)
    console = Console()
    sequence = to_sequence(images, kind_of(model))
    source = "noise" if golden is None else f"{sequence.shape[1]} golden samples"
    for table in report_tables(f"{name}, measured on {source}", measure(model, [images])):
        console.print(table)
    if golden is None:
        why = "Untrained" if isinstance(found, Architecture) else "Not tested yet"
        console.print(f"{why} and measured on noise: only parameters and dense operations mean something.")
    results = found.results()
    if tested := results.cost:
        console.print(
            f"The test measured {tested.energy_uj():.3f} µJ (effective) on {tested.num_samples} samples of the test "
            f"split; the tables above are of {source}.",
            highlight=False,
        )
        if results.early_exit:
            console.print(exit_table(results.early_exit, tested, still=len(sequence) == 1))


def report_tables(name: str, cost: "Measurement") -> list["Table"]:
    """The cost of one inference: a table of totals and a table of layers."""
    from rich.table import Column, Table

    from zoo.energy import HOROWITZ_45NM as CONSTANTS

    totals = Table("per inference (all steps)", "", title=name, show_header=False)
    rate = "none: not a spiking network" if cost.firing_rate is None else f"{cost.firing_rate:.4f} spikes/neuron/step"
    assumption = f"{CONSTANTS.name}: {CONSTANTS.mac_pj} pJ a MAC, {CONSTANTS.ac_pj} pJ an AC; no memory traffic"
    for key, value in {
        "parameters": f"{cost.parameters:,} ({cost.footprint_bytes / 1e6:.2f} MB with buffers)",
        "zero weights": f"{cost.connection_sparsity:.2%}",
        "firing rate": rate,
        "dense operations": f"{cost.dense:,.0f}",
        "effective MACs": f"{cost.macs:,.0f}",
        "effective ACs": f"{cost.acs:,.0f}",
        "energy, effective": f"{cost.energy_uj():.3f} µJ ({assumption})",
        "energy, as in papers": f"{cost.energy_uj('paper'):.3f} µJ (dense MACs of the encoder, ACs elsewhere)",
    }.items():
        totals.add_row(key, value)
    numbers = (Column(name, no_wrap=True, justify="right") for name in ("dense", "MACs", "ACs", "input density"))
    layers = Table(Column("layer", overflow="fold"), Column("kind", no_wrap=True), *numbers, title="layers")
    for layer in cost.layers:
        counts = (f"{count:,.0f}" for count in (layer.dense, layer.macs, layer.acs))
        layers.add_row(layer.name, layer.kind, *counts, f"{layer.input_density:.3f}")
    return [totals, layers]


def exit_table(curve: Mapping[str, list[dict[str, float]]], cost: "Measurement", still: bool) -> "Table":
    """Accuracy, mean steps and energy of a student that stops when its score exceeds a threshold, one line for each.

    Args:
        curve: See `lightning_modules.metrics.exit_curve.ExitCurve`.
        cost: What all steps cost.
        still: Whether the input is a still image, which is encoded once, not at every step.
    """
    from dataclasses import replace

    from rich.table import Table

    encoder = replace(cost, layers=tuple(layer for layer in cost.layers if layer.encoder and still)).energy_uj()
    total = max(row["mean_steps"] for rows in curve.values() for row in rows)  # threshold 1: all steps
    caption = "Energy is estimated: every step taken to cost the same, and the encoder of a still image to run once."
    table = Table("score", title="early exit, on the test split", caption=caption)
    for column in ("threshold", "accuracy", "mean steps", "energy, about"):
        table.add_column(column, justify="right")
    for score, rows in curve.items():
        for row in rows:
            energy = encoder + (cost.energy_uj() - encoder) * row["mean_steps"] / total
            cells = (f"{row['threshold']:g}", f"{row['acc']:.2%}", f"{row['mean_steps']:.2f}", f"{energy:.3f} µJ")
            table.add_row(score, *cells)
        table.add_section()
    return table
