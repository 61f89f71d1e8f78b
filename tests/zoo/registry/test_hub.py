"""Round trips through directories, damage of every kind, runs as they are on disk, and a Hub that records its calls."""

import json
import os
import pickle
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from safetensors.torch import load_file, save_file
from torch import nn

import zoo
from zoo.neurons import LIF
from zoo.registry import hub

NAME = "sew_resnet_tiny.noise"


def images(model, samples=3):
    return torch.randn(samples, *model.pretrained_cfg["input_size"])


def seal(path):
    """Write the manifest anew: what was changed is now published like that."""
    files = {file.name: hub.fingerprint(file) for file in path.iterdir() if file.name != "manifest.json"}
    hub.write_json(path / "manifest.json", {"files": files})


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


# Round trips ---------------------------------------------------------------------------------------------------------


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
    assert hub.recorded_results(name) == {}
    (path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(zoo.RegistryError, match="was altered"):
        zoo.create_model(name)


def test_another_directory_is_told_from_a_published_one(make, tmp_path):
    zoo.publish(make("sew_resnet_tiny"), tmp_path / NAME)
    expected = rf"has no manifest\.json.*snnzoo publish {tmp_path} REGISTRY/.*--registry {tmp_path}"
    with pytest.raises(zoo.RegistryError, match=expected):
        zoo.verify(str(tmp_path))


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
    assert {file.name for file in (library / NAME).iterdir()} == set(hub.ALLOWED) - {"recipe.yaml", "results.json"}
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


# Damage --------------------------------------------------------------------------------------------------------------


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "weights": (lambda p: flip_last_byte(p / "model.safetensors"), r"model\.safetensors was altered.*sha256.*found"),
    "config": (lambda p: edit_json(p / "config.json", num_classes=5), r"config\.json was altered"),
    "card": (lambda p: (p / "README.md").write_text("hello"), r"README\.md was altered.*'size': 5"),
    "missing": (lambda p: (p / "golden.safetensors").unlink(), r"golden\.safetensors is missing"),
    "missing card": (lambda p: (p / "README.md").unlink(), r"manifest\.json does not list the files"),
    "no manifest": (lambda p: (p / "manifest.json").unlink(), r"manifest\.json is missing"),
    "broken manifest": (lambda p: (p / "manifest.json").write_text("{"), r"manifest\.json is not JSON"),
    "list as manifest": (lambda p: (p / "manifest.json").write_text("[]"), "must hold a JSON object, found list"),
    "pickle": (lambda p: (p / "pytorch_model.bin").write_bytes(b"x"), r"pytorch_model\.bin does not belong"),
    "unlisted": (lambda p: (p / "results.json").write_text("{}"), r"manifest\.json does not list"),
    "gone": (shutil.rmtree, r"the registry is empty|Invalid pretrained tag.*checkpoints: none"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(registry, kind):
    damage, message = DAMAGE[kind]
    damage(registry / NAME)
    for use in (zoo.pull, zoo.verify, lambda name, registry: zoo.create_model(name, True, registry)):
        with pytest.raises(ValueError, match=f"(?s){message}"):
            use(NAME, registry=registry)


def reshape(tensors):
    tensors["layer1.0.conv1.weight"] = torch.zeros(2, 3)


def poison(tensors):
    tensors["fc.bias"][0] = torch.nan


def edit_cfg(path, **changes):
    cfg = json.loads((path / "config.json").read_text())["pretrained_cfg"]
    edit_json(path / "config.json", pretrained_cfg=cfg | changes)


FORGERIES = {
    "shape": (
        lambda p: edit_tensors(p / "model.safetensors", reshape),
        r"layer1\.0\.conv1\.weight is \(2, 3\), expected \(8, 8, 3, 3\)",
    ),
    "missing tensor": (
        lambda p: edit_tensors(p / "model.safetensors", lambda t: t.pop("fc.bias")),
        r"fc\.bias is missing, expected \(4,\)",
    ),
    "extra tensor": (
        lambda p: edit_tensors(p / "model.safetensors", lambda t: t.update(extra=torch.zeros(1))),
        r"extra is \(1,\), expected no such tensor",
    ),
    "pickle": (
        lambda p: (p / "model.safetensors").write_bytes(pickle.dumps({"fc.bias": 1})),
        "is not a safetensors file",
    ),
    "architecture": (
        lambda p: edit_json(p / "config.json", architecture="sew_resnet_tini"),
        "Unknown architecture 'sew_resnet_tini'.*sew_resnet_tiny",
    ),
    "import path": (
        lambda p: edit_json(p / "config.json", architecture="os.system"),
        "Unknown architecture 'os.system'",
    ),
    "key": (lambda p: edit_json(p / "config.json", class_path="os.system"), r"unknown keys \['class_path'\]"),
    "url": (lambda p: edit_cfg(p, url="http://x/y.pth"), r"unknown keys \['url'\]"),
    "argument": (lambda p: edit_json(p / "config.json", model_args={"colour": 1}), "does not describe.*colour"),
    "list of arguments": (lambda p: edit_json(p / "config.json", model_args=[1]), "must be JSON objects"),
    "neuron": (
        lambda p: edit_json(p / "config.json", model_args={"num_classes": 4, "in_chans": 1, "neuron": "os"}),
        "Unknown neuron 'os'",
    ),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_what_a_dishonest_publisher_may_write(registry, kind):
    forge, message = FORGERIES[kind]
    forge(registry / NAME)
    seal(registry / NAME)
    for use in (zoo.verify, lambda name, registry: zoo.create_model(name, True, registry)):
        with pytest.raises(ValueError, match=f"(?s){message}"):
            use(NAME, registry=registry)


def test_loading_a_pickle_runs_nothing(registry, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    for path in (registry / NAME / "model.safetensors", tmp_path / "bomb.ckpt"):
        path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    torch.save({"zoo": Bomb()}, tmp_path / "torch_bomb.ckpt")
    seal(registry / NAME)
    for name in (f"local-dir:{registry / NAME}", str(tmp_path / "bomb.ckpt"), str(tmp_path / "torch_bomb.ckpt")):
        with pytest.raises(ValueError, match="not a safetensors file|is not a checkpoint of a run"):
            zoo.create_model(name)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (poison, r"fc\.bias holds values that are not finite"),
        (lambda t: t["fc.bias"].add_(0.01), "0 of 8 samples agree within 1.0e-04, the largest difference is 1.0e-02"),
        (lambda t: t["layer2.0.bn1.bias"].fill_(-1e3), r"layer2\.0\.act1 never fires on the golden input"),
    ],
)
def test_verify_rebuilds_and_compares(registry, change, message):
    edit_tensors(registry / NAME / "model.safetensors", change)
    seal(registry / NAME)
    assert zoo.pull(NAME, registry=registry)  # whole, but wrong
    with pytest.raises(zoo.RegistryError, match=message):
        zoo.verify(NAME, registry=registry)


def test_a_spike_more_or_less_in_some_samples_is_forgiven(registry):
    golden = registry / NAME / "golden.safetensors"
    edit_tensors(golden, lambda tensors: tensors["logits"][:3].mul_(1.5))
    seal(registry / NAME)
    report = zoo.verify(NAME, registry=registry)
    assert (report.reproduced, report.num_samples) == (5, 8)
    assert report.max_error > 1e-3
    edit_tensors(golden, lambda tensors: tensors["logits"][3:5].mul_(1.5))
    seal(registry / NAME)
    with pytest.raises(zoo.RegistryError, match="3 of 8 samples agree"):
        zoo.verify(NAME, registry=registry)


def test_golden_logits_of_another_shape(registry):
    golden = registry / NAME / "golden.safetensors"
    edit_tensors(golden, lambda tensors: tensors.update(logits=torch.zeros(8, 9)))
    seal(registry / NAME)
    with pytest.raises(zoo.RegistryError, match=r"gives logits \[8, 4\], but its golden logits are \[8, 9\]"):
        zoo.verify(NAME, registry=registry)
    edit_tensors(golden, lambda tensors: tensors.pop("logits"))
    seal(registry / NAME)
    with pytest.raises(zoo.RegistryError, match=r"must hold input and logits, found \['input'\]"):
        zoo.verify(NAME, registry=registry)


# Publishing ----------------------------------------------------------------------------------------------------------


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
        monkeypatch.setattr(hub, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        zoo.publish(make(num_steps=3), registry / NAME, overwrite=True)
    monkeypatch.undo()
    assert [path.name for path in registry.iterdir()] == [NAME]
    assert zoo.verify(NAME, registry=registry)
    assert zoo.create_model(NAME, True, registry).num_steps == 2


@pytest.mark.parametrize("name", ["mine", "spiking_vgg_tiny.noise", "sew_resnet_tiny", "sew_resnet_tiny."])
def test_an_entry_is_named_after_its_architecture(original, tmp_path, name):
    with pytest.raises(ValueError, match=r"is a sew_resnet_tiny: call it sew_resnet_tiny\.TAG"):
        zoo.publish(original, tmp_path / name)


# Names ---------------------------------------------------------------------------------------------------------------


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
    monkeypatch.setattr(hub, "EMBEDDED", Path(shutil.copytree(library, embedded)))
    assert zoo.pull(NAME) == embedded / NAME
    monkeypatch.setenv("SNNZOO_REGISTRY", str(mine))
    with pytest.raises(zoo.RegistryError, match=r"There is no registry directory .*mine"):
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
        with pytest.raises(zoo.RegistryError, match=r"Unknown checkpoint|is no published checkpoint"):
            zoo.pull(name, registry=library)
    with pytest.raises(zoo.RegistryError, match="There is no checkpoint directory /nowhere"):
        zoo.create_model("local-dir:/nowhere")


def test_a_directory_does_not_shadow_an_architecture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sew_resnet_tiny").mkdir()
    assert zoo.create_model("sew_resnet_tiny", num_classes=3).num_classes == 3


def test_pull_copies(registry, tmp_path):
    copy = zoo.pull(NAME, registry=registry, dest=tmp_path / "a/copy")
    assert zoo.verify(f"local-dir:{copy}")
    with pytest.raises(FileExistsError, match="Choose a new directory"):
        zoo.pull(NAME, registry=registry, dest=copy)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["copy"]


def test_golden_input_of_a_name(library, original):
    stored = load_file(library / NAME / "golden.safetensors")["input"]
    assert torch.equal(zoo.golden_input(NAME, original, registry=library), stored)
    assert torch.equal(zoo.golden_input(f"local-dir:{library / NAME}", original), stored)
    assert zoo.golden_input("sew_resnet_tiny", original) is None


# The Hub -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def fake_hub(monkeypatch, tmp_path):
    """Stands for the Hub: keeps what is uploaded in a directory, records every call, fails when told to."""
    hubs = SimpleNamespace(calls=[], root=tmp_path / "hub", error=None)

    class FakeApi:
        def file_exists(self, repo_id, filename):
            hubs.calls.append(("file_exists", repo_id, filename))
            return (hubs.root / repo_id / filename).exists()

        def create_repo(self, repo_id, exist_ok):
            hubs.calls.append(("create_repo", repo_id, exist_ok))
            if hubs.error:
                raise hubs.error
            (hubs.root / repo_id).mkdir(parents=True, exist_ok=True)

        def upload_folder(self, repo_id, folder_path, allow_patterns, delete_patterns, commit_message):
            hubs.calls.append(("upload_folder", repo_id, sorted(path.name for path in folder_path.iterdir())))
            assert set(allow_patterns) == set(delete_patterns) == set(hub.ALLOWED)
            shutil.rmtree(hubs.root / repo_id)
            shutil.copytree(folder_path, hubs.root / repo_id)
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    def snapshot_download(repo_id, revision, allow_patterns):
        hubs.calls.append(("snapshot_download", repo_id, revision))
        assert set(allow_patterns) == set(hub.ALLOWED)
        if hubs.error:
            raise hubs.error
        return str(hubs.root / repo_id)

    monkeypatch.setattr(hub, "HfApi", FakeApi)
    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(hub.constants, "ENDPOINT", "https://huggingface.co")
    monkeypatch.setattr(hub.constants, "HF_HUB_DISABLE_XET", False)
    return hubs


def test_hub_round_trip(fake_hub, original, tmp_path):
    assert zoo.publish(original, "hf-hub:org/net") == "https://hub/org/net/commit/1"
    files = sorted(set(hub.ALLOWED) - {"recipe.yaml", "results.json"})
    assert fake_hub.calls == [
        ("file_exists", "org/net", "model.safetensors"),
        ("create_repo", "org/net", True),
        ("upload_folder", "org/net", files),
    ]
    assert not hub.constants.HF_HUB_DISABLE_XET
    assert "hf-hub:org/net" in (fake_hub.root / "org/net/README.md").read_text()
    x = images(original)
    assert torch.equal(zoo.create_model("hf-hub:org/net").eval()(x), original(x))
    assert zoo.verify("hf-hub:org/net@v1").max_error == 0
    assert fake_hub.calls[-1] == ("snapshot_download", "org/net", "v1")
    assert zoo.golden_input("hf-hub:org/net", original).shape == (8, 1, 16, 16)
    flip_last_byte(fake_hub.root / "org/net/model.safetensors")
    with pytest.raises(zoo.RegistryError, match=r"model\.safetensors was altered"):
        zoo.create_model("hf-hub:org/net")


def test_hub_overwrite(fake_hub, original):
    zoo.publish(original, "hf-hub:org/net")
    with pytest.raises(FileExistsError, match="hf-hub:org/net already holds a model"):
        zoo.publish(original, "hf-hub:org/net")
    assert zoo.publish(original, "hf-hub:org/net", overwrite=True)


def test_another_hub_server_gets_plain_uploads(fake_hub, original, monkeypatch):
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    zoo.publish(original, "hf-hub:org/net")
    assert hub.constants.HF_HUB_DISABLE_XET


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ConnectionError("404 xet-write-token"), "ConnectionError: 404 xet-write-token. .*the network"),
        (OfflineModeIsEnabled("offline"), "OfflineModeIsEnabled: offline.*HF_HUB_OFFLINE"),
        (HfHubHTTPError("403", response=SimpleNamespace(headers={}, request=None)), ".*hf auth login"),
    ],
)
def test_errors_of_the_hub_say_what_to_do(fake_hub, original, error, advice):
    fake_hub.error = error
    with pytest.raises(zoo.RegistryError, match=f"Could not publish to hf-hub:org/net: {advice}"):
        zoo.publish(original, "hf-hub:org/net")
    with pytest.raises(zoo.RegistryError, match=f"Could not pull hf-hub:org/net: {advice}"):
        zoo.create_model("hf-hub:org/net")


