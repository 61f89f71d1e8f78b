"""Networks rebuilt from descriptions and with other arguments, with their weights or not at all."""

import json
import pickle

import pytest
import timm
import torch
from torch import nn

import zoo

NAME = "sew_resnet_tiny.noise"


@pytest.mark.parametrize("changes", [{"num_classes": 7}, {"in_chans": 3}, {"num_classes": 2, "in_chans": 2}])
def test_head_and_first_convolution_are_adapted_as_timm_does(library, original, changes):
    model = zoo.create_model(NAME, pretrained=True, registry=library, **changes)
    reference = timm.create_model(f"local-dir:{library / NAME}", pretrained=True, **changes)
    before = original.state_dict()
    new = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    expected = {"num_classes": ["fc.bias", "fc.weight"], "in_chans": ["conv1.weight"]}
    assert sorted(new) == sorted(key for change in changes for key in expected[change])
    assert torch.equal(model.conv1.weight, reference.conv1.weight)
    assert model(torch.randn(2, model.in_chans, 16, 16)).shape == (2, model.num_classes)
    described = zoo.describe(model)["pretrained_cfg"]
    assert described["num_classes"] == changes.get("num_classes", 4)
    assert described["input_size"] == [changes.get("in_chans", 1), 16, 16]
    assert ("label_names" in described) == ("num_classes" not in changes)  # they named the old classes


def test_no_head_other_steps_features_only(library, original):
    x = torch.randn(2, 1, 16, 16)
    load = {"name": f"local-dir:{library / NAME}"}
    assert zoo.create_model(**load, num_classes=0)(x).shape == (2, 24)
    model = zoo.create_model(**load, num_steps=7)
    assert model.num_steps == 7
    assert torch.equal(model.fc.weight, original.fc.weight)
    features = zoo.create_model(**load, features_only=True).eval()(x)
    expected = zoo.read(original, x[None]).features
    assert all(torch.equal(a, b.mean(0)) for a, b in zip(features, expected, strict=True))


def test_an_adapted_model_is_published_again(library, tmp_path):
    model = zoo.create_model(NAME, pretrained=True, registry=library, num_classes=7, in_chans=2).eval()
    zoo.publish(model, tmp_path / NAME)
    again = zoo.create_model(NAME, pretrained=True, registry=tmp_path).eval()
    x = torch.randn(2, 2, 16, 16)
    assert torch.equal(again(x), model(x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (4, 4, 4)}, "size mismatch for conv1.weight"),
        (
            {"num_classes": 3, "layers": (2, 1, 1)},
            r"layer1\.1\.bn1\.bias: expected .*, found none",
        ),  # timm leaves it untrained
        ({"neuron": "lfi"}, "Unknown neuron 'lfi'"),
        ({"colour": "red"}, "sew_resnet_tiny does not take these arguments.*colour"),
    ],
)
def test_arguments_that_do_not_fit_the_weights(library, changes, message):
    with pytest.raises(ValueError, match=message):
        zoo.create_model(NAME, pretrained=True, registry=library, **changes)


# Describing -----------------------------------------------------------------------------------------------------------


def test_describe_is_json_and_names_no_file_of_this_machine(library):
    record = zoo.describe(zoo.create_model(NAME, True, library, num_steps=3))
    assert json.loads(json.dumps(record)) == record
    assert str(library) not in json.dumps(record)
    assert record["architecture"] == "sew_resnet_tiny"
    assert record["model_args"] == {"widths": [8, 16, 24], "num_steps": 3, "num_classes": 4, "in_chans": 1}


def test_noise_is_of_the_size_that_the_model_takes():
    assert zoo.noise_input(zoo.create_model("vggsnn_tiny")).shape == (8, 2, 16, 16)
    model = zoo.create_model("vggsnn_tiny", img_size=20, in_chans=1)
    assert zoo.noise_input(model).shape == (8, 1, 20, 20)
    assert model(zoo.noise_input(model)).shape == (8, 10)


