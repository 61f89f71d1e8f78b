import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.neurons import LIF, Neuron


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("ms_resnet18", 1000, 11_693_736),
        ("ms_resnet34", 1000, 21_801_896),
        ("ms_resnet104", 1000, 77_350_504),
        ("ms_resnet18_small", 10, 11_173_962),  # torchvision's ResNet-18 with a 3x3 stem and 10 classes
        ("ms_resnet_tiny", 10, 78_042),  # below
        ("ms_resnet_deep_tiny", 10, 82_986),
    ],
)
def test_parameters(count, name, classes, expected):
    assert count(name) == expected
    features = 64 if "tiny" in name else 512
    assert count(name, num_classes=7) == expected - (classes - 7) * (features + 1)


def test_parameters_of_the_tiny_ones():
    blocks = sum(9 * a * b + 9 * b * b + 4 * b for a, b in ((16, 16), (16, 32), (32, 64)))
    shortcuts = (16 * 32 + 64) + (32 * 64 + 128)
    rest = 32 + blocks + shortcuts + 65 * 10
    assert 9 * 3 * 16 + rest == 78_042
    assert (9 * 3 * 16 + 16) + 2 * (9 * 16 * 16 + 16) + (16 * 16 + 32) + rest == 82_986


def step(walk, x, layers, stem, shortcut):
    """Logits of the paper's table at one step."""
    for index in range(3) if stem == "deep" else [None]:
        stride = 1 if stem == "small" or index else 2
        x = walk.conv(x, "conv1" if index is None else f"conv1.{index}", stride)
    x = walk.norm(x, "bn1")
    for stage, depth in enumerate(layers, 1):
        for number in range(depth):
            name = f"layer{stage}.{number}"
            stride = 2 if number == 0 and (stage > 1 or stem != "small") else 1
            y = walk.norm(walk.conv(walk.fire(x, f"{name}.act1"), f"{name}.conv1", stride), f"{name}.bn1")
            y = walk.norm(walk.conv(walk.fire(y, f"{name}.act2"), f"{name}.conv2"), f"{name}.bn2")
            if walk.has(f"{name}.downsample.conv"):
                x = F.avg_pool2d(x, 2) if shortcut == "pool" else x[..., ::stride, ::stride]
                x = walk.norm(walk.conv(x, f"{name}.downsample.conv"), f"{name}.downsample.bn")
            x = x + y
    return walk.linear(walk.fire(x, "act").mean((2, 3)), "fc")


@pytest.mark.parametrize(
    ("stem", "shortcut"), [("imagenet", "conv"), ("deep", "pool"), ("small", "conv")], ids=["18", "104", "small"]
)
def test_equals_the_table_step_by_step(walk, calibrate, stem, shortcut):
    arguments = {"layers": (2, 1, 2), "stem": stem, "shortcut": shortcut}
    model = zoo.create_model("ms_resnet_tiny", widths=(8, 12, 16), num_classes=5, num_steps=5, **arguments)
    image = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    reference = walk(calibrate(model, image), decay=0.25, gain=1.0, threshold=0.5)
    with torch.no_grad():
        logits = model.forward_sequence(image[None])
        expected = torch.stack([step(reference, image, **arguments) for _ in range(5)])
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)


def test_neuron_of_the_papers_nets():
    """V <- V (1 - S) / 4 + X, firing at 1/2."""
    neurons = [module for module in zoo.create_model("ms_resnet18").modules() if isinstance(module, Neuron)]
    assert all(type(neuron) is LIF for neuron in neurons)
    assert len(neurons) == 8 * 2 + 1
    impulse = torch.tensor([0.4, 0.39, 0.0, 0.6, 0.1, 0.475]).view(-1, 1)  # potentials .4 .49 .1225 .63 .1 .5
    assert neurons[0](impulse).flatten().tolist() == [0, 0, 0, 1, 0, 1]


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_norms_start_at_the_threshold(threshold):
    neuron = {"name": "lif", "v_threshold": threshold}
    model = zoo.create_model("ms_resnet18", neuron=neuron)
    for name, norm in model.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            expected = 0.0 if name.endswith("bn2") else threshold
            assert norm.weight.unique().item() == pytest.approx(expected)
            assert not norm.bias.any()


def test_a_block_starts_as_its_shortcut():
    model = zoo.create_model("ms_resnet_tiny", layers=(3, 1), widths=(8, 8), zero_init_last=True)
    with torch.no_grad():
        _, features = model.train().forward_intermediates(torch.randn(1, 4, 3, 8, 8))
    torch.testing.assert_close(features[1], features[0])


@pytest.mark.parametrize("side", [17, 30])
def test_odd_sides(side):
    """Convolutions round up, and so does the pool of the shortcut."""
    model = zoo.create_model("ms_resnet_deep_tiny")
    features = model.forward_intermediates(torch.randn(1, 2, 3, side, side), intermediates_only=True)
    assert [feature.shape[-1] for feature in features] == [-(-side // 2**halvings) for halvings in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"stem": "imagent"}, "Unknown stem of MSResNet 'imagent'. Did you mean 'imagenet'"),
        ({"shortcut": "pol"}, "Unknown shortcut of MSResNet 'pol'. Did you mean 'pool'"),
        ({"layers": (1, 1)}, "as many stages"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        zoo.create_model("ms_resnet_tiny", **arguments)
