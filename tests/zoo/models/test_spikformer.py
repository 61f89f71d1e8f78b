import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.energy import measure

PUBLISHED = [  # the paper's nets; per block two LayerNorms that never run
    ("spikformer_8_384", {}, 16_828_312, 8 * 4 * 384),
    ("spikformer_6_512", {}, 23_385_640, 6 * 4 * 512),
    ("spikformer_8_512", {}, 29_705_768, 8 * 4 * 512),
    ("spikformer_10_512", {}, 36_025_896, 10 * 4 * 512),
    ("spikformer_8_768", {}, 66_363_208, 8 * 4 * 768),
    ("spikformer_cifar_4_256", {}, 4_159_274, 4 * 4 * 256),
    ("spikformer_cifar_2_384", {}, 5_768_122, 2 * 4 * 384),
    ("spikformer_cifar_4_384", {}, 9_330_874, 4 * 4 * 384),
    ("spikformer_cifar_4_384", {"num_classes": 100}, 9_365_524, 4 * 4 * 384),
    ("spikformer_dvs_2_256", {}, 2_585_610, 2 * 4 * 256 + 64 * 256 + 2 * 256),  # position embedding and its norm
]


@pytest.mark.parametrize(("name", "changes", "published", "dead"), PUBLISHED)
def test_parameters_are_the_published_ones_but_for_what_never_runs(count, name, changes, published, dead):
    assert count(name, **changes) + dead == published


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("spikformer_8_384", 16_816_024),
        ("spikformer_6_512", 23_373_352),
        ("spikformer_8_512", 29_689_384),
        ("spikformer_10_512", 36_005_416),
        ("spikformer_8_768", 66_338_632),
        ("spikformer_cifar_4_256", 4_155_178),
        ("spikformer_cifar_2_384", 5_765_050),
        ("spikformer_cifar_4_384", 9_324_730),
        ("spikformer_dvs_2_256", 2_566_666),
        ("spikformer_tiny", 163_666),
        ("spikformer_cifar_tiny", 164_050),
        ("spikformer_dvs_tiny", 163_594),
    ],
)
def test_parameters_are_those_of_the_docstrings(count, name, total):
    assert count(name) == total
    assert f"{total:,} parameters" in getattr(zoo.models.spikformer, name).__doc__


