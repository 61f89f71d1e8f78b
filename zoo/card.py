"""The card of a published checkpoint: README.md, written from what was measured and from nothing else."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData


def write_card(name: str, config: Mapping[str, Any], results: Mapping[str, Any], license: str | None = None) -> str:
    """The text of the card; a section without measurements is left out.

    Args:
        name: Name of the checkpoint.
        config: Its `config.json`.
        results: Its `results.json`; empty if the run was not tested.
        license: Licence of the weights.
    """
    sections = [f"# {name}", about(config), usage(name, config), measured(results), teacher(results), data(config)]
    return front_matter(name, results, license) + "\n" + "\n\n".join(filter(None, sections)) + "\n"


def front_matter(name: str, results: Mapping[str, Any], license: str | None) -> str:
    """The YAML header that the Hub reads."""
    accuracy = results.get("metrics", {}).get("acc")
    dataset = results.get("dataset")
    scores = (
        [
            EvalResult(
                task_type="image-classification",
                dataset_type=dataset.lower(),
                dataset_name=dataset,
                dataset_split=results.get("split"),
                metric_type="accuracy",
                metric_value=accuracy,
            )
        ]
        if accuracy is not None and dataset
        else None
    )
    header = ModelCardData(
        license=license,
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["snn-zoo", "spiking-neural-network"],
        model_name=name if scores else None,
        eval_results=scores,
    )
    return f"---\n{header}\n---"


def about(config: Mapping[str, Any]) -> str:
    """What the model is."""
    args = config["model_args"]
    steps = f" with T = {args['num_steps']} time steps" if "num_steps" in args else ""
    return f"`{config['architecture']}`{steps}, {config['num_classes']} classes, from SNN Zoo."


def usage(name: str, config: Mapping[str, Any]) -> str:
    """How to use it."""
    source = f"hf-hub:{name}" if "/" in name else name
    size = ", ".join(map(str, config["pretrained_cfg"]["input_size"]))
    return f"""## Use

```python
import torch, zoo

model = zoo.create_model("{source}", pretrained=True).eval()
logits = model(torch.zeros(1, {size}))  # normalised images [N, C, H, W] -> [N, K]
```

On your own images, one folder a class: `snnzoo finetune {source} --data FOLDER`. Check the files: `snnzoo verify {source}`."""


def measured(results: Mapping[str, Any]) -> str:
    """The table of what was measured."""
    rows = {f"{key} ({results.get('split')})": f"{value:.4f}" for key, value in results.get("metrics", {}).items()}
    rows |= cost_rows(results.get("measurement", {}))
    if not rows:
        return ""
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"## Measured on {results.get('dataset', 'unnamed data')}\n\n| | |\n|---|---|\n{table}\n\n{ASSUMPTION}"


ASSUMPTION = """Operations are per inference, all time steps, by NeuroBench's rule: an operation is an accumulate (AC) only if \
every input of its layer's call is in {-1, 0, 1}. Energy counts 4.6 pJ a MAC and 0.9 pJ an AC (45 nm, 32 bit) and \
neither memory traffic nor neuron updates; it compares models, it does not predict a chip."""


def cost_rows(measurement: Mapping[str, Any]) -> dict[str, str]:
    """Rows of a cost table, of `Measurement.to_dict()`."""
    if not measurement:
        return {}
    rate = measurement.get("firing_rate")
    return {
        "parameters": f"{measurement['parameters']:,}",
        **({"firing rate (spikes per neuron and step)": f"{rate:.4f}"} if rate is not None else {}),
        "dense operations": f"{measurement['dense']:,.0f}",
        "effective MACs": f"{measurement['macs']:,.0f}",
        "effective ACs": f"{measurement['acs']:,.0f}",
        "energy, effective (µJ)": f"{measurement['energy_uj']['effective']:.3f}",
        "energy, as in papers (µJ)": f"{measurement['energy_uj']['paper']:.3f}",
    }


def teacher(results: Mapping[str, Any]) -> str:
    """Where the knowledge came from, and whether its licence allows commercial use."""
    facts = results.get("teacher")
    if not facts:
        return ""
    licence = facts.get("license")
    text = f"## Teacher\n\nDistilled from `{facts['architecture']}`, licence: {licence or 'not stated'}."
    if licence and "nc" in str(licence).lower().replace("_", "-").split("-"):
        text += " **The teacher's licence forbids commercial use; treat this student the same way.**"
    rows = cost_rows(facts.get("measurement", {}))
    return text + "".join(
        ["\n\n| the teacher's | |\n|---|---|", *(f"\n| {key} | {value} |" for key, value in rows.items())]
    )


def data(config: Mapping[str, Any]) -> str:
    """What the input must look like, and the classes."""
    cfg = config["pretrained_cfg"]
    names = cfg.get("label_names") or []
    shown = ", ".join(map(str, names[:100])) + (" ..." if len(names) > 100 else "")
    size, mean, std = (list(cfg[key]) for key in ("input_size", "mean", "std"))
    text = f"## Data\n\nInput C, H, W = {size}; values in 0..1, normalised by mean {mean} and std {std}."
    return text + (f" Classes: {shown}." if names else "")
