"""Published files that a test changes, and runs as our LightningModules write them."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import zoo
from zoo.registry.files import fingerprint, write_json


def seal_directory(path):
    """Write the manifest anew: what was changed is now published like that."""
    files = {file.name: fingerprint(file) for file in path.iterdir() if file.name != "manifest.json"}
    write_json(path / "manifest.json", {"files": files})


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="package")
def seal():
    """`seal_directory`."""
    return seal_directory


@pytest.fixture(scope="package")
def edit():
    """Changes to a file: `json(path, **changes)`, `tensors(path, change)`, `last_byte(path)`."""
    return SimpleNamespace(json=edit_json, tensors=edit_tensors, last_byte=flip_last_byte)


def save_checkpoint(path, model, name="best", still=False, **changes):
    """What our LightningModules write."""
    prefix = "model.model." if still else "model."
    state = {f"{prefix}{key}": value for key, value in model.state_dict().items()}
    state["objectives.BKD.layers.0.weight"] = torch.zeros(3)
    checkpoint = {"state_dict": state, "epoch": 3, "zoo": zoo.describe(model) | {"prefix": prefix}} | changes
    (path / "checkpoints").mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path / "checkpoints" / f"{name}.ckpt")


@pytest.fixture(scope="package")
def save_run():
    """`save_checkpoint`."""
    return save_checkpoint


@pytest.fixture
def run(make, tmp_path, original):
    """A tested run of a student."""
    path = tmp_path / "run"
    save_checkpoint(path, original)
    save_checkpoint(path, make(num_steps=1), "last")
    (path / "config.yaml").write_text("seed_everything: 0\ndata:\n- root: /home/me/faces\n  lr: 0.1\n")
    results = {"dataset": "Noise", "split": "test", "metrics": {"acc": 0.25}}
    tested = fingerprint(path / "checkpoints/best.ckpt")
    write_json(path / "results.json", results | {"checkpoint": tested})
    save_file({"input": torch.rand(1, 8, 1, 16, 16)}, path / "golden_input.safetensors")
    return path