@pytest.mark.parametrize(
    ("name", "chans", "bias"),
    [("spikformer_tiny", 3, 0), ("spikformer_cifar_tiny", 3, 3), ("spikformer_dvs_tiny", 2, 0)],
)
def test_parameters_of_the_tiny_ones_in_closed_form(count, name, chans, bias):
    """The stem's convolutions and norms; 12 dim^2 + 24 dim of a block; the classifier."""
    dim = 64
    stem = 9 * (chans * dim // 8 + dim * dim // 32 + dim * dim // 8 + dim * dim // 2 + dim * dim)
    stem += 2 * (dim // 8 + dim // 4 + dim // 2 + 2 * dim)
    assert count(name) == stem + 2 * (12 * dim**2 + (24 + bias) * dim) + 10 * (dim + 1)


def simulate(walk, frames, depth, heads, scale, pools):
    """Logits [T, N, K] of the paper's table, every layer at one step before any layer sees the next."""
    logits = []
    for x in frames:
        for name, pool in zip(("encoder", "stem.0", "stem.1", "stem.2"), pools, strict=True):
            x = walk.spikes(x, name)
            x = F.max_pool2d(x, 3, 2, 1) if pool else x
        x = x + walk.fire(walk.unit(x, "stem.3.0"), "stem.3")
        for index in range(depth):
            attn, mlp = f"blocks.{index}.attn", f"blocks.{index}.mlp"
            q, k, v = (walk.spikes(x, f"{attn}.0.{name}") for name in "qkv")
            y = walk.fire(walk.attend(q, k, v, heads, scale), f"{attn}.0", threshold=0.5)
            x = x + walk.fire(walk.unit(y, f"{attn}.0.proj"), attn)
            y = walk.spikes(x, f"{mlp}.0")
            x = x + walk.fire(walk.unit(y, f"{mlp}.1"), mlp)
        logits.append(walk.linear(x.mean((2, 3)), "fc"))
    return torch.stack(logits)


@pytest.mark.parametrize(
    ("name", "pools"),
    [("spikformer_tiny", (1, 1, 1, 1)), ("spikformer_cifar_tiny", (0, 0, 1, 1)), ("spikformer_dvs_tiny", (1, 1, 1, 1))],
)
@torch.no_grad()
def test_equals_the_paper_step_by_step(walk, calibrate, name, pools):
    model = zoo.create_model(name, dim=48, heads=4, scale=0.25, num_classes=5, num_steps=5)
    x = torch.randn(5 if "dvs" in name else 1, 2, model.in_chans, 40, 40, dtype=torch.float64)
    model = calibrate(model, x)
    logits = model.forward_sequence(x)
    expected = simulate(walk(model), x.expand(5, *x.shape[1:]), 2, 4, 0.25, pools)
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "heads", "scale", "side"),
    [
        ("spikformer_8_384", 8, 0.125, 14),
        ("spikformer_cifar_4_384", 12, 0.125, 8),
        ("spikformer_cifar_4_256", 8, 0.125, 8),
        ("spikformer_dvs_2_256", 16, 0.25, 8),
    ],
)
def test_tokens_and_heads_of_the_paper(name, heads, scale, side):
    with torch.device("meta"):
        model = zoo.create_model(name)
        final, features = model.forward_intermediates(torch.zeros(1, 1, *model.pretrained_cfg["input_size"]))
    attention = model.blocks[0].attn[0].attention
    assert (attention.heads, attention.scale) == (heads, scale)
    assert final.shape[2:] == (model.num_features, side, side)
    assert len(features) == 1 + len(model.blocks)


def test_neurons_of_the_paper():
    model = zoo.create_model("spikformer_tiny")
    neurons = {name: module for name, module in model.named_modules() if hasattr(module, "v_threshold")}
    assert {(type(neuron).__name__, neuron.tau, neuron.v_reset) for neuron in neurons.values()} == {("LIF", 2.0, 0.0)}
    assert {str(neuron.surrogate) for neuron in neurons.values()} == {"Sigmoid(alpha=4.0)"}
    low = {name for name, neuron in neurons.items() if neuron.v_threshold != 1.0}
    assert low == {f"blocks.{index}.attn.0.attention.act" for index in range(2)}


@torch.no_grad()
def test_what_reads_sums_of_spikes_is_what_it_says():
    """In a net that fires much, the declared layers read integers beyond one, and only those do."""
    model = zoo.create_model("spikformer_cifar_tiny", in_chans=1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, 1.5)
    tops = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, args, name=name: tops.__setitem__(name, args[0].max().item()))
    model(torch.rand(2, 1, 16, 16))
    del tops["encoder.conv"]
    assert all(top == round(top) for top in tops.values())
    assert {name for name, top in tops.items() if top > 1} == {
        name for name in tops if re.search(model.integer_inputs, name)
    }


def test_energy_counts_every_layer():
    model = zoo.create_model("spikformer_cifar_tiny").train()
    model(torch.randn(8, 3, 16, 16))
    cost = measure(model, [torch.randn(2, 3, 16, 16)])
    names = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert names <= {layer.name for layer in cost.layers}
    assert all(layer.dense > 0 for layer in cost.layers)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dim": 60}, "dim .* multiple of 8, found 60"),
        ({"dim": 0}, "dim .* multiple of 8, found 0"),
        ({"heads": 5}, "heads must divide the 64 channels"),
        ({"depth": 0}, "depth .* >= 1, found 0"),
        ({"pools": (True, True)}, "pools must say of each of the four units"),
        ({"neuron": "lfi"}, "Unknown neuron 'lfi'"),
        ({"in_chans": 0}, "in_chans and num_classes: expected"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        zoo.create_model("spikformer_tiny", **arguments)
