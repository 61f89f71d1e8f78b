"""What the tests of commands share: a registry, and the message of a command that fails."""

import pytest

import zoo
from cli import main


@pytest.fixture
def registry(tmp_path):
    """A registry that holds one (untrained) student."""
    import torch

    model = zoo.create_model("spiking_vgg_tiny", num_classes=10, in_chans=1, num_steps=2)
    model.pretrained_cfg.update(input_size=(1, 8, 8), mean=(0.5,), std=(0.25,))
    for _ in range(80):  # until the statistics of the norms let every layer fire
        model(torch.randn(8, 1, 8, 8))
    zoo.publish(model, tmp_path / "registry/spiking_vgg_tiny.noise")
    return str(tmp_path / "registry")


@pytest.fixture
def fails(capsys):
    """A function that runs a command which must fail, and returns its message."""

    def run(args):
        with pytest.raises(SystemExit) as stop:
            main(args)
        assert stop.value.code == 2
        return capsys.readouterr().err

    return run
