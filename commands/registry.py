"""`snnzoo list`, `info`, `pull`, `publish` and `verify`: students, and their published checkpoints."""

import ast
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from pathlib import Path

MODELS = Path(__file__).parents[1] / "zoo/models"


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
    elif pretrained:
        import zoo

        print(*zoo.list_models(filter, pretrained=True, registry=registry), sep="\n")
    else:
        print(*architectures(filter), sep="\n")


def architectures(filter: str = "*") -> list[str]:
    """What `zoo.list_models` returns, without the import of torch: timm registers the names when it is imported.

    The names are those of the functions marked `@register_model` in zoo/models. The group "snnzoo" is that of
    `zoo.extensions`, which imports timm.
    """
    if entry_points(group="snnzoo"):  # users' packages register students of their own
        import zoo

        return zoo.list_models(filter)
    found: list[str] = []
    for file in MODELS.glob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and any(
                isinstance(mark, ast.Name) and mark.id == "register_model" for mark in node.decorator_list
            ):
                found.append(node.name)
    return sorted(name for name in found if fnmatchcase(name, filter))


def info(name: str, registry: str | None = None) -> None:
    """Describe a student: parameters, stages, input, checkpoints.

    Args:
        name: An architecture, a checkpoint, or a run.
        registry: Directory of published checkpoints.
    """
    from rich.console import Console
    from rich.table import Table

    import zoo
    from zoo.registry.sources import locate

    model = locate(name, registry).model()
    cfg = model.pretrained_cfg
    architecture = str(cfg["architecture"])
    table = Table("stage", "channels", "1/size", title=f"{name}: {type(model).__name__}")
    for feature in model.feature_info:
        table.add_row(feature["module"], str(feature["num_chs"]), str(feature["reduction"]))
    console = Console()
    console.print(table)
    facts = {
        "parameters": f"{sum(parameter.numel() for parameter in model.parameters()):,}",
        "steps T": zoo.describe(model)["model_args"].get("num_steps", 1),
        "classes K": model.num_classes,
        "input C, H, W": tuple(cfg["input_size"]),
        "smallest input": cfg.get("min_input_size"),
        "neuron": next((str(neuron) for neuron in zoo.spiking_neurons(model).values()), "none: not a spiking network"),
        "licence": cfg.get("license"),
        "paper": cfg.get("paper_ids"),
        "checkpoints": ", ".join(zoo.list_models(f"{architecture}.*", pretrained=True, registry=registry)) or "none",
    }
    for key, value in facts.items():
        if value is None:
            continue
        console.print(f"{key:>16}  {value}", highlight=False, soft_wrap=True)


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