def test_describe_refuses_what_it_cannot_rebuild():
    with pytest.raises(ValueError, match=r"expected one made by zoo\.create_model, found a Linear"):
        zoo.describe(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="found a ResNet that was not"):
        zoo.describe(timm.create_model("test_resnet"))
    with pytest.raises(ValueError, match=r"expected names and numbers, which config\.json can hold"):
        zoo.describe(zoo.create_model("test_resnet", act_layer=nn.ReLU))


def test_untrained_weights_have_no_licence_and_trained_ones_keep_it():
    assert timm.create_model("test_resnet").pretrained_cfg["license"] == "apache-2.0"  # of weights not loaded
    model = zoo.create_model("test_resnet", checkpoint_path="", cache_dir="/somewhere")
    assert "license" not in zoo.describe(model)["pretrained_cfg"]
    assert model.model_args == {}  # arguments of timm, not of the architecture


# Published by a stranger ----------------------------------------------------------------------------------------------


def reshape(tensors):
    tensors["layer1.0.conv1.weight"] = torch.zeros(2, 3)


def edit_cfg(path, edit, **changes):
    cfg = json.loads((path / "config.json").read_text())["pretrained_cfg"]
    edit.json(path / "config.json", pretrained_cfg=cfg | changes)


FORGERIES = {
    "shape": (
        lambda p, edit: edit.tensors(p / "model.safetensors", reshape),
        r"layer1\.0\.conv1\.weight: expected \(8, 8, 3, 3\), found \(2, 3\)",
    ),
    "missing tensor": (
        lambda p, edit: edit.tensors(p / "model.safetensors", lambda t: t.pop("fc.bias")),
        r"fc\.bias: expected \(4,\), found none",
    ),
    "extra tensor": (
        lambda p, edit: edit.tensors(p / "model.safetensors", lambda t: t.update(extra=torch.zeros(1))),
        r"extra: expected no such tensor, found \(1,\)",
    ),
    "pickle": (
        lambda p, _: (p / "model.safetensors").write_bytes(pickle.dumps({"fc.bias": 1})),
        "expected a safetensors file, found",
    ),
    "architecture": (
        lambda p, edit: edit.json(p / "config.json", architecture="sew_resnet_tini"),
        "Unknown architecture 'sew_resnet_tini'.*sew_resnet_tiny",
    ),
    "import path": (
        lambda p, edit: edit.json(p / "config.json", architecture="os.system"),
        "Unknown architecture 'os.system'",
    ),
    "key": (
        lambda p, edit: edit.json(p / "config.json", class_path="os.system"),
        r"expected only the keys .*, found class_path\.",
    ),
    "url": (lambda p, edit: edit_cfg(p, edit, url="http://x/y.pth"), r"expected only the keys .*, found url\."),
    "argument": (lambda p, edit: edit.json(p / "config.json", model_args={"colour": 1}), "does not describe.*colour"),
    "no stages": (lambda p, edit: edit.json(p / "config.json", model_args={"widths": []}), "does not describe a"),
    "list of arguments": (
        lambda p, edit: edit.json(p / "config.json", model_args=[1]),
        "model_args and pretrained_cfg: expected JSON objects, found list and dict",
    ),
    "neuron": (
        lambda p, edit: edit.json(p / "config.json", model_args={"num_classes": 4, "in_chans": 1, "neuron": "os"}),
        "Unknown neuron 'os'",
    ),
    "neuron by import path": (
        lambda p, edit: edit.json(
            p / "config.json", model_args={"num_classes": 4, "in_chans": 1, "neuron": "os.system"}
        ),
        "Neuron os.system: expected a subclass",
    ),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_what_a_dishonest_publisher_may_write(registry, edit, seal, kind):
    forge, message = FORGERIES[kind]
    forge(registry / NAME, edit)
    seal(registry / NAME)
    for use in (zoo.verify, lambda name, registry: zoo.create_model(name, True, registry)):
        with pytest.raises(ValueError, match=f"(?s){message}"):
            use(NAME, registry=registry)
