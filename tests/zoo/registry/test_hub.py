"""Publishing to and pulling from a Hub that records its calls."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import timm
import torch
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

import zoo
from zoo.registry import hub
from zoo.registry.files import ALLOWED


def images(model, samples=3):
    return torch.randn(samples, *model.pretrained_cfg["input_size"])


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
            assert set(allow_patterns) == set(delete_patterns) == set(ALLOWED)
            shutil.rmtree(hubs.root / repo_id)
            shutil.copytree(folder_path, hubs.root / repo_id)
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    def snapshot_download(repo_id, revision, allow_patterns):
        hubs.calls.append(("snapshot_download", repo_id, revision))
        assert set(allow_patterns) == set(ALLOWED)
        if hubs.error:
            raise hubs.error
        return str(hubs.root / repo_id)

    monkeypatch.setattr(hub, "HfApi", FakeApi)
    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(hub.constants, "ENDPOINT", "https://huggingface.co")
    monkeypatch.setattr(hub.constants, "HF_HUB_DISABLE_XET", False)
    return hubs


def test_hub_round_trip(fake_hub, original, edit):
    assert zoo.publish(original, "hf-hub:org/net") == "https://hub/org/net/commit/1"
    files = sorted(set(ALLOWED) - {"recipe.yaml", "results.json"})
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
    edit.last_byte(fake_hub.root / "org/net/model.safetensors")
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
    with pytest.raises(zoo.RegistryError, match=r"expected golden\.safetensors, found none"):
        zoo.verify("hf-hub:timm/net")
    with pytest.raises(zoo.RegistryError, match=r"expected golden\.safetensors, found none"):
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
