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


def python(code, folder, site, **environment):
    """Run Python code in a process of its own, so that timm's registry stays ours."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *site]), **environment}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with the files of the page; its wheel is unpacked to `site`, as an installation does."""
    folder = tmp_path_factory.mktemp("package")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('dist'))"
    built = python(build, folder, [])
    assert not built.returncode, built.stderr
    with zipfile.ZipFile(folder / "dist" / built.stdout.split()[-1]) as wheel:
        wheel.extractall(folder / "site")
    shutil.move(folder / "my_snn", folder / "source/my_snn")  # the installed one is used
    return folder


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
main(["fit", "--config", "recipe.yaml", "--trainer.precision", "32-true"])
main(["test", "--config", "runs/mine/config.yaml"])
main(["publish", "runs/mine", "registry/my_student.first"])
main(["verify", "registry/my_student.first"])
main(["fit", "--config", "recipe.yaml", "--run", "runs/typed", "--trainer.fast_dev_run", "1",
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

TYPED = """
import zoo

model = zoo.create_model("my_snn.models.my_student", num_classes=4, in_chans=1, neuron="my_snn.neurons.MyNeuron")
print(type(model.act).__module__, zoo.list_models("my_*"))
for name in ("my_snn.models.MyStudent", "my_snn.modles.my_student", "my_snn.models.my_studnet"):
    try:
        zoo.create_model(name)
    except ValueError as error:
        print(error)
"""


def test_the_package_is_used_by_its_import_paths(package):
    used = python(USE, package, [str(package / "site")])
    assert not used.returncode, used.stderr
    assert "my_student" in used.stdout.splitlines()
    assert "golden logits of 8 of 8 samples" in used.stdout
    results = json.loads((package / "runs/mine/results.json").read_text())
    assert results["metrics"]["acc"] > 0.9
    recipe = (package / "runs/mine/config.yaml").read_text()
    assert all(f"class_path: my_snn.{name}" in recipe for name in ("objectives.MyLoss", "data.MyDataModule"))

    pulled = python(PULL, package, [str(package / "site")])
    assert not pulled.returncode, pulled.stderr
    assert pulled.stdout.split() == ["my_snn.models", "0.8"]

    # Importable, but not installed: the checkpoint imports nothing, a name that is typed does.
    refused = python(PULL, package, [str(package / "source")])
    assert refused.returncode
    assert "Unknown architecture 'my_student'" in refused.stderr
    assert "Import or install the package" in refused.stderr
    typed = python(TYPED, package, [str(package / "source")])
    assert not typed.returncode, typed.stderr
    found, *errors = typed.stdout.splitlines()
    assert found == "my_snn.neurons ['my_student']"
    assert "register_model, found <class" in errors[0]
    assert "No module named 'my_snn.modles'" in errors[1]
    assert "has no attribute 'my_studnet'" in errors[2]
