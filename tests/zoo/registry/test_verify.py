"""A published checkpoint is rebuilt, and its golden logits are compared."""

import pytest
import torch

import zoo
from zoo.registry.sources import EMBEDDED

NAME = "sew_resnet_tiny.noise"


def poison(tensors):
    tensors["fc.bias"][0] = torch.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (poison, r"fc\.bias holds values that are not finite"),
        (lambda t: t["fc.bias"].add_(0.01), "0 of 8 samples agree within 1.0e-04, the largest difference is 1.0e-02"),
        (lambda t: t["layer2.0.bn1.bias"].fill_(-1e3), r"layer2\.0\.act1 never fires on the golden input"),
    ],
)
def test_verify_rebuilds_and_compares(registry, edit, seal, change, message):
    edit.tensors(registry / NAME / "model.safetensors", change)
    seal(registry / NAME)
    assert zoo.pull(NAME, registry=registry)  # whole, but wrong
    with pytest.raises(zoo.RegistryError, match=message):
        zoo.verify(NAME, registry=registry)


def test_a_spike_more_or_less_in_some_samples_is_forgiven(registry, edit, seal):
    golden = registry / NAME / "golden.safetensors"
    edit.tensors(golden, lambda tensors: tensors["logits"][:3].mul_(1.5))
    seal(registry / NAME)
    report = zoo.verify(NAME, registry=registry)
    assert (report.reproduced, report.num_samples) == (5, 8)
    assert report.max_error > 1e-3
    edit.tensors(golden, lambda tensors: tensors["logits"][3:5].mul_(1.5))
    seal(registry / NAME)
    with pytest.raises(zoo.RegistryError, match="3 of 8 samples agree"):
        zoo.verify(NAME, registry=registry)


def test_golden_logits_of_another_shape(registry, edit, seal):
    golden = registry / NAME / "golden.safetensors"
    edit.tensors(golden, lambda tensors: tensors.update(logits=torch.zeros(8, 9)))
    seal(registry / NAME)
    with pytest.raises(zoo.RegistryError, match=r"expected logits \[8, 9\], as its golden ones, found \[8, 4\]"):
        zoo.verify(NAME, registry=registry)
    edit.tensors(golden, lambda tensors: tensors.pop("logits"))
    seal(registry / NAME)
    with pytest.raises(zoo.RegistryError, match=r"expected the tensors input and logits, found \['input'\]"):
        zoo.verify(NAME, registry=registry)


@pytest.mark.parametrize("name", [path.name for path in sorted(EMBEDDED.iterdir()) if path.is_dir()])
def test_what_is_shipped_is_whole(name):
    report = zoo.verify(name, registry=EMBEDDED)
    assert report.reproduced == report.num_samples  # on every machine so far
    assert sum(path.stat().st_size for path in report.path.iterdir()) < 3e6
