import pytest

import zoo
from cli import main
from commands.registry import architectures


@pytest.mark.parametrize("pattern", ["*", "sew_*", "*tiny", "SEW_*", "nothing"])
def test_architectures_are_those_that_timm_registers(pattern):
    assert architectures(pattern) == zoo.list_models(pattern)


def test_list(registry, capsys):
    main(["list", "--filter", "sew_resnet?8"])
    assert capsys.readouterr().out.split() == ["sew_resnet18"]
    main(["list", "--pretrained", "--registry", registry])
    assert capsys.readouterr().out.split() == ["spiking_vgg_tiny.noise"]


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
