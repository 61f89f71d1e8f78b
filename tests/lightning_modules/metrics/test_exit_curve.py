"""The curve over batches equals the curve over all samples, and a test records it."""

import json

import pytest
import torch

from lightning_modules import ClassificationModule
from lightning_modules.callbacks import EnergyMonitor
from lightning_modules.metrics.exit_curve import ExitCurve
from zoo.early_exit import SCORES, THRESHOLDS, exit_counts


def test_batches_add_up():
    logits, target = torch.randn(4, 50, 3) * 2, torch.randint(3, (50,))
    curve = ExitCurve(thresholds=(0.0, 0.6, 1.0))
    for part in (slice(0, 32), slice(32, 50)):
        curve.update(logits[:, part], target[part])
    found = curve.compute()
    assert list(found) == list(SCORES)
    for score, rows in found.items():
        expected = (exit_counts(logits, target, score, (0.0, 0.6, 1.0)) / 50).tolist()
        assert [[row["acc"], row["mean_steps"]] for row in rows] == [pytest.approx(row, abs=1e-6) for row in expected]
    assert [rows[0]["mean_steps"] for rows in found.values()] == [1, 1]
    assert [rows[-1]["mean_steps"] for rows in found.values()] == [4, 4]
    curve.reset()
    curve.update(logits[:2], target)
    assert curve.compute()["entropy"][-1]["mean_steps"] == 2, "it begins anew"


def test_is_recorded_by_a_test_and_not_saved(blobs, data_args, adam, trainer, tmp_path):
    module = ClassificationModule(
        model="spiking_vgg_tiny", optimizer=adam, model_args={"num_steps": 3, "neuron": "leaky"}, **data_args
    )
    assert not [key for key in module.state_dict() if "exit" in key]
    run = trainer(callbacks=[EnergyMonitor()])
    run.fit(module, blobs)
    for _ in range(2):  # a second test begins anew
        logged = run.test(module, blobs, verbose=False)[0]
        curve = json.loads((tmp_path / "results.json").read_text())["early_exit"]
        for rows in curve.values():
            assert [row["threshold"] for row in rows] == list(THRESHOLDS)
            assert rows[0]["acc"] == pytest.approx(logged["test/acc_at_1"], abs=1e-6)
            assert rows[-1] == {"threshold": 1, "acc": pytest.approx(logged["test/acc"], abs=1e-6), "mean_steps": 3}


def test_one_step_has_no_curve(blobs, data_args, adam, trainer, tmp_path):
    for name, args in (("spiking_vgg_tiny", {"num_steps": 1}), ("test_resnet", {})):
        module = ClassificationModule(model=name, optimizer=adam, model_args=args, **data_args)
        trainer(callbacks=[EnergyMonitor()]).test(module, blobs, verbose=False)
        assert "early_exit" not in json.loads((tmp_path / "results.json").read_text())
