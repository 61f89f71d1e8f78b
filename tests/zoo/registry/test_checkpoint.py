"""Networks rebuilt from runs and from other arguments, with their weights or not at all."""

import json
import os

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import zoo
from zoo.registry import checkpoint, hub

NAME = "sew_resnet_tiny.noise"


# Other classes, channels, steps --------------------------------------------------------------------------------------


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
        ({"num_classes": 3, "layers": (2, 1, 1)}, r"layer1\.1\.bn1\.bias is missing"),  # timm leaves it untrained
        ({"neuron": "lfi"}, "Unknown neuron 'lfi'"),
        ({"colour": "red"}, "sew_resnet_tiny does not take these arguments.*colour"),
    ],
)
def test_arguments_that_do_not_fit_the_weights(library, changes, message):
    with pytest.raises(ValueError, match=message):
        zoo.create_model(NAME, pretrained=True, registry=library, **changes)


# Describing ----------------------------------------------------------------------------------------------------------


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
    with pytest.raises(ValueError, match=r"Linear was not made by zoo\.create_model"):
        zoo.describe(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="test_resnet|ResNet was not made"):
        zoo.describe(timm.create_model("test_resnet"))
    with pytest.raises(ValueError, match=r"config\.json cannot hold an argument"):
        zoo.describe(zoo.create_model("test_resnet", act_layer=nn.ReLU))


def test_untrained_weights_have_no_licence_and_trained_ones_keep_it():
    assert timm.create_model("test_resnet").pretrained_cfg["license"] == "apache-2.0"  # of weights not loaded
    model = zoo.create_model("test_resnet", checkpoint_path="", cache_dir="/somewhere")
    assert "license" not in zoo.describe(model)["pretrained_cfg"]
    assert model.model_args == {}  # arguments of timm, not of the architecture


# Runs ----------------------------------------------------------------------------------------------------------------


def save_run(path, model, name="best", still=False, **changes):
    """What our LightningModules write."""
    prefix = "model.model." if still else "model."
    state = {f"{prefix}{key}": value for key, value in model.state_dict().items()}
    state["objectives.BKD.layers.0.weight"] = torch.zeros(3)
    checkpoint = {"state_dict": state, "epoch": 3, "zoo": zoo.describe(model) | {"prefix": prefix}} | changes
    (path / "checkpoints").mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path / "checkpoints" / f"{name}.ckpt")


@pytest.fixture
def run(make, tmp_path, original):
    """A tested run of a student."""
    path = tmp_path / "run"
    save_run(path, original)
    save_run(path, make(num_steps=1), "last")
    (path / "config.yaml").write_text("seed_everything: 0\ndata:\n- root: /home/me/faces\n  lr: 0.1\n")
    results = {"dataset": "Noise", "split": "test", "metrics": {"acc": 0.25}}
    tested = checkpoint.fingerprint(path / "checkpoints/best.ckpt")
    checkpoint.write_json(path / "results.json", results | {"checkpoint": tested})
    save_file({"input": torch.rand(1, 8, 1, 16, 16)}, path / "golden_input.safetensors")
    return path


def test_a_run_is_a_name(run, original):
    x = torch.randn(3, 1, 16, 16)
    for name in (run, run / "checkpoints/best.ckpt"):
        assert torch.equal(zoo.create_model(str(name)).eval()(x), original(x))
    assert zoo.create_model(str(run)).pretrained_cfg["label_names"] == list("abcd")
    assert zoo.create_model(str(run), num_classes=7, in_chans=2)(torch.rand(2, 2, 16, 16)).shape == (2, 7)
    (run / "checkpoints/best.ckpt").unlink()
    assert zoo.create_model(str(run)).num_steps == 1  # the last


