import json

import pytest
import torch

import zoo
from zoo.registry.facts import INDEX, facts, sizes


def row_of(record):
    return json.loads(json.dumps(record))


def test_the_index_holds_every_student_as_it_is_built():
    """If this fails: `make index`."""
    with torch.device("meta"):
        found = {name: row_of(sizes(zoo.create_model(name))) for name in zoo.list_models()}
    index = json.loads(INDEX.read_text())
    neurons = {name: row.pop("neuron") for name, row in index.items()}
    assert index == found
    for name in zoo.list_models("*tiny"):
        assert neurons[name] == facts(zoo.create_model(name))["neuron"], name


def test_facts_by_hand():
    """SEW-ResNet-18 has the 11,689,512 parameters of torchvision's resnet18."""
    found = facts(zoo.create_model("sew_resnet18", num_steps=6, neuron="plif"))
    assert found["parameters"] == 11_689_512 + len(zoo.spiking_neurons(zoo.create_model("sew_resnet18")))  # tau of each
    assert (found["steps T"], found["classes K"], found["input C, H, W"]) == (6, 1000, [3, 224, 224])
    assert found["stages"][-1] == ["layer4", 512, 32]
    assert found["neuron"].startswith("PLIF(tau=2")


@pytest.mark.parametrize("name", ["cifar_resnet20", "resnet18"])
def test_a_network_that_does_not_spike_has_one_step(name):
    found = facts(zoo.create_model(name))
    assert (found["steps T"], found["neuron"]) == (1, "none: not a spiking network")
