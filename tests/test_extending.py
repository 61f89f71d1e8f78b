"""The package of docs/extending.md: installed, trained, tested, published and pulled; what is never imported."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
PARTS = ("objectives", "neurons", "models", "data", "callbacks")


def python(code, folder, path):
    """Run Python code in a process of its own, so that timm's registry stays ours."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *path]))}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def package(tmp_path):
    """A folder with the files of the page in `source`; their wheel is unpacked to `site`, as an installation does."""
    source = tmp_path / "source"
    for name, text in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text, encoding="utf-8")
    built = python("from setuptools.build_meta import build_wheel; print(build_wheel('dist'))", source, [])
    assert not built.returncode, built.stderr
    shutil.rmtree(source / "my_snn.egg-info")  # or `source` on the path would count as an installation
    with zipfile.ZipFile(source / "dist" / built.stdout.split()[-1]) as wheel:
        wheel.extractall(tmp_path / "site")
    return tmp_path


def test_each_part_is_short():
    for part in PARTS:
        lines = FILES[f"my_snn/{part}.py"].splitlines()
        code = [line for line in lines if line.strip() and not line.startswith(("import ", "from "))]
        assert len(code) < 25, part
    assert len(PAGE.splitlines()) < 250


USE = """
import json, sys
from pathlib import Path
from cli import main

main(["list", "--filter", "my_*"])
main(["fit", "--config", "source/recipe.yaml", "--trainer.precision", "32-true"])
main(["test", "--config", "runs/mine/config.yaml"])
main(["publish", "runs/mine", "registry/my_student.first"])
main(["verify", "registry/my_student.first"])
main(["fit", "--config", "source/recipe.yaml", "--run", "runs/typed", "--trainer.fast_dev_run", "1",
      "--model.model", "my_snn.models.my_student", "--data", "my_snn.data.MyDataModule",
      "--model.objectives", '[{"class_path": "my_snn.objectives.MyLoss"}]',
      "--trainer.callbacks", '[{"class_path": "my_snn.callbacks.MyCallback"}]'])
assert "my_snn.neurons" in sys.modules
"""

PULL = """
import torch, zoo
from safetensors.torch import load_file

path = zoo.pull("my_student.first", registry="registry")
model = zoo.create_model("my_student.first", pretrained=True, registry="registry").eval()
golden = load_file(path / "golden.safetensors")
with torch.no_grad():
    assert torch.equal(model(golden["input"]), golden["logits"])
print(type(model).__module__, model.act.decay)
"""

NOT_INSTALLED = """
import sys
import zoo

try:
    zoo.create_model("my_student.first", pretrained=True, registry="registry")
except zoo.RegistryError as error:
    print(error)
assert "my_snn" not in sys.modules
model = zoo.create_model("my_snn.models.my_student", num_classes=4, in_chans=1, neuron="my_snn.neurons.MyNeuron")
print(type(model.act).__module__, zoo.list_models("my_*"))
for name in ("my_snn.models.MyStudent", "my_snn.modles.my_student", "my_snn.models.my_studnet"):
    try:
        zoo.create_model(name)
    except ValueError as error:
        print(error)
print(type(zoo.create_model("my_student.first", pretrained=True, registry="registry")).__name__)
"""


@pytest.mark.timeout(600)  # three processes import torch
def test_the_package_is_used_by_its_import_paths(package):
    used = python(USE, package, [package / "site"])
    assert not used.returncode, used.stderr
    assert "my_student" in used.stdout.splitlines()
    assert "golden logits of 8 of 8 samples" in used.stdout
    results = json.loads((package / "runs/mine/results.json").read_text())
    assert results["metrics"]["acc"] > 0.9
    recipe = (package / "runs/mine/config.yaml").read_text()
    assert all(f"class_path: my_snn.{name}" in recipe for name in ("objectives.MyLoss", "data.MyDataModule"))

    pulled = python(PULL, package, [package / "site"])
    assert not pulled.returncode, pulled.stderr
    assert pulled.stdout.split() == ["my_snn.models", "0.8"]

    # Importable, but not installed: the checkpoint imports nothing, a name that is typed does.
    typed = python(NOT_INSTALLED, package, [package / "source"])
    assert not typed.returncode, typed.stderr
    refused, found, *errors, pulled_now = typed.stdout.splitlines()
    assert "Unknown architecture 'my_student'" in refused
    assert "Import or install the package" in refused
    assert found == "my_snn.neurons ['my_student']"
    assert "register_model, found <class" in errors[0]
    assert "No module named 'my_snn.modles'" in errors[1]
    assert "has no attribute 'my_studnet'" in errors[2]
    assert pulled_now == "MyStudent"
