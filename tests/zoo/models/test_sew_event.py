import pytest
import torch
import torch.nn.functional as F

import zoo
from zoo.neurons import PLIF, Neuron


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("sew_7b_dvsgesture", 11, 130_426),
        ("sew_7b_dvsgesture", 10, 130_426 - 33),
        ("sew_wide7b_cifar10dvs", 10, 1_192_218),
        (
            "sew_dvs_tiny",
            11,
            (2 * 16 + 32 + 1) + 2 * 2 * (9 * 16 * 16 + 33) + (16 * 32 + 65) + 2 * (9 * 32 * 32 + 65) + 33 * 11,
        ),
    ],
)
def test_parameters(count, name, classes, expected):
    """One of them the learned leak of every layer."""
    assert count(name, num_classes=classes) == expected


CONNECT = {"add": lambda y, x: y + x, "and": lambda y, x: y * x, "iand": lambda y, x: (1 - y) * x}


def step(walk, x, widths, connect):
    """Logits of the paper's table at one step."""

    def unit(x, conv, norm, act):
        return walk.fire(walk.norm(walk.conv(x, conv), norm), act)

    x = unit(x, "encoder.conv", "encoder.bn", "encoder.act")
    for index in range(len(widths)):
        name = f"blocks.{index}.0"
        if index and widths[index] != widths[index - 1]:
            x, name = unit(x, f"{name}.conv", f"{name}.bn", f"{name}.act"), f"blocks.{index}.1"
        y = unit(x, f"{name}.conv1", f"{name}.bn1", f"{name}.act1")
        y = unit(y, f"{name}.conv2", f"{name}.bn2", f"{name}.act2")
        x = F.max_pool2d(CONNECT[connect](y, x), 2)
    return walk.linear(x.mean((2, 3)), "fc")


@pytest.mark.parametrize("connect", CONNECT)
def test_equals_the_table_step_by_step(walk, calibrate, connect):
    widths = (6, 6, 8)
    model = zoo.create_model("sew_dvs_tiny", widths=widths, connect=connect, num_classes=5)
    frames = 2 * torch.rand(5, 3, 2, 16, 19, dtype=torch.float64)
    reference = walk(calibrate(model, frames))
    with torch.no_grad():
        logits = model.forward_sequence(frames)
        expected = torch.stack([step(reference, frame, widths, connect) for frame in frames])
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", ["sew_7b_dvsgesture", "sew_wide7b_cifar10dvs"])
def test_seven_pools_leave_one_pixel(name):
    with torch.device("meta"):
        model = zoo.create_model(name)
        final, features = model.train().forward_intermediates(torch.empty(1, 1, 2, 128, 128))
    assert [feature.shape[-1] for feature in features] == [128, 64, 32, 16, 8, 4, 2]
    assert model.downsample(final).shape[-2:] == (1, 1)
    neurons = [module for module in model.modules() if isinstance(module, Neuron)]
    assert {type(neuron) for neuron in neurons} == {PLIF}


@pytest.mark.parametrize(("connect", "top"), [("add", 8), ("and", 1), ("iand", 1)])
def test_only_add_leaves_the_bits(connect, top):
    """Seven sums of a spike and what was there before: at most eight."""
    model = zoo.create_model("sew_7b_dvsgesture", connect=connect, neuron="if")
    with torch.no_grad():
        features = model.train().forward_intermediates(3 * torch.randn(1, 1, 2, 128, 128), intermediates_only=True)
    assert max(feature.max() for feature in features) <= top
    assert (features[1].max() > 1) == (connect == "add")


def test_bad_input():
    with pytest.raises(ValueError, match="Unknown connect of SEWEventNet 'xor'"):
        zoo.create_model("sew_dvs_tiny", connect="xor")
    with pytest.raises(ValueError, match="halved 7 times: sides must be of 128 pixels or more, found 128x64"):
        zoo.create_model("sew_7b_dvsgesture")(torch.zeros(1, 2, 128, 64))
