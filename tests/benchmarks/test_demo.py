import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def demo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("demo", Path(__file__).parents[2] / "benchmarks/demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_draws_the_same_shapes_every_time(demo, tmp_path):
    for name in ("first", "second"):
        demo.draw_shapes(tmp_path / name, per_class=2)
    files = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*.png"))
    assert len(files) == 8
    assert all((tmp_path / "first" / f).read_bytes() == (tmp_path / "second" / f).read_bytes() for f in files)
    with Image.open(tmp_path / "first" / files[0]) as image:
        assert (image.mode, image.size) == ("L", (32, 32))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_main_job(demo, tmp_path):
    demo.demo()
    accuracy = {
        path.parent.name: json.loads(path.read_text())["metrics"]["acc"]
        for path in (tmp_path / "runs/demo").glob("*/results.json")
    }
    assert accuracy["teacher"] >= 0.965
    assert accuracy["sew_resnet_bkd"] >= 0.975
    assert {"sew_resnet_ce", "finetuned"} < set(accuracy)
    assert len(list((tmp_path / "runs/demo/sew_resnet_bkd/plots").glob("*.png"))) == 5
