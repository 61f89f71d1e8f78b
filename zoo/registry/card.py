"""The card of a published checkpoint: README.md, written from what was measured and from nothing else."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ..sequence import SequenceKind
from .results import Results


def write_card(name: str, config: Mapping[str, Any], results: Results, recipe: bool = False) -> str:
    """The text of the card of `architecture.tag`, or `org/name` on the Hub; a section without facts is left out.

    With `recipe`, a `recipe.yaml` lies beside the card.
    """
    sections = [
        front_matter(name, config, results),
        f"# {name}",
        introduction(config),
        usage(name, config),
        measurements(results),
        teacher_licence(results),
        input_and_classes(config),
        reproduction(results, recipe),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def front_matter(name: str, config: Mapping[str, Any], results: Results) -> str:
    """The YAML header that the Hub reads; with a score, if the Hub has a task for it."""
    task = "image-classification" if reads_images(config) else None  # none for spike trains
    spiking = "num_steps" in config["model_args"]
    scored = task and results.dataset and results.accuracy is not None
    score = EvalResult(
        task_type=str(task),
        dataset_type=str(results.dataset).lower(),
        dataset_name=str(results.dataset),
        dataset_split=results.split,
        metric_type="accuracy",
        metric_value=results.accuracy,
    )
    header = ModelCardData(
        license=config["pretrained_cfg"].get("license"),
        library_name="timm",
        pipeline_tag=task,
        tags=["snn-zoo", *([task] if task else []), *(["spiking-neural-network"] if spiking else [])],
        model_name=name if scored else None,
        eval_results=[score] if scored else None,
    )
    return f"---\n{header}\n---"


def reads_images(config: Mapping[str, Any]) -> bool:
    """Whether the model reads images, or frames."""
    return kind_of(config) is SequenceKind.IMAGES


def kind_of(config: Mapping[str, Any]) -> SequenceKind:
    """The sequences that the model takes; images where timm wrote the file, which has no such key."""
    return SequenceKind(config.get("sequence_ndim", SequenceKind.IMAGES))


def introduction(config: Mapping[str, Any]) -> str:
    """What the model is, and whose it is."""
    steps = config["model_args"].get("num_steps")
    kind = (
        f"Spiking network `{config['architecture']}`, T = {steps} time steps"
        if steps
        else f"`{config['architecture']}`"
    )
    cfg = config["pretrained_cfg"]
    paper = cfg.get("paper_ids") or []
    papers = ", ".join([paper] if isinstance(paper, str) else paper)
    source = f" Architecture: {papers}." if papers else ""
    licence = cfg.get("license") or "not stated; ask the publisher before you use them"
    return (
        f"{kind}, {config['num_classes']} classes, published with SNN Zoo.{source} Licence of the weights: {licence}."
    )


def usage(name: str, config: Mapping[str, Any]) -> str:
    """How to use it."""
    source = f"hf-hub:{name}" if "/" in name else name
    kind = kind_of(config)
    zeros = kind.code.format(*config["pretrained_cfg"]["input_size"])
    what = "normalised images [N, C, H, W]" if reads_images(config) else kind.words
    tune = f"On your own images, one folder a class: `snnzoo finetune {source} --data FOLDER`.\n"
    tune = tune if reads_images(config) else ""
    return f"""## Use

```python
import torch, zoo

model = zoo.create_model("{source}", pretrained=True).eval()
logits = model({zeros})  # {what} -> [N, K]
```

