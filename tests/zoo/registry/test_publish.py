"""Round trips through directories, runs that are published, and what is not."""

import json
import os
import stat
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import zoo
from zoo.neurons import LIF
from zoo.registry import publish
from zoo.registry.files import ALLOWED

NAME = "sew_resnet_tiny.noise"


def images(model, samples=3):
    return torch.randn(samples, *model.pretrained_cfg["input_size"])


# Round trips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sew_resnet_tiny", "spiking_vgg_tiny", "test_resnet"])
def test_published_model_gives_the_same_logits_everywhere(make, name, tmp_path):
    model = make(name)
    path = tmp_path / f"{name}.noise"
    assert zoo.publish(model, path) == str(path)
    x = images(model)
    with torch.no_grad():
        expected = model(x)
        for rebuilt in (
            timm.create_model(f"local-dir:{path}", pretrained=True),
            zoo.create_model(f"local-dir:{path}"),
            zoo.create_model(f"{name}.noise", pretrained=True, registry=tmp_path),
            zoo.create_model(f"local-dir:{path}", num_classes=4, in_chans=1),  # what it already has
        ):
            assert torch.equal(rebuilt.eval()(x), expected)
    assert zoo.pull(f"{name}.noise", registry=tmp_path) == path
    report = zoo.verify(f"{name}.noise", registry=tmp_path)
    assert (report.max_error, report.reproduced, report.num_samples) == (0, 8, 8)
    assert report.spiking_layers == len(zoo.spiking_neurons(model))
    assert "none silent" in str(report)


def test_arguments_survive(make, tmp_path):
    model = make(in_chans=2, connect="iand", neuron={"name": "plif", "v_threshold": 0.3}, drop_rate=0.3)
    model.num_steps = 3  # at run time
    zoo.publish(model, tmp_path / NAME)
    rebuilt = zoo.create_model(NAME, pretrained=True, registry=tmp_path)
    assert (rebuilt.num_steps, rebuilt.in_chans, rebuilt.drop_rate, rebuilt.num_features) == (3, 2, 0.3, 24)
    assert str(rebuilt) == str(model)
    assert rebuilt.training  # as timm does
    assert zoo.describe(rebuilt) == zoo.describe(model)
    assert rebuilt.pretrained_cfg["label_names"] == list("abcd")


def test_published_twice_is_the_same(original, library, tmp_path):
    zoo.publish(zoo.create_model(NAME, pretrained=True, registry=library), tmp_path / NAME)
    first, second = ({f.name: f.read_bytes() for f in root.iterdir()} for root in (library / NAME, tmp_path / NAME))
    assert first == second


def test_files_are_the_known_ones_and_everyone_may_read_them(library):
    assert {file.name for file in (library / NAME).iterdir()} == set(ALLOWED) - {"recipe.yaml", "results.json"}
    umask = os.umask(0)
    os.umask(umask)
    for path in (library / NAME, *(library / NAME).iterdir()):
        wanted = (0o777 if path.is_dir() else 0o666) & ~umask
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_the_model_that_is_published_stays_as_it_is(make, tmp_path):
    model = make().train()
    cfg, weights = dict(model.pretrained_cfg), {key: value.clone() for key, value in model.state_dict().items()}
    zoo.publish(model, tmp_path / NAME, license="mit")
    assert model.training
    assert model.pretrained_cfg == cfg
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_half_precision_is_published_in_full(make, tmp_path):
    zoo.publish(make().bfloat16(), tmp_path / NAME)
    dtypes = {value.dtype for value in load_file(tmp_path / NAME / "model.safetensors").values()}
    assert dtypes == {torch.float32, torch.int64}


def test_a_sequence_as_golden_input(make, tmp_path):
    model, x = make(in_chans=2), torch.rand(5, 3, 2, 16, 16)
    zoo.publish(model, tmp_path / NAME, golden_input=x)
    golden = load_file(tmp_path / NAME / "golden.safetensors")
    assert torch.equal(golden["input"], x)
    assert golden["logits"].shape == (3, 4)
    assert zoo.verify(NAME, registry=tmp_path).num_samples == 3


def test_results_and_licence_are_written(make, tmp_path):
    zoo.publish(make(), tmp_path / NAME, results={"dataset": "Noise", "metrics": {"acc": 0.25}}, license="cc-by-4.0")
    assert json.loads((tmp_path / NAME / "results.json").read_text())["dataset"] == "Noise"
    assert "license: cc-by-4.0" in (tmp_path / NAME / "README.md").read_text()
    assert zoo.create_model(NAME, pretrained=True, registry=tmp_path).pretrained_cfg["license"] == "cc-by-4.0"


# Runs -----------------------------------------------------------------------------------------------------------------


