"""`snnzoo list`, `info`, `pull`, `publish` and `verify`: students, and their published checkpoints."""

import ast
import json
import os
from fnmatch import fnmatch, fnmatchcase
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

ZOO = Path(__file__).parents[1] / "zoo"


def list_(filter: str = "*", pretrained: bool = False, markdown: bool = False, registry: str | None = None) -> None:
    """List the students of the zoo, or the checkpoints that can be pulled.

    Args:
        filter: Shell pattern, such as 'sew_*'.
        pretrained: List published checkpoints instead of architectures.
        markdown: Print the table of students of docs/models.md instead: sizes, operations, papers, accuracies.
        registry: Directory of published checkpoints; default: $SNNZOO_REGISTRY, then those shipped with the code.
    """
    if markdown:
        from zoo.registry.catalogue import catalogue

        print(catalogue(architectures(filter), registry))
    else:
        print(*(checkpoints(filter, registry) if pretrained else architectures(filter)), sep="\n")


def architectures(filter: str = "*") -> list[str]:
    """What `zoo.list_models` returns, without importing torch: timm registers the names when it is imported.

    The names are those of the functions marked `@register_model` in zoo/models. The group "snnzoo" is that of
    `zoo.extensions`, which imports timm.
    """
    if entry_points(group="snnzoo"):  # users' packages register students of their own
        import zoo

        return zoo.list_models(filter)
    found: list[str] = []
    for file in (ZOO / "models").glob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and any(
                isinstance(mark, ast.Name) and mark.id == "register_model" for mark in node.decorator_list
            ):
                found.append(node.name)
    return sorted(name for name in found if fnmatchcase(name, filter))


def checkpoints(filter: str = "*", registry: str | None = None) -> list[str]:
    """What `zoo.list_models(pretrained=True)` returns, without importing torch."""
    asked = registry or os.environ.get("SNNZOO_REGISTRY")
    if asked and not Path(asked).is_dir():  # an error, raised there
        import zoo

        return zoo.list_models(filter, pretrained=True, registry=registry)
    roots = ([] if registry else [ZOO / "pretrained"]) + ([Path(asked)] if asked else [])
    names = {path.name for root in roots for path in root.glob("[!._]*.*") if path.is_dir()}
    return sorted(name for name in names if fnmatch(name, filter))


def info(name: str, registry: str | None = None) -> None:
    """Describe a student: parameters, stages, input, checkpoints.

    Args:
        name: An architecture, a checkpoint, or a run.
        registry: Directory of published checkpoints.
    """
    from rich.console import Console
    from rich.table import Table

    index = json.loads((ZOO / "registry/students.json").read_text(encoding="utf-8"))
    facts = index.get(name) or facts_of_model(name, registry)
    table = Table("stage", "channels", "1/size", title=f"{name}: {facts.pop('class')}")
    for stage in facts.pop("stages"):
        table.add_row(*map(str, stage))
    console = Console()
    console.print(table)
    found = checkpoints(f"{facts.pop('architecture')}.*", registry)
    for key, value in (facts | {"checkpoints": ", ".join(found) or "none"}).items():
        if value is not None:
            shown = f"{value:,}" if key == "parameters" else tuple(value) if isinstance(value, list) else value
            console.print(f"{key:>16}  {shown}", highlight=False, soft_wrap=True)


def facts_of_model(name: str, registry: str | None) -> dict[str, Any]:
    """The facts about what the index does not hold: a checkpoint, a run, a model of timm or of a user's package."""
    from zoo.registry.facts import facts
    from zoo.registry.sources import locate

    return facts(locate(name, registry).model())


def pull(name: str, registry: str | None = None, dest: str | None = None) -> None:
    """Fetch a published checkpoint, check its files, and print its directory.

    Args:
        name: `architecture.tag` of a registry, hf-hub:org/name[@revision], local-dir:PATH or only the path.
        registry: Directory of published checkpoints; default: $SNNZOO_REGISTRY, then those shipped with the code.
        dest: Copy it to this new directory.
    """
    import zoo

    print(zoo.pull(name, registry=registry, dest=dest))


def publish(source: str, target: str, overwrite: bool = False) -> None:
    """Publish a tested run, with its card, to a registry.

    Args:
        source: A run directory (its best checkpoint is taken), a .ckpt file of a run, or a published checkpoint.
        target: REGISTRY_DIR/architecture.tag, or hf-hub:org/name.
        overwrite: Replace a checkpoint that is already there.
    """
    import zoo

    print(f"Published {zoo.publish(source, target, overwrite=overwrite)}")


def verify(name: str, registry: str | None = None) -> None:
    """Check a published checkpoint: files, sha256, golden logits, and that every spiking layer fires.

    Args:
        name: As for pull.
        registry: As for pull.
    """
    import zoo

    print(zoo.verify(name, registry=registry))
