import importlib.util
import logging
from pathlib import Path

import pytest


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:You defined a `validation_step`")
def test_distils_from_python(monkeypatch, tmp_path, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.WARNING)
    path = Path(__file__).parents[2] / "examples/train_in_a_notebook.py"
    spec = importlib.util.spec_from_file_location("train_in_a_notebook", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    results = example.main(epochs=2)
    assert results["test/acc"] > 0.2, "twice as good as chance"
    assert results["test/teacher_acc"] > 0.5
    assert {"test/agreement", "test/acc_at_1", "test/LogitKD"} <= set(results)