def test_a_run_is_published_with_all_it_knows(run, original, tmp_path):
    zoo.publish(run, tmp_path / "out" / NAME)
    path = tmp_path / "out" / NAME
    assert {file.name for file in path.iterdir()} == set(ALLOWED)
    assert (path / "recipe.yaml").read_text() == "seed_everything: 0\ndata:\n- root: faces\n  lr: 0.1\n"
    golden, kept = load_file(path / "golden.safetensors"), load_file(run / "golden_input.safetensors")
    assert torch.equal(golden["input"], kept["input"])
    assert torch.equal(golden["logits"], original(kept["input"]))
    assert "| accuracy | 0.2500 |" in (path / "README.md").read_text()
    assert zoo.verify(NAME, registry=tmp_path / "out")
    assert torch.equal(zoo.golden_input(str(run), original), kept["input"])


def test_a_published_checkpoint_is_published_elsewhere(run, tmp_path):
    zoo.publish(run, tmp_path / "first" / NAME)
    zoo.publish(str(tmp_path / "first" / NAME), tmp_path / "second" / NAME)
    first, second = (
        {f.name: f.read_bytes() for f in (tmp_path / root / NAME).iterdir()} for root in ("first", "second")
    )
    assert first == second


def test_an_architecture_has_nothing_to_publish(tmp_path):
    with pytest.raises(ValueError, match="sew_resnet_tiny: expected a run, .* found an architecture. Train it first"):
        zoo.publish("sew_resnet_tiny", tmp_path / NAME)


def test_the_run_of_a_non_spiking_model(make, save_run, tmp_path):
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


def test_an_untested_run_is_published_with_noise(save_run, tmp_path, original):
    save_run(tmp_path / "run", original)
    assert zoo.golden_input(str(tmp_path / "run"), original) is None
    zoo.publish(tmp_path / "run", tmp_path / NAME)
    golden = load_file(tmp_path / NAME / "golden.safetensors")["input"]
    assert golden.shape == (8, 1, 16, 16)
    assert torch.equal(golden, zoo.noise_input(original))
    assert "## Measured" not in (tmp_path / NAME / "README.md").read_text()


# What is not published ------------------------------------------------------------------------------------------------


def silence(model):
    nn.init.constant_(model.layer2[0].bn1.bias, -1e3)


def make_infinite(model):
    nn.init.constant_(model.fc.bias, torch.inf)


def change_by_hand(model):
    """What config.json cannot know."""
    model.act1 = LIF(tau=1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (silence, r"layer2\.0\.act1 never fires.*Train longer"),
        (make_infinite, r"fc\.bias holds values that are not finite"),
        (change_by_hand, "does not give its golden logits"),
    ],
)
def test_what_cannot_be_verified_is_not_published(make, tmp_path, change, message):
    model = make()
    with torch.no_grad():
        change(model)
    with pytest.raises(ValueError, match=message):
        zoo.publish(model, tmp_path / "registry" / NAME)
    assert list((tmp_path / "registry").iterdir()) == []


def test_nothing_is_replaced_unless_asked(make, registry):
    model = make(num_steps=3)
    with pytest.raises(FileExistsError, match="already published. Replace it: overwrite=True"):
        zoo.publish(model, registry / NAME)
    assert zoo.create_model(NAME, True, registry).num_steps == 2
    zoo.publish(model, registry / NAME, overwrite=True)
    assert zoo.create_model(NAME, True, registry).num_steps == 3
    assert [path.name for path in registry.iterdir()] == [NAME]


@pytest.mark.parametrize("step", ["write_card", "check_outputs", "rename"])
def test_an_interrupted_publication_leaves_the_old_version(make, registry, monkeypatch, step):
    def interrupt(*_):
        raise KeyboardInterrupt

    if step == "rename":
        rename = Path.rename
        fails = lambda path, to: interrupt() if path.name == "checkpoint" else rename(path, to)  # noqa: E731
        monkeypatch.setattr(Path, "rename", fails)
    else:
        monkeypatch.setattr(publish, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        zoo.publish(make(num_steps=3), registry / NAME, overwrite=True)
    monkeypatch.undo()
    assert [path.name for path in registry.iterdir()] == [NAME]
    assert zoo.verify(NAME, registry=registry)
    assert zoo.create_model(NAME, True, registry).num_steps == 2


@pytest.mark.parametrize("name", ["mine", "spiking_vgg_tiny.noise", "sew_resnet_tiny", "sew_resnet_tiny."])
def test_an_entry_is_named_after_its_architecture(original, tmp_path, name):
    with pytest.raises(ValueError, match=r"target: expected the name sew_resnet_tiny\.TAG, .* found"):
        zoo.publish(original, tmp_path / name)