def test_a_repository_of_timm(fake_hub):
    """It has neither golden logits nor manifest: loaded strictly, but not verified."""
    model = timm.create_model("test_resnet", num_classes=5)
    timm.models.save_for_hf(model, fake_hub.root / "timm/net", safe_serialization=True)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(zoo.create_model("hf-hub:timm/net").eval()(x), model.eval()(x))
    assert zoo.create_model("hf-hub:timm/net", num_classes=2)(x).shape == (2, 2)
    with pytest.raises(zoo.RegistryError, match=r"golden\.safetensors is missing"):
        zoo.verify("hf-hub:timm/net")
    with pytest.raises(zoo.RegistryError, match=r"golden\.safetensors is missing"):
        zoo.pull(f"local-dir:{fake_hub.root}/timm/net")


def test_rows_of_our_architectures_are_pulled_from_the_hub(fake_hub, original, monkeypatch):
    zoo.publish(original, "hf-hub:org/net")
    row = replace(timm.get_pretrained_cfg("sew_resnet_tiny"), hf_hub_id="org/net", tag="row")
    registered = timm.models._registry
    monkeypatch.setitem(registered._model_pretrained_cfgs, "sew_resnet_tiny.row", row)
    monkeypatch.setitem(registered._model_with_tags, "sew_resnet_tiny", ["sew_resnet_tiny.row"])
    monkeypatch.setattr(registered, "_model_has_pretrained", {"sew_resnet_tiny.row"})
    assert zoo.list_models("sew_resnet_tiny.*", pretrained=True) == ["sew_resnet_tiny.row"]
    x = images(original)
    assert torch.equal(zoo.create_model("sew_resnet_tiny.row", pretrained=True).eval()(x), original(x))
    assert fake_hub.calls[-1] == ("snapshot_download", "org/net", None)


@pytest.mark.parametrize("name", [path.name for path in sorted(hub.EMBEDDED.iterdir()) if path.is_dir()])
def test_what_is_shipped_is_whole(name):
    report = zoo.verify(name, registry=hub.EMBEDDED)
    assert report.reproduced == report.num_samples  # on every machine so far
    assert sum(path.stat().st_size for path in report.path.iterdir()) < 3e6
