import re
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.model import silent_layers
from zoo.models.meta_spikeformer import RepConv
from zoo.neurons import Neuron


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("meta_spikeformer_15m", 15_112_208),
        ("meta_spikeformer_31m", 31_333_864),
        ("meta_spikeformer_55m", 55_350_248),
    ],
)
def test_parameters_are_the_published_ones(count, name, total):
    assert count(name) == total
    assert f"{total:,} parameters" in getattr(zoo.models.meta_spikeformer, name).__doc__


def test_the_second_head_of_the_original_is_all_that_is_missing(count):
    assert count("meta_spikeformer_55m") + 640 * 1000 + 1000 == 55_991_248


def test_parameters_of_the_tiny_one_in_closed_form(count):
    widths = (8, 16, 24, 32, 48)
    total = 49 * 3 * 8 + 8 + 2 * 8 + 48 * 10 + 10
    total += sum(9 * a * b + 3 * b for a, b in pairwise(widths))
    for c in widths[:3]:
        total += (2 * c * c + 4 * c + 49 * 2 * c + 2 * c * c + 2 * c) + (2 * 36 * c * c + 10 * c)
    for c in widths[3:]:
        total += 4 * (2 * c * c + 9 * c + 6 * c) + (8 * c * c + 5 * c + 10 * c)
    assert count("meta_spikeformer_tiny") == total


def rep(walk, name, x):
    """`RepConv` without a border of its own: the norm makes it out of the zeros around the input."""
    y = walk.norm(walk.conv(F.pad(x, (1, 1, 1, 1)), f"{name}.pointwise1"), f"{name}.bn1")
    y = walk.conv(y, f"{name}.depthwise", padding=0, groups=y.shape[1])
    return walk.norm(walk.conv(y, f"{name}.pointwise2"), f"{name}.bn2")


def conv_block(walk, name, x):
    """Separable convolution, then two full ones."""
    y = walk.current(x, f"{name}.0.0")
    y = walk.fire(y, f"{name}.0.1.act")
    y = walk.conv(walk.conv(y, f"{name}.0.1.depthwise", groups=y.shape[1]), f"{name}.0.1.pointwise")
    x = x + walk.norm(y, f"{name}.0.1.bn")
    return x + walk.current(walk.current(x, f"{name}.1.0"), f"{name}.1.1")


def attn_block(walk, name, x, heads, scale):
    """Attention of re-parameterised convolutions, then the MLP."""
    s, branch = walk.fire(x, f"{name}.attn.0"), f"{name}.attn.1"
    q, k, v = (
        walk.fire(walk.norm(rep(walk, f"{branch}.{part}.conv", s), f"{branch}.{part}.bn"), f"{branch}.{part}.act")
        for part in "qkv"
    )
    a = walk.fire(walk.attend(q, k, v, heads, scale), f"{branch}.attention", threshold=0.5)
    x = x + walk.norm(rep(walk, f"{branch}.proj.conv", a), f"{branch}.proj.bn")
    return x + walk.current(walk.current(x, f"{name}.mlp.0"), f"{name}.mlp.1")


def simulate(walk, frames, depths, heads, scale):
    """Logits [T, N, K] of the paper's table, every layer at one step before any layer sees the next."""
    logits = []
    for frame in frames:
        x = walk.norm(walk.conv(frame, "conv1", stride=2), "bn1")
        for stage, depth in enumerate(depths):
            x = walk.current(x, f"stages.{stage}.0", stride=1 if stage == 4 else 2) if stage else x
            for number in range(depth):
                name = f"stages.{stage}.{(stage > 0) + number}"
                x = conv_block(walk, name, x) if stage < 3 else attn_block(walk, name, x, heads, scale)
        logits.append(walk.linear(walk.fire(x.mean((2, 3)), "head"), "fc"))
    return torch.stack(logits)


@torch.no_grad()
def test_equals_the_paper_step_by_step(walk, calibrate):
    depths = (1, 2, 1, 2, 1)
    arguments = {"dims": (8, 8, 16, 24), "depths": depths, "num_heads": 4, "scale": 0.5}
    model = zoo.create_model("meta_spikeformer_tiny", num_classes=5, num_steps=4, **arguments)
    x = torch.randn(1, 2, 3, 44, 36, dtype=torch.float64)
    model = calibrate(model, x)
    logits = model.forward_sequence(x)
    expected = simulate(walk(model), x.expand(4, *x.shape[1:]), depths, heads=4, scale=0.5)
    assert silent_layers(model, x) == [], "the test would see nothing"
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)


