"""What `snnzoo info` prints of a student, and the index from which it answers without building one.

`python -m zoo.registry.facts` (`make index`) writes the index. A test compares it with the students.
"""

import json
from pathlib import Path
from typing import Any

from ..model import Network, spiking_neurons
from .build import describe
from .files import write_text
from .sources import create_model, list_models

INDEX = Path(__file__).with_name("students.json")  # commands/registry.py reads it without importing torch


def facts(model: Network) -> dict[str, Any]:
    """The facts about a model made by `create_model`, as JSON values; None where there is none."""
    neuron = next((str(neuron) for neuron in spiking_neurons(model).values()), "none: not a spiking network")
    return {**sizes(model), "neuron": neuron}


def sizes(model: Network) -> dict[str, Any]:
    """The facts that do not depend on the values of weights, so that the model may be on the meta device."""
    cfg = model.pretrained_cfg
    return {
        "architecture": cfg["architecture"],
        "class": type(model).__name__,
        "stages": [[stage["module"], stage["num_chs"], stage["reduction"]] for stage in model.feature_info],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps T": describe(model)["model_args"].get("num_steps", 1),
        "classes K": model.num_classes,
        "input C, H, W": list(cfg["input_size"]),
        "smallest input": list(cfg["min_input_size"]) if cfg.get("min_input_size") else None,
        "licence": cfg.get("license"),
        "paper": cfg.get("paper_ids"),
    }


if __name__ == "__main__":
    rows = [f"{json.dumps(name)}: {json.dumps(facts(create_model(name)))}" for name in list_models()]
    write_text(INDEX, "{\n" + ",\n".join(rows) + "\n}\n")  # a line a student, for diffs
