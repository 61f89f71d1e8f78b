"""`snnzoo draw`: a flowchart or a picture of a network."""

from pathlib import Path
from typing import Any


def draw(name: str, output: str | None = None, registry: str | None = None) -> None:
    """Draw the layers of a network and where spikes flow: a picture or a flowchart.

    One run on noise tells which layer feeds which, and where the values are spikes.

    Args:
        name: An architecture, a checkpoint, a run, or a shell pattern of architectures, such as '*tiny'.
        output: File to write: .svg or .png for a picture, .mmd for a Mermaid flowchart, .md for a page of them;
            default: print the flowchart (of several, a page).
        registry: Directory of published checkpoints.
    """
    import torch

    import zoo
    from zoo.registry.sources import locate
    from zoo.wiring import mermaid, page, wiring

    names = zoo.list_models(name) or [name]
    suffix = Path(output).suffix if output else ".md" if len(names) > 1 else ".mmd"
    accepted = (".md",) if len(names) > 1 else (".svg", ".png", ".mmd", ".md")
    if suffix not in accepted:
        networks = f" for a page of {len(names)} networks" if len(names) > 1 else ""
        raise ValueError(f"output: expected a file that ends in {' or '.join(accepted)}{networks}, found {output}.")

    def create(name: str) -> Any:
        torch.manual_seed(0)  # untrained weights are random, their picture is not
        return locate(name, registry).model()

    if output and suffix in (".svg", ".png"):
        from .draw_figure import draw_picture

        draw_picture(wiring(create(names[0])), names[0], Path(output))
        return
    text = page((name, create(name)) for name in names) if suffix == ".md" else mermaid(wiring(create(name)))
    if output:
        Path(output).write_text(text, encoding="utf-8")
    else:
        print(text, end="")
