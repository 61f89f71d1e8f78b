"""Publishing: a model with its card becomes a directory of a registry, or a repository on the Hub."""

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from ..model import Network
from .build import CONFIG_KEYS, as_model_input, describe, noise_input
from .card import write_card
from .files import fingerprint, replace_directory, write_json, write_tensors, write_text
from .hub import upload
from .results import Results, write_results
from .runs import Run
from .sources import Architecture, locate
from .verify import check_outputs


def publish(
    source: str | Path | nn.Module,
    target: str | Path,
    golden_input: Tensor | None = None,
    results: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    license: str | None = None,
) -> str:
    """Publish a model with its card, so that it can be pulled, verified and fine-tuned by name.

    Everything is written under a temporary name and verified there. Only then is it renamed; a failure before that
    leaves a checkpoint that is already there as it was.

    Args:
        source: A run directory, a `.ckpt` file of a run, a published checkpoint by any of its names, or a model made by
            `create_model` (which is left as it is).
        target: `REGISTRY_DIR/architecture.tag`, or `hf-hub:org/name`.
        golden_input: Input [N, C, H, W] or [T, N, C, H, W] that is stored with its logits; default: that of the source
            (the first test images of a tested run), else standard normal noise.
        results: Measured numbers for `results.json` and the card, see `zoo.registry.results.Results`; default: those of
            the source.
        overwrite: Replace a checkpoint that is already there.
        license: Licence of the weights; default: that of the weights they were trained from, if any.

    Returns:
        Where it was published.

    Raises:
        ValueError: If the source has no trained weights, the target is not named after the architecture, a spiking
            layer is silent on the golden input, a weight is not finite, or the results are not those of the weights.
        FileExistsError: If the target exists and overwrite is False.
        RegistryError: If what was written does not give the same logits again, or the Hub refuses.
    """
    name = str(target).removeprefix("hf-hub:")
    to_hub = name != str(target)
    draft = make_draft(source, None if results is None else Results.from_dict(results, "results"))
    draft.model.pretrained_cfg["license"] = license or draft.model.pretrained_cfg.get("license")
    if golden_input is not None:
        draft = replace(draft, golden_input=golden_input)
    if not to_hub:
        name = Path(target).name
        check_target(Path(target), describe(draft.model)["architecture"], overwrite)
    parent = Path(tempfile.gettempdir()) if to_hub else Path(target).parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".part-") as folder:
        stage = Path(folder) / "checkpoint"
        stage.mkdir()
        write_checkpoint(draft, stage, name)
        check_outputs(name, stage)
        if to_hub:
            return upload(stage, name, overwrite)
        replace_directory(stage, Path(target))
    return str(target)


@dataclass(frozen=True)
class Draft:
    """What will be published.

    Attributes:
        model: The network, in evaluation mode.
        golden_input: Input to store with its logits; None for noise.
        results: The measured numbers.
        recipe: The recipe that trains the weights; empty if there is none.
    """

    model: Network
    golden_input: Tensor | None
    results: Results
    recipe: Mapping[str, Any]


def make_draft(source: str | Path | nn.Module, results: Results | None) -> Draft:
    """The contents of a source, with other results if they are given; raises as `publish`."""
    if isinstance(source, nn.Module):
        return Draft(copy.deepcopy(source).cpu().float().eval(), None, results or Results(), {})
    found = locate(str(source))
    if isinstance(found, Architecture):
        raise ValueError(
            f"{source}: expected a run, a .ckpt file or a published checkpoint, found an architecture. Train it first; "
            f"a run directory of this name is ./{source}."
        )
    model, results, recipe = found.model().eval(), found.results() if results is None else results, found.recipe()
    if isinstance(found, Run) and (conversion := found.conversion()):
        recipe = conversion.pop("recipe")  # of the twin
        conversion["source"] = Path(conversion["source"]).name
        results = replace(results, conversion=without_folders(conversion))
    return Draft(model, found.golden_input(), results, without_folders(recipe))


def check_target(target: Path, architecture: str, overwrite: bool) -> None:
    """Refuse a directory not named `architecture.tag` (ValueError), or not to be replaced (FileExistsError)."""
    name = target.name
    if not name.startswith(f"{architecture}.") or name.endswith("."):
        raise ValueError(f"target: expected the name {architecture}.TAG, such as {architecture}.mine, found {name}.")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} is already published. Replace it: overwrite=True (--overwrite true).")


def write_checkpoint(draft: Draft, stage: Path, name: str) -> None:
    """Write every file of a published checkpoint; see `publish`."""
    model = draft.model
    config = {**describe(model), "num_classes": model.num_classes, "num_features": model.num_features}
    write_json(stage / "config.json", {key: config[key] for key in CONFIG_KEYS})
    write_tensors(stage / "model.safetensors", model.state_dict())
    x = noise_input(model) if draft.golden_input is None else as_model_input(model, draft.golden_input)
    with torch.no_grad():
        write_tensors(stage / "golden.safetensors", {"input": x, "logits": model(x)})
    if draft.results != Results():
        write_results(stage, draft.results)
    if draft.recipe:
        write_text(stage / "recipe.yaml", yaml.safe_dump(draft.recipe, sort_keys=False))
    write_text(stage / "README.md", write_card(name, config, draft.results, bool(draft.recipe)))
    files = {path.name: fingerprint(path) for path in sorted(stage.iterdir())}
    write_json(stage / "manifest.json", {"files": files})


def without_folders(value: Any) -> Any:
    """A value of a recipe, absolute paths in it reduced to their last component."""
    if isinstance(value, dict):
        return {key: without_folders(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_folders(entry) for entry in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
