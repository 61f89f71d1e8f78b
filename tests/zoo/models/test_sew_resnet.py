import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from zoo.model import silent_layers
from zoo.models.sew_resnet import CONNECT
from zoo.neurons import Neuron


def closed_form(widths, depth, classes, in_chans=3):
    """Parameters of a small SEW-ResNet of basic blocks: 3x3 convolutions without bias, two numbers a norm channel."""
    total, chans = 9 * in_chans * widths[0] + 2 * widths[0], widths[0]
    for index, width in enumerate(widths):
        for block in range(depth):
            first = block == 0 and index > 0
            total += 9 * chans * width + 9 * width * width + 4 * width
            total += (chans * width + 2 * width) if first else 0
            chans = width
    return total + chans * classes + classes


@pytest.mark.parametrize(
    ("name", "count"),
    [  # of the paper, then by `closed_form`
        ("sew_resnet18", 11_689_512),
        ("sew_resnet34", 21_797_672),
        ("sew_resnet50", 25_557_032),
        ("sew_resnet101", 44_549_160),
        ("sew_resnet152", 60_192_808),
        ("sew_resnet18_small", closed_form((64, 128, 256, 512), 2, 10)),
        ("sew_resnet20", closed_form((16, 32, 64), 3, 10)),
        ("sew_resnet8", closed_form((16, 32, 64), 1, 10)),
        ("sew_resnet_tiny", closed_form((32, 64, 128), 1, 10)),
    ],
)
def test_parameters(name, count):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in timm.create_model(name).parameters()) == count


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
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


def simulate(weights, image, steps, block, layers, stem, connect):
    """Logits [T, N, K] of the paper's table, every layer at one step before any layer sees the next."""
    potentials = {}

    def unit(x, conv, norm, stride, padding):
        y = F.conv2d(x, weights[f"{conv}.weight"], stride=stride, padding=padding)
        mean, var, gain, bias = (
            weights[f"{norm}.{key}"].view(-1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
        )
        h = potentials.get(conv, 0) + (y - mean) / (var + 1e-5).sqrt() * gain + bias  # IF, threshold 1, reset to 0
        potentials[conv] = torch.where(h >= 1, 0.0, h)
        return (h >= 1).double()

    logits = []
    for _ in range(steps):
        x = unit(image, "conv1", "bn1", 2 if stem == "imagenet" else 1, 3 if stem == "imagenet" else 1)
        x = F.max_pool2d(x, 3, 2, 1) if stem == "imagenet" else x
        for stage, depth in enumerate(layers, 1):
            for number in range(depth):
                name, stride = f"layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1
                plan = [(1, stride), (1, 1)] if block == "basic" else [(0, 1), (1, stride), (0, 1)]
                y = x
                for index, (padding, step) in enumerate(plan, 1):
                    y = unit(y, f"{name}.conv{index}", f"{name}.bn{index}", step, padding)
                if f"{name}.downsample.0.weight" in weights:
                    x = unit(x, f"{name}.downsample.0", f"{name}.downsample.1", stride, 0)
                x = {"add": y + x, "and": y * x, "iand": (1 - y) * x}[connect]
        logits.append(F.linear(x.mean((2, 3)), weights["fc.weight"], weights["fc.bias"]))
    return torch.stack(logits)


@pytest.mark.parametrize("connect", ["add", "and", "iand"])
@pytest.mark.parametrize(("block", "stem"), [("basic", "imagenet"), ("basic", "small"), ("bottleneck", "imagenet")])
def test_equals_the_paper_step_by_step(block, stem, connect):
    layers, widths = (2, 1, 2), (8, 12, 16)
    arguments = {"block": block, "layers": layers, "stem": stem, "connect": connect}
    model = timm.create_model("sew_resnet18", widths=widths, num_classes=5, num_steps=5, **arguments).double()
    x = torch.randn(3, 3, 40, 40, dtype=torch.float64) + 0.3
    with torch.no_grad():
        for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.bias.uniform_(0, 1)  # so that even an AND of ANDs fires
        for _ in range(20):
            model.train()(x)  # the statistics become those of the spikes
        logits = model.eval().forward_sequence(x[None])
        expected = simulate(model.state_dict(), x, 5, **arguments)
    assert silent_layers(model, x) == [], "the test would see nothing"
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)


def test_features_of_another_depth():
    maps = timm.create_model("sew_resnet_tiny", layers=(1, 1), widths=(4, 8), features_only=True)(
        torch.randn(2, 3, 8, 8)
    )
    assert [feature.shape[1:] for feature in maps] == [(4, 8, 8), (4, 8, 8), (8, 4, 4)]


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
        ({"in_chans": 0}, "in_chans and num_classes: expected"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        timm.create_model("sew_resnet_tiny", **arguments)