def test_a_run_is_published_with_all_it_knows(run, original, tmp_path):
    zoo.publish(run, tmp_path / "out" / NAME)
    path = tmp_path / "out" / NAME
    assert {file.name for file in path.iterdir()} == set(hub.ALLOWED)
    assert (path / "recipe.yaml").read_text() == "seed_everything: 0\ndata:\n- root: faces\n  lr: 0.1\n"
    golden, kept = load_file(path / "golden.safetensors"), load_file(run / "golden_input.safetensors")
    assert torch.equal(golden["input"], kept["input"])
    assert torch.equal(golden["logits"], original(kept["input"]))
    assert "| accuracy | 0.2500 |" in (path / "README.md").read_text()
    assert zoo.verify(NAME, registry=tmp_path / "out")
    assert torch.equal(zoo.golden_input(str(run), original), kept["input"])


def test_the_run_of_a_non_spiking_model(make, tmp_path):
    model = make("test_resnet")
    model.pretrained_cfg["input_size"] = (1, 32, 32)  # it sees the data enlarged
    save_run(tmp_path / "run", model, still=True)
    kept = torch.rand(1, 8, 1, 8, 8)
    save_file({"input": kept}, tmp_path / "run/golden_input.safetensors")
    x = torch.randn(3, *model.pretrained_cfg["input_size"])
    assert torch.equal(zoo.create_model(str(tmp_path / "run")).eval()(x), model(x))
    zoo.publish(tmp_path / "run", tmp_path / "test_resnet.noise")
    golden = load_file(tmp_path / "test_resnet.noise/golden.safetensors")["input"]
    enlarged = nn.functional.interpolate(kept[0], (32, 32), mode="bilinear", antialias=True)
    assert torch.equal(golden, enlarged)
    assert torch.equal(zoo.golden_input(str(tmp_path / "run"), model), enlarged)


def test_an_untested_run_is_published_with_noise(tmp_path, original):
    save_run(tmp_path / "run", original)
    assert zoo.golden_input(str(tmp_path / "run"), original) is None
    zoo.publish(tmp_path / "run", tmp_path / NAME)
    golden = load_file(tmp_path / NAME / "golden.safetensors")["input"]
    assert golden.shape == (8, 1, 16, 16)
    assert torch.equal(golden, zoo.noise_input(original))
    assert "## Measured" not in (tmp_path / NAME / "README.md").read_text()


def test_results_of_another_network_are_not_published(original, run, tmp_path):
    assert checkpoint.run_results(run)["dataset"] == "Noise"
    assert checkpoint.run_results(run / "checkpoints/best.ckpt")["dataset"] == "Noise"
    assert checkpoint.run_results(run / "checkpoints/last.ckpt") == {}  # the test took the best
    os.utime(run / "results.json", (0, 0))
    assert checkpoint.run_results(run)  # a copied run keeps no times
    save_run(run, original, epoch=4)
    with pytest.raises(ValueError, match=r"results\.json was not measured on .*Test again: snnzoo test --config"):
        zoo.publish(run, tmp_path / NAME)
    zoo.publish(run, tmp_path / NAME, results={"dataset": "Other"})
    assert json.loads((tmp_path / NAME / "results.json").read_text()) == {"dataset": "Other"}


def test_a_checkpoint_that_is_none(tmp_path, original):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no run: there is no .*best\.ckpt or .*local-dir:"):
        zoo.create_model(str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match=r"there is no .*gone\.ckpt"):
        zoo.create_model(str(tmp_path / "gone.ckpt"))
    (tmp_path / "text.ckpt").write_text("hello")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    for name in ("text", "foreign"):
        with pytest.raises(ValueError, match=f"{name}.ckpt is not a checkpoint of a run"):
            zoo.create_model(str(tmp_path / f"{name}.ckpt"))
    weights = {f"model.{key}": value for key, value in original.state_dict().items() if key != "fc.bias"}
    save_run(tmp_path, original, state_dict=weights)
    with pytest.raises(ValueError, match=r"best\.ckpt does not fit SEWResNet: fc\.bias is missing"):
        zoo.create_model(str(tmp_path))
