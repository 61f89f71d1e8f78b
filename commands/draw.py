"""`snnzoo draw`: a flowchart of a network."""

from pathlib import Path
from typing import Any


def draw(name: str, output: str | None = None, registry: str | None = None) -> None:
    """Draw the layers of a network and where spikes flow: a Mermaid flowchart.

    One run on noise tells which layer feeds which, and where the values are spikes.

    Args:
        name: An architecture, a checkpoint, a run, or a shell pattern of architectures, such as '*tiny'.
        output: File to write: .mmd for the flowchart, .md for a page; default: print it (of several, a page).
        registry: Directory of published checkpoints.
    """
    import torch

    import zoo
    from zoo.registry.sources import locate
    from zoo.wiring import mermaid, page, wiring

    names = zoo.list_models(name) or [name]
    suffix = Path(output).suffix if output else ".md" if len(names) > 1 else ".mmd"
    if suffix not in (".md", ".mmd") or (suffix == ".mmd" and len(names) > 1):
        of_one = ", or in .mmd" if len(names) == 1 else f" for a page of {len(names)} flowcharts"
        raise ValueError(f"output: expected a file that ends in .md{of_one}, found {output}.")

    def create(name: str) -> Any:
        torch.manual_seed(0)  # untrained weights are random, their picture is not
        return locate(name, registry).model()

    text = page((name, create(name)) for name in names) if suffix == ".md" else mermaid(wiring(create(name)))
    if output:
        Path(output).write_text(text, encoding="utf-8")
    else:
        print(text, end="")