def calibrated(dim):
    """A `RepConv` whose norms are far from the identity, in evaluation mode."""
    conv = RepConv(dim)
    for norm in (conv.bn1, conv.bn2):
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    return conv.eval()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@torch.no_grad()
def test_a_folded_convolution_is_equal(dtype, tolerance):
    """Everywhere, the border included; which padding with zeros instead of the norm's image of zero would fail."""
    conv, x = calibrated(12).to(dtype), torch.randn(3, 12, 5, 7, dtype=dtype)
    folded = conv.fold()
    assert isinstance(folded, nn.Conv2d)
    assert (folded.kernel_size, folded.padding, folded.weight.dtype) == ((3, 3), (1, 1), dtype)
    expected = conv(x)
    torch.testing.assert_close(folded(x), expected, atol=tolerance, rtol=tolerance)
    y = conv.bn1(conv.pointwise1(x))
    wrong = conv.bn2(conv.pointwise2(F.conv2d(y, conv.depthwise.weight, padding=1, groups=12)))
    torch.testing.assert_close(wrong[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=tolerance, rtol=tolerance)
    assert (wrong - expected).abs().max() > 0.1


def test_the_border_of_a_batch_is_not_that_of_a_later_one():
    """Two batches and one backward pass: each gradient is that of its own pass."""
    torch.manual_seed(0)
    model, batches = RepConv(3).double().train(), torch.randn(2, 4, 3, 5, 5, dtype=torch.float64) + 2
    outputs = [model(x) for x in batches]
    outputs[0].square().sum().backward()
    found = model.bn1.weight.grad.clone()
    model.bn1.reset_running_stats()
    model.zero_grad()
    model(batches[0]).square().sum().backward()
    torch.testing.assert_close(found, model.bn1.weight.grad)


@torch.no_grad()
def test_a_network_with_folded_convolutions_is_equal(calibrate):
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    model = calibrate(zoo.create_model("meta_spikeformer_tiny"), x)
    folded = zoo.fold(model, x)
    assert sum(isinstance(module, nn.Conv2d) for module in folded.modules()) == 1 + 3 * 5 + 4 + 2 * (4 + 2)
    assert not any(isinstance(module, nn.BatchNorm2d | RepConv) for module in folded.modules())
    torch.testing.assert_close(folded.forward_sequence(x[None]), model.forward_sequence(x[None]), atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_what_reads_real_numbers_is_what_it_says(calibrate):
    x, real = torch.randn(2, 3, 32, 32), set()
    model = calibrate(zoo.create_model("meta_spikeformer_tiny"), x.double())

    def note(name, read):
        if not torch.equal(read, read.bool().to(read)):
            real.add(name)

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, args, name=name: note(name, args[0]))
    model(x.double())
    names = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    assert real - {"conv1"} == {name for name in names if re.search(model.real_inputs, name)}
    assert len(real) == 1 + 3 + 2 * 4 * 2


def test_maps_and_heads_of_the_paper():
    with torch.device("meta"):
        model = zoo.create_model("meta_spikeformer_15m")
        _, features = model.forward_intermediates(torch.zeros(1, 1, 3, 224, 224))
    assert [feature.shape[-1] for feature in features] == [112, 56, 28, 14, 14]
    attention = model.stages[3][1].attn[1].attention
    assert (attention.heads, attention.scale) == (8, 0.125)
    assert [len(stage) for stage in model.stages] == [1, 2, 3, 7, 3]  # with the convolution between two stages


def test_neurons_of_the_paper():
    model = zoo.create_model("meta_spikeformer_tiny")
    neurons = {name: module for name, module in model.named_modules() if isinstance(module, Neuron)}
    assert {(type(neuron).__name__, neuron.tau, neuron.v_reset) for neuron in neurons.values()} == {("LIF", 2.0, 0.0)}
    assert {str(neuron.surrogate) for neuron in neurons.values()} == {"Sigmoid(alpha=4.0)"}
    low = {name for name, neuron in neurons.items() if neuron.v_threshold != 1.0}
    assert low == {f"stages.{index}.1.attn.1.attention.act" for index in (3, 4)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dims": (8, 16, 24)}, r"takes four dims, and depths of five stages, found \(8, 16, 24\)"),
        ({"depths": (1, 1, 1)}, r"depths of five stages, found .* and \(1, 1, 1\)"),
        ({"num_heads": 5}, "heads must divide the 32 channels"),
        ({"neuron": "lfi"}, "Unknown neuron 'lfi'"),
        ({"num_steps": 0}, "integer >= 1, found 0"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        zoo.create_model("meta_spikeformer_tiny", **arguments)
