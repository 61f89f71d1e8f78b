import pytest
import torch
import torch.nn.functional as F

import zoo
from zoo.model import spiking_neurons

PUBLISHED = [  # the paper's nets; per block two LayerNorms that never run
    ("spikingformer_8_384", 16_828_312, 8 * 4 * 384),
    ("spikingformer_8_512", 29_705_768, 8 * 4 * 512),
    ("spikingformer_8_768", 66_363_208, 8 * 4 * 768),
    ("spikingformer_cifar_4_256", 4_156_202, 4 * 4 * 256),
    ("spikingformer_cifar_2_384", 5_765_818, 2 * 4 * 384),
    ("spikingformer_cifar_4_384", 9_326_266, 4 * 4 * 384),
    ("spikingformer_dvs_2_256", 2_568_714, 2 * 4 * 256),
]


@pytest.mark.parametrize(("name", "published", "dead"), PUBLISHED)
def test_parameters_are_the_published_ones_but_for_what_never_runs(count, name, published, dead):
    assert count(name) + dead == published


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("spikingformer_8_384", 16_816_024),
        ("spikingformer_8_512", 29_689_384),
        ("spikingformer_8_768", 66_338_632),
        ("spikingformer_cifar_4_256", 4_152_106),
        ("spikingformer_cifar_2_384", 5_762_746),
        ("spikingformer_cifar_4_384", 9_320_122),
        ("spikingformer_dvs_2_256", 2_566_666),
        ("spikingformer_tiny", 163_666),
        ("spikingformer_cifar_tiny", 163_666),
        ("spikingformer_dvs_tiny", 163_594),
    ],
)
def test_parameters_are_those_of_the_docstrings(count, name, total):
    assert count(name) == total
    assert f"{total:,} parameters" in getattr(zoo.models.spikingformer, name).__doc__


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("spikingformer_tiny", "spikformer_tiny"),
        ("spikingformer_dvs_tiny", "spikformer_dvs_tiny"),
        ("spikingformer_8_512", "spikformer_8_512"),
    ],
)
def test_as_many_parameters_as_spikformer(count, name, twin):
    """Only neurons and shortcuts moved."""
    assert count(name) == count(twin)


def simulate(walk, frames, depth, heads, scale, pools):
    """Logits [T, N, K] of the paper's table: each unit is [neuron, max-pool, convolution, norm], and potentials add."""
    logits = []
    for x in frames:
        x = walk.unit(x, "encoder")
        for after, name, pool in zip(
            ("encoder", "stem.0", "stem.1", "stem.2"), ("stem.0", "stem.1", "stem.2", "stem.3"), pools, strict=True
        ):
            x = walk.fire(x, after)
            x = walk.unit(F.max_pool2d(x, 3, 2, 1) if pool else x, name)
        for index in range(depth):
            attn, mlp = f"blocks.{index}.attn", f"blocks.{index}.mlp"
            spikes = walk.fire(x, attn)
            q, k, v = (walk.spikes(spikes, f"{attn}.1.{name}") for name in "qkv")
            spikes = walk.fire(walk.attend(q, k, v, heads, scale), f"{attn}.1", threshold=0.5)
            x = x + walk.unit(spikes, f"{attn}.1.proj")
            x = x + walk.current(walk.current(x, f"{mlp}.0"), f"{mlp}.1")
        logits.append(walk.linear(x.mean((2, 3)), "fc"))
    return torch.stack(logits)


@pytest.mark.parametrize(
    ("name", "tau", "pools"),
    [
        ("spikingformer_tiny", 2.0, (1, 1, 1, 1)),
        ("spikingformer_cifar_tiny", 2.0, (0, 0, 1, 1)),
        ("spikingformer_dvs_tiny", 1.5, (1, 1, 1, 1)),
    ],
)
@torch.no_grad()
def test_equals_the_paper_step_by_step(walk, calibrate, name, tau, pools):
    model = zoo.create_model(name, dim=48, heads=4, scale=0.25, num_classes=5, num_steps=5)
    x = torch.randn(5 if "dvs" in name else 1, 2, model.in_chans, 40, 40, dtype=torch.float64)
    model = calibrate(model, x)
    logits = model.forward_sequence(x)
    expected = simulate(walk(model, decay=1 - 1 / tau, gain=1 / tau), x.expand(5, *x.shape[1:]), 2, 4, 0.25, pools)
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "heads", "side"),
    [("spikingformer_8_384", 8, 14), ("spikingformer_cifar_4_384", 12, 8), ("spikingformer_dvs_2_256", 16, 8)],
)
def test_tokens_and_heads_of_the_paper(name, heads, side):
    with torch.device("meta"):
        model = zoo.create_model(name)
        final = model.forward_features(torch.zeros(1, 1, *model.pretrained_cfg["input_size"]))
    attention = model.blocks[0].attn[1].attention
    assert (attention.heads, attention.scale) == (heads, 0.125)
    assert final.shape[2:] == (model.num_features, side, side)


def test_neurons_of_the_paper():
    for name, tau in (("spikingformer_tiny", 2.0), ("spikingformer_dvs_2_256", 1.5)):
        with torch.device("meta"):
            neurons = spiking_neurons(zoo.create_model(name))
        assert {(type(neuron).__name__, neuron.tau) for neuron in neurons.values()} == {("LIF", tau)}
        assert {str(neuron.surrogate) for neuron in neurons.values()} == {"Sigmoid(alpha=4.0)"}
        low = {name for name, neuron in neurons.items() if neuron.v_threshold != 1.0}
        assert low == {f"blocks.{index}.attn.1.attention.act" for index in range(2)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dim": 60}, "dim .* multiple of 8, found 60"),
        ({"heads": 5}, "heads must divide the 64 channels"),
        ({"depth": 0}, "depth .* >= 1, found 0"),
        ({"pools": (True, True)}, "pools must say of each of the four units"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        zoo.create_model("spikingformer_tiny", **arguments)
