"""What a ladder writes down: RUN/ladder.json, and the table of its rungs."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from zoo.energy import HOROWITZ_45NM, Measurement
from zoo.registry.files import read_json, write_json
from zoo.registry.results import read_results
from zoo.registry.runs import Run

from .ladder import Ladder
from .recipes import read_recipe
from .record import differences


def about(plan: Ladder) -> dict[str, Any]:
    """What must not change from one call to the next."""
    options = {"recipe": read_recipe(plan.recipe), "options": list(plan.options), "kd": plan.kd}
    return options | {"steps": list(plan.steps), "epochs": list(plan.epochs)}


def remembered(plan: Ladder) -> dict[str, Any]:
    """What the directory says of its ladder; nothing before its first rung has begun."""
    begun = any(plan.run.glob("T*/config.yaml"))
    return read_json(plan.run / "ladder.json") if begun and (plan.run / "ladder.json").exists() else {}


def refuse_another(plan: Ladder) -> None:
    """Refuse to go on with another ladder; more rungs may be added below.

    Raises:
        ValueError: If the directory holds rungs that were made otherwise.
    """
    before = remembered(plan)
    for key, value in about(plan).items():
        old = before.get(key, value)
        # A shorter or longer ladder is the same one, as far as both go.
        same = old == value
        if key in ("steps", "epochs"):
            shared = min(len(old), len(value))
            same = old[:shared] == value[:shared]
        if not same:
            changes = "; ".join(f"{name} was {was}, now {now}" for name, was, now in differences(key, old, value))
            raise ValueError(
                f"{plan.run} holds another ladder: {changes}. Go on with the same options, or "
                "choose another directory: --run DIR."
            )


def remember(plan: Ladder, rows: Sequence[dict[str, Any]] = ()) -> None:
    """Write down what the ladder is and the rungs that are finished, and keep those of a longer ladder."""
    before, now = remembered(plan), about(plan) | {"rungs": list(rows)}
    for key in ("steps", "epochs", "rungs"):
        now[key] += before.get(key, [])[len(now[key]) :]
    write_json(plan.run / "ladder.json", now)


def row(plan: Ladder, index: int) -> dict[str, Any]:
    """What a finished rung reached and costs."""
    run = plan.rung(index)
    results = Run(str(run)).results()
    cost = Measurement.from_dict(results.measurement)
    start = read_results(run / "start").accuracy if index else None
    return {
        "num_steps": plan.steps[index],
        "acc_before": start,
        "acc": results.accuracy,
        "firing_rate": cost.firing_rate,
        "lowest_rate": min(cost.firing_rates.values()),
        "macs": cost.macs,
        "acs": cost.acs,
        "energy_uj": cost.energy_uj(),
    }


def table(plan: Ladder, rows: list[dict[str, Any]]) -> Table:
    """The rungs, one line each."""
    energy = HOROWITZ_45NM
    caption = (
        "Test split. Accuracy before: the weights of the rung above at this T, not yet trained. Rate: spikes per "
        "neuron and step; lowest: of one layer. M: million operations of one inference, all steps, zeros skipped. "
        f"Energy: {energy.mac_pj} pJ a MAC, {energy.ac_pj} pJ an AC ({energy.name}); no memory traffic, no neuron "
        "updates."
    )
    if plan.steps[-1] == 1:
        caption += " At T = 1 nothing is remembered: it is a network with binary activations, and leaks do nothing."
    drawn = Table("T", title=f"{plan.run}", caption=caption, caption_justify="left")
    for column in ("acc. before", "acc. after", "rate", "lowest", "M MACs", "M ACs", "energy, µJ"):
        drawn.add_column(column, justify="right", no_wrap=True)
    for line in rows:
        before = "-" if line["acc_before"] is None else f"{line['acc_before']:.2%}"
        rates = [f"{line['firing_rate']:.3f}", f"{line['lowest_rate']:.3f}"]
        counts = [f"{line[key] / 1e6:.3f}" for key in ("macs", "acs")]
        drawn.add_row(str(line["num_steps"]), before, f"{line['acc']:.2%}", *rates, *counts, f"{line['energy_uj']:.2f}")
    return drawn