{tune}Check the files: `snnzoo verify {source}`.
Name a registry other than the default by `registry=` or `--registry`."""


def measurements(results: Results) -> str:
    """The tables of what was measured: scores, and the cost beside that of the teacher."""
    metrics = results.metrics
    split = f"on the {results.split} split" if results.split else "score"
    scores = markdown_table(
        [split, ""], {score_name(key): [f"{value:.4f}"] for key, value in metrics.items() if score_name(key)}
    )
    own, other = results.measurement, results.teacher.get("measurement") or {}
    mine, theirs = cost_rows(own), cost_rows(other)
    if theirs:
        rows = {key: [value, theirs.get(key, "-")] for key, value in mine.items()}
        costs = markdown_table(["per inference", "this model", "its teacher"], rows)
    else:
        costs = markdown_table(["per inference", ""], {key: [value] for key, value in mine.items()})
    if not metrics and not mine:
        return ""
    title = f"## Measured on {results.dataset or 'unnamed data'}"
    return "\n\n".join(filter(None, [title, scores, costs, assumption(own)]))


SCORE_NAMES = {
    "acc": "accuracy",
    "acc_top5": "top-5 accuracy",
    "bits": "bits per token",
    "bits_per_byte": "bits per byte",
    "ece": "expected calibration error",
    "agreement": "agreement with the teacher",
    "teacher_acc": "accuracy of the teacher",
}


def score_name(metric: str) -> str:
    """What a reader calls a metric; empty for the terms of the loss, which mean nothing outside their recipe."""
    if metric.startswith("acc_at_"):
        return f"accuracy after {metric.removeprefix('acc_at_')} steps"
    if metric.startswith("recall_at_"):
        return f"recall@{metric.removeprefix('recall_at_')}, within the tolerance of the data"
    return SCORE_NAMES.get(metric, "")


def markdown_table(header: list[str], rows: Mapping[str, list[str]]) -> str:
    """A Markdown table; nothing without rows."""
    lines = [header, ["---"] * len(header), *([key, *values] for key, values in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


def cost_rows(measurement: Mapping[str, Any]) -> dict[str, str]:
    """Rows of a cost table, of what is there of a `Measurement.to_dict()`."""
    counts = {"parameters": "parameters", "dense": "dense operations", "macs": "effective MACs", "acs": "effective ACs"}
    rows = {title: f"{measurement[key]:,.0f}" for key, title in counts.items() if key in measurement}
    if measurement.get("firing_rate") is not None:
        rows["firing rate (spikes per neuron and step)"] = f"{measurement['firing_rate']:.4f}"
    energies = measurement.get("energy_uj", {})
    return rows | {f"energy, {convention} convention (µJ)": f"{value:.3f}" for convention, value in energies.items()}


def assumption(measurement: Mapping[str, Any]) -> str:
    """What the operations and the energy mean."""
    constants = measurement.get("energy_model")
    if not constants:
        return ""
    return (
        "Operations are per inference, all time steps. In the effective convention (NeuroBench's) an operation counts "
        "where input and weight are not zero, and is an accumulate (AC) only if every input of its layer's call is in "
        "{-1, 0, 1}. The paper convention takes the encoder as dense multiply-accumulates (MACs) and every other layer "
        f"as accumulates at its input's rate. Energy is {constants['mac_pj']} pJ a MAC and {constants['ac_pj']} pJ an "
        f"AC ({constants['name']}); neither memory traffic nor neuron updates are in it. It compares models; it does "
        "not predict a chip."
    )


def teacher_licence(results: Results) -> str:
    """Where the knowledge came from, and whether its licence allows commercial use."""
    own, of_twin = results.teacher, results.conversion.get("teacher")
    facts = own or of_twin
    if not facts:
        return ""
    name = facts.get("architecture") or facts.get("name") or "a teacher without a name"
    licence = facts.get("license")
    who = "Distilled" if own else "Its ANN twin was distilled"
    text = f"## Teacher\n\n{who} from `{name}`, licence: {licence or 'not stated'}."
    if licence and "nc" in str(licence).lower().replace("_", "-").split("-"):
        text += " **The teacher's licence forbids commercial use; treat this student the same way.**"
    return text


def input_and_classes(config: Mapping[str, Any]) -> str:
    """What the input must look like, and the classes."""
    cfg = config["pretrained_cfg"]
    names = cfg.get("label_names") or []
    shown = ", ".join(map(str, names[:100])) + (", ..." if len(names) > 100 else "")
    size, mean, std = (list(cfg[key]) for key in ("input_size", "mean", "std"))
    text = f"## Data\n\nInput C, H, W = {size}; values in 0..1, normalised by mean {mean} and std {std}."
    if not reads_images(config):
        kind = kind_of(config)
        text = f"## Data\n\nInput: {kind.words}, {kind.content.format(*size)}; how they were made: `recipe.yaml`."
    return text + (f"\n\nClasses: {shown}." if names else "")


def reproduction(results: Results, recipe: bool) -> str:
    """How it was made."""
    seed = {} if results.seed is None else {"seed": results.seed}
    facts = ", ".join(f"{key} {value}" for key, value in {**seed, **results.versions}.items())
    how = "The whole recipe is `recipe.yaml`: `snnzoo fit --config recipe.yaml`."
    if results.conversion:
        how = converted(results.conversion)
    lines = [
        how if recipe else "",
        f"Measured with {facts}." if facts else "",
    ]
    return "\n\n".join(filter(None, ["## Recipe", *lines])) if any(lines) else ""


def converted(conversion: Mapping[str, Any]) -> str:
    """The two commands that train the twin and convert it."""
    source = str(conversion["source"])
    run = f"twin/checkpoints/{source}" if source.endswith(".ckpt") else "twin"
    keys = ("method", "steps", "calibrate", "start", "percentile", "samples", "seed")
    options = " ".join(f"--{key} {conversion[key]}" for key in keys if key in conversion)
    return f"""Converted from its ANN twin `{conversion["architecture"]}`, which `recipe.yaml` trains:

```
snnzoo fit --config recipe.yaml --run twin
snnzoo convert {run} converted {options}
```"""
