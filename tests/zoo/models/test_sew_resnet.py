import pytest
import timm
import torch

from zoo.models.sew_resnet import CONNECT
from zoo.neurons import Neuron


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_parameters_are_those_of_timms_resnet(depth):
    with torch.device("meta"):
        ours, theirs = timm.create_model(f"sew_resnet{depth}"), timm.create_model(f"resnet{depth}")
    shapes = {key: value.shape for key, value in ours.state_dict().items()}
    assert shapes == {key: value.shape for key, value in theirs.state_dict().items()}


@pytest.mark.parametrize("depth", [18, 50])
def test_layout_is_that_of_timms_resnet(depth):
    """With ReLU for every neuron after a block's sum the two would be one function: here the shapes of all features."""
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        _, ours = timm.create_model(f"sew_resnet{depth}", num_steps=1).eval().forward_intermediates(x[None])
        _, theirs = timm.create_model(f"resnet{depth}").eval().forward_intermediates(x)
    assert [feature.shape[1:] for feature in ours] == [feature.shape for feature in theirs]


def test_connections_by_hand():
    branch, shortcut = torch.tensor([0.0, 0, 1, 1]), torch.tensor([0.0, 1, 0, 1])
    assert CONNECT["add"](branch, shortcut).tolist() == [0, 1, 1, 2]
    assert CONNECT["and"](branch, shortcut).tolist() == [0, 0, 0, 1]
    assert CONNECT["iand"](branch, shortcut).tolist() == [0, 1, 0, 0]  # (NOT branch) AND shortcut


@pytest.mark.parametrize(("connect", "top"), [("add", 4), ("and", 1), ("iand", 1)])
def test_only_add_leaves_the_bits(connect, top):
    model = timm.create_model("sew_resnet_tiny", connect=connect, layers=(3, 1, 1), neuron="if")
    with torch.no_grad():
        _, features = model.train().forward_intermediates(torch.randn(1, 8, 3, 16, 16) * 3)
    largest = max(feature.max().item() for feature in features)
    assert largest <= top
    assert (largest > 1) == (connect == "add")


def test_default_neuron_of_the_papers_nets():
    neurons = {
        type(module).__name__ for module in timm.create_model("sew_resnet18").modules() if isinstance(module, Neuron)
    }
    assert neurons == {"IF"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"connect": "or"}, "Unknown connect of SEWResNet 'or'"),
        ({"stem": "smal"}, "Unknown stem of SEWResNet 'smal'. Did you mean 'small'"),
        ({"block": "basics"}, "Unknown block of SEWResNet 'basics'. Did you mean 'basic'"),
        ({"layers": (1, 1)}, "as many stages"),
        ({"in_chans": 0}, "in_chans must be >= 1"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        timm.create_model("sew_resnet_tiny", **arguments)
