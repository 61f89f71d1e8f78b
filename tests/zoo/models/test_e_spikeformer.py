from itertools import pairwise

import pytest
import torch

import zoo
from zoo.model import silent_layers
from zoo.neurons import Neuron


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("e_spikeformer_3m", 2_702_048),
        ("e_spikeformer_5m", 5_105_608),
        ("e_spikeformer_10m", 10_023_112),
        ("e_spikeformer_19m", 18_987_504),
    ],
)
def test_parameters_are_the_published_ones(count, name, total):
    assert count(name) == total
    assert f"{total:,} parameters" in getattr(zoo.models.e_spikeformer, name).__doc__


def test_parameters_of_the_tiny_one_in_closed_form(count):
    widths = (8, 16, 24, 32, 48)
    total = 49 * 3 * 8 + 8 + 2 * 8 + 48 * 10 + 10
    total += sum(9 * a * b + 3 * b for a, b in pairwise(widths))
    for index, c in enumerate(widths):
        taps = 49 if index < 3 else 9
        total += 4 * c * c + (taps * 2 + 4 + 4 + 2) * c
        total += 72 * c * c + 10 * c if index < 3 else (10 * c * c + 14 * c) + (8 * c * c + 5 * c + 10 * c)
    assert count("e_spikeformer_tiny") == total


@pytest.fixture
def units(walk):
    """Layers of integer units: no potential is left behind."""

    class Units(walk):
        def fire(self, x, name, threshold=1.0):
            return (x / threshold).clamp(0, 4).round() / 4

    return Units


def simulate(walk, x, depths, heads):
    """Logits [N, K] of the paper's table."""

    def separable(name, x):
        y = walk.current(x, f"{name}.0")
        y = walk.current(y, f"{name}.1", groups=y.shape[1])
        return x + walk.current(y, f"{name}.2")

    def attention(name, x):
        s = walk.fire(x, f"{name}.0")
        q, k, v = (walk.spikes(s, f"{name}.1.{part}") for part in "qkv")
        d = x.shape[1] / heads
        a = walk.fire(walk.attend(q, k, v, heads, 2 / d**0.5), f"{name}.1.attention")
        return x + walk.unit(a, f"{name}.1.proj")

    x = walk.norm(walk.conv(x, "conv1", stride=2), "bn1")
    for stage, depth in enumerate(depths):
        x = walk.current(x, f"stages.{stage}.0", stride=1 if stage == 4 else 2) if stage else x
        for number in range(depth):
            name = f"stages.{stage}.{(stage > 0) + number}"
            x = separable(f"{name}.0", x)
            x = attention(f"{name}.1", x) if stage > 2 else x
            last = f"{name}.2" if stage > 2 else f"{name}.1"
            x = x + walk.current(walk.current(x, f"{last}.0"), f"{last}.1")
    return walk.linear(x.mean((2, 3)), "fc")


@torch.no_grad()
def test_equals_the_paper(units, calibrate):
    depths = (1, 2, 1, 2, 1)
    arguments = {"dims": (8, 8, 20, 24), "depths": depths, "num_heads": 4, "scale": 1.0}
    model = zoo.create_model("e_spikeformer_tiny", num_classes=5, **arguments)
    x = torch.randn(3, 3, 44, 36, dtype=torch.float64)
    model = calibrate(model, x)
    assert silent_layers(model, x) == [], "the test would see nothing"
    expected = simulate(units(model), x, depths, heads=4)
    torch.testing.assert_close(model(x), expected, atol=1e-9, rtol=1e-9)


def test_its_units_have_levels_and_no_time(count):
    model = zoo.create_model("e_spikeformer_3m")
    assert model.num_steps == 1
    neurons = [module for module in model.modules() if isinstance(module, Neuron)]
    assert {(type(neuron).__name__, neuron.levels) for neuron in neurons} == {("Integer", 4)}
    eight = zoo.create_model("e_spikeformer_tiny", neuron={"name": "integer", "levels": 8})
    assert {module.levels for module in eight.modules() if isinstance(module, Neuron)} == {8}


@torch.no_grad()
def test_shown_for_longer_it_says_the_same(calibrate):
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    model = calibrate(zoo.create_model("e_spikeformer_tiny"), x)
    once = model(x)
    model.num_steps = 3
    torch.testing.assert_close(model.forward_sequence(x[None]), once.expand(3, -1, -1), atol=1e-12, rtol=1e-12)


def test_maps_and_heads_of_the_paper():
    with torch.device("meta"):
        model = zoo.create_model("e_spikeformer_19m")
        _, features = model.forward_intermediates(torch.zeros(1, 1, 3, 224, 224))
    assert [feature.shape[-1] for feature in features] == [112, 56, 28, 14, 14]
    assert [len(stage) for stage in model.stages] == [1, 2, 3, 7, 3]  # with the convolution between two stages
    assert model.stages[3][1][1][1].attention.heads == 8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"depths": (1, 1, 1)}, "ESpikeFormer takes four dims, and depths of five stages"),
        ({"num_heads": 5}, "heads must divide the 128 channels"),
        ({"neuron": "interger"}, "Unknown neuron 'interger'. Did you mean 'integer'"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        zoo.create_model("e_spikeformer_tiny", **arguments)
