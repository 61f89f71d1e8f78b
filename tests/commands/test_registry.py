import subprocess
import sys
from types import SimpleNamespace

import pytest

import zoo
from cli import main
from commands.registry import architectures, checkpoints


@pytest.mark.parametrize("pattern", ["*", "sew_*", "*tiny", "SEW_*", "nothing"])
def test_architectures_are_those_that_timm_registers(pattern):
    assert architectures(pattern) == zoo.list_models(pattern)


def test_list(registry, capsys):
    main(["list", "--filter", "sew_resnet?8"])
    assert capsys.readouterr().out.split() == ["sew_resnet18"]
    main(["list", "--pretrained", "--registry", registry])
    assert capsys.readouterr().out.split() == ["spiking_vgg_tiny.noise"]


def test_checkpoints_are_those_of_the_zoo(registry, monkeypatch):
    for pattern in ("*", "spiking_*", "nothing"):
        assert checkpoints(pattern) == zoo.list_models(pattern, pretrained=True)
        assert checkpoints(pattern, registry) == zoo.list_models(pattern, pretrained=True, registry=registry)
    monkeypatch.setenv("SNNZOO_REGISTRY", registry)
    assert checkpoints() == zoo.list_models(pretrained=True)
    with pytest.raises(zoo.RegistryError, match="registry: expected a directory, found no /no"):
        checkpoints("*", "/no")


@pytest.mark.parametrize("words", [["list"], ["list", "--pretrained"], ["info", "sew_resnet18"], ["--help"]])
def test_an_answer_without_importing_torch(words):
    code = f"import sys; from cli import main; main({words}); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "AssertionError" not in done.stderr
    assert done.stdout


def test_info_says_the_same_from_the_index_and_from_the_model(capsys, monkeypatch):
    main(["info", "spikformer_tiny"])
    shown = capsys.readouterr().out
    monkeypatch.setattr("commands.registry.json", SimpleNamespace(loads=lambda text: {}))
    main(["info", "spikformer_tiny"])
    assert capsys.readouterr().out == shown


def test_info(registry, capsys):
    main(["info", "sew_resnet18"])
    shown = capsys.readouterr().out
    assert "11,689,512" in shown
    assert "None" not in shown
    main(["info", "spiking_vgg_tiny.noise", "--registry", registry])
    shown = capsys.readouterr().out
    assert "stages.2" in shown
    assert "(1, 8, 8)" in shown


def test_pull_and_verify(registry, tmp_path, capsys, fails):
    main(["verify", "spiking_vgg_tiny.noise", "--registry", registry])
    assert "is whole" in capsys.readouterr().out
    main(["pull", "spiking_vgg_tiny.noise", "--registry", registry, "--dest", str(tmp_path / "copy")])
    assert (tmp_path / "copy/model.safetensors").exists()
    (tmp_path / "copy/model.safetensors").write_bytes(b"x")
    assert "model.safetensors was altered" in fails(["verify", f"local-dir:{tmp_path}/copy"])
