"""A small student that fires, and a registry that holds it."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo

SMALL = {
    "sew_resnet_tiny": {"widths": (8, 16, 24), "num_steps": 2},
    "spiking_vgg_tiny": {"stages": ((8,), (16,), (24, 24)), "num_steps": 2},
    "test_resnet": {},
}


def make_student(name="sew_resnet_tiny", **kwargs):
    """A small untrained network in which every neuron layer fires, in evaluation mode."""
    model = zoo.create_model(name, **{"num_classes": 4, "in_chans": 1, **SMALL[name], **kwargs})
    model.pretrained_cfg.update(input_size=(model.in_chans, 16, 16), mean=(0.5,), std=(0.25,), label_names=list("abcd"))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, 1.4)
    return model.eval()


@pytest.fixture(scope="package")
def make():
    """`make_student`."""
    return make_student


@pytest.fixture(scope="package")
def original():
    """One published student, made once and only copied."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make_student()


@pytest.fixture(scope="package")
def library(original, tmp_path_factory):
    """A registry that holds it, made once and only read."""
    root = tmp_path_factory.mktemp("registry")
    zoo.publish(original, root / "sew_resnet_tiny.noise", license="mit")
    return root


@pytest.fixture
def registry(library, tmp_path):
    """A registry that a test may damage."""
    return Path(shutil.copytree(library, tmp_path / "registry"))
