"""The table of all students, for the README: what each is, costs, and has reached."""

from collections.abc import Iterable

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..model import Network, SpikingModel
from ..models._builder import origin_of
from ..neurons import has_activations
from ..sequence import SequenceKind, to_sequence
from .build import noise_input
from .sources import create_model, locate, published

COLUMNS = ("name", "kind", "parameters", "T", "input", "dense MACs", "paper", "original code", "published", "ours")
LEGEND = (
    "Parameters and multiply-accumulates (dense, all T steps, one sample, zero padding included) are those of the "
    "model as built here. *Published* is what the paper prints for the original, not measured here; *ours* is the test "
    "accuracy of checkpoints of this registry. `original code` is the licence of the authors' code, of which none is "
    "used here."
)


def catalogue(names: Iterable[str], registry: str | None = None) -> str:
    """A Markdown table, one row a student; teachers and the tiny ones for tests are left out.

    Args:
        names: Architectures.
        registry: Directory of published checkpoints; see `zoo.list_models`.
    """
    rows = [row(name, registry) for name in names if not name.endswith("tiny")]
    lines = [COLUMNS, ("---",) * len(COLUMNS), *filter(None, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{LEGEND}"


def row(name: str, registry: str | None) -> tuple[str, ...] | None:
    """The cells of one student; None for a model that does not spike."""
    with torch.device("meta"):  # shapes are enough
        model = create_model(name)
    if not isinstance(model, SpikingModel) or has_activations(model):
        return None
    origin, images = origin_of(name), model.kind is SequenceKind.IMAGES
    return (
        f"`{name}`",
        origin.kind,
        f"{sum(parameter.numel() for parameter in model.parameters()):,}",
        str(model.num_steps) if model.kind.still else "data",
        "x".join(str(size) for size in model.pretrained_cfg["input_size"] if size > 1 or images),
        human_count(dense_macs(name, model)),
        f"[{origin.paper.removeprefix('arXiv:')}]({origin.url})" if origin.paper else "",
        origin.code,
        origin.published,
        "; ".join(own_results(name, registry)),
    )


def dense_macs(name: str, model: Network) -> int:
    """Multiply-accumulates of one sample, without numbers; a student of spike trains follows them, and runs."""
    x = to_sequence(noise_input(model), model.kind)[:, :1]
    if model.kind is SequenceKind.SPIKE_TRAINS:
        model = create_model(name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(x.to(next(model.parameters()).device))
    return counter.get_total_flops() // 2


def human_count(count: int) -> str:
    """Three digits and a unit."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def own_results(name: str, registry: str | None) -> list[str]:
    """Test accuracies of the published checkpoints of an architecture, by tag; of those on this machine."""
    found = []
    for checkpoint, place in published(registry).items():
        architecture, _, tag = checkpoint.partition(".")
        if architecture == name and place.startswith("local-dir:"):
            results = locate(place).results()
            if results.accuracy is not None:
                found.append(f"{100 * results.accuracy:.2f} % {results.dataset or ''} (`{tag}`)")
    return found
