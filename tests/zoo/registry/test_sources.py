"""What names mean, and where they are looked up."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import cli
import zoo
from zoo.registry import sources
from zoo.registry.files import write_json
from zoo.registry.results import Results, read_results
from zoo.registry.runs import Run

NAME = "sew_resnet_tiny.noise"


def images(model, samples=3):
    return torch.randn(samples, *model.pretrained_cfg["input_size"])


def test_our_models_are_listed_and_timms_are_not():
    names = zoo.list_models()
    assert {"sew_resnet_tiny", "spiking_vgg_tiny"} <= set(names)
    assert "resnet18" not in names
    assert zoo.list_models("*vgg*") == [name for name in names if "vgg" in name]


def test_where_a_name_is_looked_up(library, tmp_path, monkeypatch, original):
    monkeypatch.delenv("SNNZOO_REGISTRY", raising=False)
    assert zoo.list_models(pretrained=True, registry=library) == [NAME]
    assert zoo.list_models("spiking_*", pretrained=True, registry=library) == []
    assert NAME not in zoo.list_models(pretrained=True)
    embedded, mine = tmp_path / "embedded", tmp_path / "mine"
    monkeypatch.setattr(sources, "EMBEDDED", Path(shutil.copytree(library, embedded)))
    assert zoo.pull(NAME) == embedded / NAME
    monkeypatch.setenv("SNNZOO_REGISTRY", str(mine))
    with pytest.raises(zoo.RegistryError, match=r"registry: expected a directory, found no .*mine"):
        zoo.pull(NAME)
    shutil.copytree(library / NAME, mine / "sew_resnet_tiny.other")
    assert zoo.pull(NAME) == embedded / NAME
    shutil.copytree(library / NAME, mine / NAME)
    assert zoo.pull(NAME) == mine / NAME
    assert zoo.list_models(pretrained=True) == [NAME, "sew_resnet_tiny.other"]
    assert zoo.pull(NAME, registry=library) == library / NAME


def test_unknown_names(library):
    with pytest.raises(ValueError, match=r"Unknown model 'sew_resnet_tny'. Did you mean 'sew_resnet_tiny'"):
        zoo.create_model("sew_resnet_tny")
    with pytest.raises(ValueError, match=rf"Invalid pretrained tag.* Published checkpoints: {NAME}\."):
        zoo.create_model("sew_resnet_tiny.nose", pretrained=True, registry=library)
    with pytest.raises(ValueError, match=r"No pretrained weights exist for sew_resnet_tiny"):
        zoo.create_model("sew_resnet_tiny", pretrained=True, registry=library)
    with pytest.raises(zoo.RegistryError, match=rf"Unknown checkpoint 'sew_resnet_tiny.nose'. Did you mean '{NAME}'"):
        zoo.pull("sew_resnet_tiny.nose", registry=library)
    for name in ("../registry", "/etc", "..", ".", ""):
        with pytest.raises(zoo.RegistryError, match=r"Unknown checkpoint|expected a published checkpoint"):
            zoo.pull(name, registry=library)
    with pytest.raises(zoo.RegistryError, match="/nowhere: expected a checkpoint directory, found none"):
        zoo.create_model("local-dir:/nowhere")


def test_a_directory_does_not_shadow_an_architecture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sew_resnet_tiny").mkdir()
    assert zoo.create_model("sew_resnet_tiny", num_classes=3).num_classes == 3


def test_a_published_directory_is_known_by_its_path(make, tmp_path):
    model, path = make("sew_resnet_tiny"), tmp_path / "runs/published"
    zoo.publish(model, tmp_path / NAME)
    path.parent.mkdir()
    (tmp_path / NAME).rename(path)
    name = str(path)
    x = images(model)
    with torch.no_grad():
        assert torch.equal(zoo.create_model(name).eval()(x), model(x))
        assert torch.equal(zoo.create_model(name, pretrained=True).eval()(x), model(x))
    assert zoo.pull(name) == zoo.verify(name).path == path
    assert torch.equal(zoo.golden_input(name, model), load_file(path / "golden.safetensors")["input"])
    assert sources.locate(name).results() == Results()
    (path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(zoo.RegistryError, match="was altered"):
        zoo.create_model(name)


def test_another_directory_is_told_from_a_published_one(make, tmp_path):
    zoo.publish(make("sew_resnet_tiny"), tmp_path / NAME)
    expected = rf"found no manifest\.json.*snnzoo publish {tmp_path} REGISTRY/.*--registry {tmp_path}"
    with pytest.raises(zoo.RegistryError, match=expected):
        zoo.verify(str(tmp_path))


def test_pull_copies(registry, tmp_path):
    copy = zoo.pull(NAME, registry=registry, dest=tmp_path / "a/copy")
    assert zoo.verify(f"local-dir:{copy}")
    with pytest.raises(FileExistsError, match="dest: expected a new directory"):
        zoo.pull(NAME, registry=registry, dest=copy)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["copy"]


def test_golden_input_of_a_name(library, original):
    stored = load_file(library / NAME / "golden.safetensors")["input"]
    assert torch.equal(zoo.golden_input(NAME, original, registry=library), stored)
    assert torch.equal(zoo.golden_input(f"local-dir:{library / NAME}", original), stored)
    assert zoo.golden_input("sew_resnet_tiny", original) is None


# One name, one source -------------------------------------------------------------------------------------------------


def test_what_a_name_stands_for(library, run, tmp_path, monkeypatch):
    def kind(name, registry=None):
        return type(sources.locate(str(name), registry))

    monkeypatch.delenv("SNNZOO_REGISTRY", raising=False)
    assert kind("sew_resnet_tiny") is kind("resnet18") is kind("resnet18.a1_in1k") is sources.Architecture
    assert kind(NAME, library) is kind(library / NAME) is sources.Published
    assert sources.locate("resnet18.a1_in1k").pretrained
    assert not sources.locate("resnet18").pretrained
    assert sources.locate("resnet18", pretrained=True).pretrained
    assert kind("hf-hub:org/net@v1") is kind("local-dir:/nowhere") is sources.Published  # nothing is fetched yet
    assert kind(run) is kind(run / "checkpoints/last.ckpt") is kind("gone.ckpt") is Run
    assert kind(NAME) is sources.Architecture  # a tag that timm may have
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sew_resnet_tiny").mkdir()
    assert kind("sew_resnet_tiny") is sources.Architecture
    assert kind("./sew_resnet_tiny") is Run
    with pytest.raises(ValueError, match="Unknown model 'sew_resnet_tny'. Did you mean 'sew_resnet_tiny'"):
        kind("sew_resnet_tny")
    with pytest.raises(zoo.RegistryError, match="registry: expected a directory, found no /nowhere"):
        kind(NAME, "/nowhere")
    assert kind(run, "/nowhere") is Run  # needs no registry


def test_all_sources_have_one_surface(library, run, original):
    recipe = {"seed_everything": 0, "data": [{"root": "/home/me/faces", "lr": 0.1}]}
    stored = load_file(library / NAME / "golden.safetensors")["input"]
    kept = load_file(run / "golden_input.safetensors")["input"]
    x = images(original)
    for name, path, golden, results, expected in (
        ("sew_resnet_tiny", None, None, Results(), {}),
        (f"local-dir:{library / NAME}", library / NAME, stored, Results(), {}),
        (str(run), run, kept, read_results(run), recipe),
    ):
        source = sources.locate(name)
        assert source.name == name
        assert source.path == path
        assert source.results() == results
        assert source.recipe() == expected
        found = source.golden_input()
        assert found is None if golden is None else torch.equal(found, golden)
        model = source.model(in_chans=1, num_classes=4).eval()
        assert golden is None or torch.equal(model(x), original(x))
        assert source.model(num_steps=5).num_steps == 5


@pytest.mark.parametrize(
    ("command", "reads"),
    [
        (("report", "CHECKPOINT"), ["model.safetensors"]),
        (("verify", "CHECKPOINT"), ["model.safetensors"]),
        (("info", "CHECKPOINT"), ["model.safetensors"]),
        (("publish", "CHECKPOINT", "TARGET"), ["model.safetensors"] * 2),  # the old file and the new one
        (("report", "RUN"), ["best.ckpt"]),
        (("info", "RUN"), []),
        (("publish", "RUN", "TARGET"), ["best.ckpt", "model.safetensors"]),
    ],
)
def test_weights_are_hashed_once_a_command(library, run, tmp_path, monkeypatch, command, reads):
    write_json(run / "conversion.json", {"checkpoint": {}})  # which is compared too
    names = {"CHECKPOINT": str(library / NAME), "RUN": str(run), "TARGET": str(tmp_path / "out" / NAME)}
    hashed, digest = [], hashlib.file_digest

    def count(file, algorithm):
        hashed.append(Path(file.name).name)
        return digest(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", count)
    cli.main([names.get(word, word) for word in command])
    assert sorted(name for name in hashed if name in ("best.ckpt", "last.ckpt", "model.safetensors")) == reads
