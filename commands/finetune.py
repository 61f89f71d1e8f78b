"""`snnzoo finetune`: a published student is trained and tested on a folder of one's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .fit import run_recipe
from .recipes import CONFIGS, read_recipe


def finetune(
    name: str,
    data: str | None = None,
    run: str | None = None,
    epochs: int = 20,
    lr: float = 1e-3,
    batch_size: int = 16,
    freeze_backbone: bool = False,
    seed: int = 0,
    registry: str | None = None,
) -> None:
    """Fine-tune a published student on a folder of images or event recordings, and test it.

    Recordings become frames of the checkpoint's size, in the representation of its recipe.

    Args:
        name: A published checkpoint, or a run.
        data: Folder with one sub-folder per class (or train/, test/ folders of classes); see ImageFolderDataModule and
            EventFolderDataModule.
        run: Directory of the run; default: runs/finetune/<folder>.
        epochs: Passes over the training data.
        lr: Base learning rate (AdamW, cosine).
        batch_size: Samples per step.
        freeze_backbone: Train the new classifier only.
        seed: Seed of all random numbers.
        registry: Directory of published checkpoints.
    """
    if data is None:
        raise ValueError("finetune: expected --data FOLDER, with one sub-folder of images or recordings per class.")
    from datamodules.find import folder_kind
    from zoo.registry.sources import Published, locate

    events = folder_kind(Path(data)).__name__ == "EventFolderDataModule"
    source = locate(name, registry, pretrained=True)
    model = source.model()
    how = events_as(name, model, source.recipe()) if events else images_as(model.pretrained_cfg)
    if registry is not None and isinstance(source, Published):
        name = f"local-dir:{source.path}"
    recipe = read_recipe(CONFIGS / ("event_folder" if events else "image_folder") / "finetune.yaml")
    recipe |= {"run": run or str(Path("runs/finetune") / Path(data).resolve().name), "seed_everything": seed}
    recipe["model"]["init_args"] |= {"model": name, "freeze_backbone": freeze_backbone}
    recipe["model"]["init_args"]["optimizer"]["init_args"]["lr"] = lr
    recipe["data"]["init_args"] |= {"root": data, "batch_size": batch_size, **how}
    recipe["trainer"]["max_epochs"] = epochs
    run_recipe("fit", recipe)
    run_recipe("test", read_recipe(Path(recipe["run"]) / "config.yaml"))


def images_as(cfg: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the data that give images as a checkpoint takes them: size, channels, normalisation."""
    channels, size, _ = cfg["input_size"]
    return {"image_size": size, "in_chans": channels, "mean": list(cfg["mean"]), "std": list(cfg["std"])}


def events_as(name: str, model: Any, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the data that give recordings as a checkpoint takes them: size, and the representation.

    Raises:
        ValueError: If the recipe of the checkpoint names a representation that is not one of ours.
    """
    from zoo.sequence import SequenceKind
    from zoo.teacher import kind_of

    recorded = recipe.get("data", {}).get("init_args", {}).get("representation")
    how = {"representation": our_representation(name, recorded)} if recorded else {}
    clouds = kind_of(model) is SequenceKind.CLOUDS  # points have no pixels
    return how if clouds else {"size": list(model.pretrained_cfg["input_size"][1:]), **how}


def our_representation(name: str, recorded: Any) -> dict[str, Any]:
    """A representation from the recipe of a checkpoint, which may come from a stranger.

    The parser imports whatever a class path names, so only the names of our own representations pass, with arguments
    that are numbers, words, or lists of them.

    Args:
        name: The checkpoint.
        recorded: A class name, or a dict of class_path and init_args.

    Raises:
        ValueError: If it is anything else.
    """
    from datamodules.events.frames import Representation

    ours = [cls.__name__ for cls in Representation.__subclasses__() if cls.__module__.startswith("datamodules.")]
    spec = recorded if isinstance(recorded, dict) else {"class_path": recorded}
    package, _, short = str(spec.get("class_path")).rpartition(".")
    arguments = spec.get("init_args") or {}
    known = short in ours and package.partition(".")[0] in ("", "datamodules")
    if not known or spec.keys() - {"class_path", "init_args"} or not is_plain(list(arguments.values())):
        raise ValueError(
            f"{name}: expected a recipe whose data.representation is one of {', '.join(sorted(ours))} with numbers and "
            f"words as arguments, found {recorded}. Train with a recipe of your own: snnzoo fit --config RECIPE "
            f"--model.model {name}."
        )
    return {"class_path": short, "init_args": arguments}


def is_plain(value: Any) -> bool:
    """Whether a value names nothing that the parser could import: numbers, words without a dot, lists of them."""
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (int, float)) or (isinstance(value, str) and value.isidentifier())
