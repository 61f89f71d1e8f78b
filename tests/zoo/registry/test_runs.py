"""Run directories and `.ckpt` files as they are on disk."""

import json
import os
import pickle

import pytest
import torch

import zoo
from zoo.registry.results import Results
from zoo.registry.runs import Run

NAME = "sew_resnet_tiny.noise"


def test_a_run_is_a_name(run, original):
    x = torch.randn(3, 1, 16, 16)
    for name in (run, run / "checkpoints/best.ckpt"):
        assert torch.equal(zoo.create_model(str(name)).eval()(x), original(x))
    assert zoo.create_model(str(run)).pretrained_cfg["label_names"] == list("abcd")
    assert zoo.create_model(str(run), num_classes=7, in_chans=2)(torch.rand(2, 2, 16, 16)).shape == (2, 7)
    (run / "checkpoints/best.ckpt").unlink()
    assert zoo.create_model(str(run)).num_steps == 1  # the last


def test_a_network_without_a_name_cannot_be_built(run):
    """What a module of a user's own nn.Module saves."""
    path = run / "checkpoints/best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    torch.save(checkpoint | {"zoo": None}, path)
    with pytest.raises(ValueError, match=r"best\.ckpt: expected a network made by zoo\.create_model"):
        zoo.load_run(run)


def test_results_of_another_network_are_not_published(original, run, save_run, tmp_path):
    assert Run(str(run)).results().dataset == "Noise"
    assert Run(str(run / "checkpoints/best.ckpt")).results().dataset == "Noise"
    assert Run(str(run / "checkpoints/last.ckpt")).results() == Results()  # the test took the best
    os.utime(run / "results.json", (0, 0))
    assert Run(str(run)).results().metrics  # a copied run keeps no times
    save_run(run, original, epoch=4)
    with pytest.raises(
        ValueError, match=r"results\.json: expected results measured on .*Test again: snnzoo test --config"
    ):
        zoo.publish(run, tmp_path / NAME)
    zoo.publish(run, tmp_path / NAME, results={"dataset": "Other"})
    assert json.loads((tmp_path / NAME / "results.json").read_text()) == {"dataset": "Other"}


def test_a_checkpoint_that_is_none(tmp_path, save_run, original):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"expected a run with .*best\.ckpt or .*, found none.*local-dir:"):
        zoo.create_model(str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match=r"expected a run with .*gone\.ckpt, found none"):
        zoo.create_model(str(tmp_path / "gone.ckpt"))
    (tmp_path / "text.ckpt").write_text("hello")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    for name in ("text", "foreign"):
        with pytest.raises(ValueError, match=f"{name}.ckpt: expected a checkpoint of a run"):
            zoo.create_model(str(tmp_path / f"{name}.ckpt"))
    weights = {f"model.{key}": value for key, value in original.state_dict().items() if key != "fc.bias"}
    save_run(tmp_path, original, state_dict=weights)
    with pytest.raises(ValueError, match=r"best\.ckpt does not fit SEWResNet: fc\.bias: expected \(4,\), found none"):
        zoo.create_model(str(tmp_path))


def test_loading_a_pickle_runs_nothing(registry, seal, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    for path in (registry / NAME / "model.safetensors", tmp_path / "bomb.ckpt"):
        path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    torch.save({"zoo": Bomb()}, tmp_path / "torch_bomb.ckpt")
    seal(registry / NAME)
    for name in (f"local-dir:{registry / NAME}", str(tmp_path / "bomb.ckpt"), str(tmp_path / "torch_bomb.ckpt")):
        with pytest.raises(ValueError, match="expected a safetensors file, found|expected a checkpoint of a run"):
            zoo.create_model(name)
    assert not (tmp_path / "exploded").exists()
