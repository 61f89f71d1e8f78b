import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file

from lightning_modules import ClassificationModule
from lightning_modules.callbacks import EnergyMonitor
from zoo.energy import Measurement, measure
from zoo.registry.results import read_results


@pytest.fixture
def module(data_args, adam):
    return ClassificationModule(model="spiking_vgg_tiny", optimizer=adam, model_args={"num_steps": 2}, **data_args)


def test_record_equals_a_measurement_by_hand(module, blobs, trainer, tmp_path):
    run = trainer(callbacks=[EnergyMonitor()])
    run.fit(module, blobs)
    logged = run.test(module, blobs, verbose=False)[0]
    record = json.loads((tmp_path / "results.json").read_text())
    by_hand = measure(module.model, [x for x, _ in blobs.test_dataloader()])
    assert Measurement.from_dict(record["measurement"]).num_samples == 24
    assert record["measurement"] == by_hand.to_dict()
    assert record["metrics"]["acc"] == pytest.approx(logged["test/acc"], abs=1e-6)
    assert logged["test/energy_uj"] == pytest.approx(by_hand.energy_uj(), rel=1e-5)
    assert logged["test/firing_rate"] == pytest.approx(by_hand.firing_rate, rel=1e-5)


def test_counts_the_first_samples_only(module, blobs, trainer, tmp_path):
    trainer(callbacks=[EnergyMonitor(num_samples=16)]).test(module, blobs, verbose=False)
    assert json.loads((tmp_path / "results.json").read_text())["measurement"]["num_samples"] == 16


def test_the_record_says_whose_numbers_it_holds(module, blobs, trainer, tmp_path):
    run = trainer(callbacks=[EnergyMonitor()])
    run.fit(module, blobs)
    run.save_checkpoint(tmp_path / "some.ckpt")
    run.test(module, blobs, ckpt_path=tmp_path / "some.ckpt", weights_only=True, verbose=False)
    digest = hashlib.sha256((tmp_path / "some.ckpt").read_bytes()).hexdigest()
    assert json.loads((tmp_path / "results.json").read_text())["checkpoint"]["sha256"] == digest


@pytest.mark.parametrize(
    ("recipe", "seed"), [("seed_everything: 7", 7), ("seed_everything: true", None), ("run: x", None)]
)
def test_the_seed_is_that_of_the_run(module, blobs, trainer, tmp_path, recipe, seed):
    run = trainer(callbacks=[EnergyMonitor()])
    run.fit(module, blobs)
    checkpoint = tmp_path / "trained/checkpoints/last.ckpt"
    run.save_checkpoint(checkpoint)
    (tmp_path / "trained/config.yaml").write_text(recipe)
    run.test(module, blobs, ckpt_path=checkpoint, weights_only=True, verbose=False)
    assert read_results(tmp_path).seed == seed


def test_keeps_real_images(module, blobs, trainer, tmp_path):
    trainer(callbacks=[EnergyMonitor()]).test(module, blobs, verbose=False)
    assert (tmp_path / "golden_input.safetensors").stat().st_mode & 0o044, "others may read it, as every file of a run"
    kept = load_file(tmp_path / "golden_input.safetensors")["input"]
    torch.testing.assert_close(kept, next(iter(blobs.test_dataloader()))[0][:, :8])


def test_leaves_no_hook_behind(module, blobs, trainer):
    class Stop(Exception):
        pass

    def fail(*_):
        raise Stop

    module.on_test_batch_end = fail
    with pytest.raises(Stop):
        trainer(callbacks=[EnergyMonitor()]).test(module, blobs, verbose=False)
    assert not any(layer._forward_pre_hooks or layer._forward_hooks for layer in module.modules())
