import pytest
import timm
import torch
import torch.nn.functional as F

import zoo
from zoo.model import silent_layers


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 1_858_410),
        ({"bias": False}, 1_857_600),
        ({"hidden": (500, 500)}, (2312 + 1) * 500 + 501 * 500 + 501 * 10),  # SLAYER
        ({"in_chans": 1, "img_size": 28}, (784 + 1) * 800 + 801 * 10),  # MNIST
    ],
)
def test_parameters(changes, count):
    with torch.device("meta"):
        model = timm.create_model("nmnist_mlp", **changes)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize("bias", [True, False])
def test_equals_fully_connected_layers_step_by_step(bias):
    """In float64: F.linear of flattened frames, LIF (tau 2, hard reset), F.linear."""
    model = timm.create_model("nmnist_mlp_tiny", bias=bias).double().eval()
    x = torch.randint(0, 3, (6, 3, 2, 8, 8)).double()
    v, logits = [torch.zeros(3, 24).double(), torch.zeros(3, 16).double()], []
    for frame in x:
        s = frame.flatten(1)
        for index, layer in enumerate(model.layers):
            current = F.linear(s, layer.conv.weight.flatten(1), layer.conv.bias)
            h = v[index] + (current - v[index]) / 2
            s = (h >= 1).double()
            v[index] = h * (1 - s)
        logits.append(F.linear(s, model.fc.weight, model.fc.bias))
    with torch.no_grad():
        torch.testing.assert_close(model.forward_sequence(x), torch.stack(logits), atol=1e-9, rtol=1e-9)
    assert silent_layers(model, x) == []


def test_fires_on_frames_as_sparse_as_those_of_the_data():
    """An N-MNIST frame of 30 ms holds about 400 events, most pixels none."""
    model = timm.create_model("nmnist_mlp")
    frames = torch.poisson(torch.full((10, 4, 2, 34, 34), 400 / 2312))
    assert silent_layers(model, frames) == []


def test_biases_come_and_go_together():
    x = torch.randn(3, 2, 8, 8)
    for bias in (True, False):
        model = zoo.create_model("nmnist_mlp_tiny", bias=bias)
        for classes in (3, 0, 5):
            model.reset_classifier(classes)
            assert model(x).shape == (3, classes or 16)
            assert any(key.endswith("bias") for key, _ in model.named_parameters()) == bias


def test_gradient_reaches_every_parameter_with_dropout():
    model = timm.create_model("nmnist_mlp_tiny", drop_rate=0.3).train()
    model(torch.randn(8, 2, 8, 8)).square().sum().backward()
    assert not [key for key, parameter in model.named_parameters() if not parameter.grad.any()]


def test_what_it_refuses():
    with pytest.raises(ValueError, match="hidden .* each >= 1"):
        timm.create_model("nmnist_mlp_tiny", hidden=())
    model = timm.create_model("nmnist_mlp")
    for shape, found in (((3, 2, 28, 28), "28x28"), ((4, 3, 2, 34, 32), "34x32")):
        with pytest.raises(ValueError, match=f"images of 34x34 pixels, found {found}.* img_size"):
            model(torch.zeros(shape))
