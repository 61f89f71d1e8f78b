import pytest
import torch
import torch.nn.functional as F

import zoo
from zoo.model import silent_layers
from zoo.neurons import Neuron


@pytest.mark.parametrize(
    ("name", "changes", "total"),
    [
        ("maxformer_10_384", {}, 16_237_240),
        ("maxformer_10_512", {}, 28_653_480),
        ("maxformer_10_768", {}, 63_992_200),
        ("maxformer_cifar_4_384", {}, 6_568_282),
        ("maxformer_cifar_4_384", {"num_classes": 100}, 6_602_932),
        ("maxformer_dvs_2_256", {}, 1_455_626),
        ("maxformer_dvs_2_256", {"num_classes": 11}, 1_455_883),
    ],
)
def test_parameters_are_the_published_ones(count, name, changes, total):
    assert count(name, **changes) == total
    assert changes or f"{total:,} parameters" in getattr(zoo.models.maxformer, name).__doc__


def conv(chans, out_chans, size):
    """Parameters of a convolution and its norm."""
    return chans * out_chans * size**2 + 2 * out_chans


def block(chans, ratio, mixer):
    """Parameters of a block: those of the mixer, and two convolutions with bias and their norms."""
    return mixer + 2 * ratio * chans**2 + 3 * ratio * chans + 3 * chans


def embedded(chans, out_chans):
    """Parameters of an Embed-Max."""
    return conv(chans, out_chans, 3) + conv(out_chans, out_chans, 3) + conv(chans, out_chans, 1)


def test_parameters_of_the_tiny_ones_in_closed_form(count):
    a, b, c = 16, 32, 64
    attention = 4 * c**2 + c + 4 * 2 * c
    last = embedded(b, c) + block(c, 4, attention) + 10 * (c + 1)
    stem = conv(3, 8, 3) + conv(8, a, 3) + conv(8, a, 1)
    imagenet = stem + conv(a, a, 3) + block(a, 4, (49 + 3) * a) + embedded(a, b) + block(b, 4, (25 + 3) * b)
    assert count("maxformer_tiny") == imagenet + last
    assert count("maxformer_cifar_tiny") == stem + block(a, 4, 0) + embedded(a, b) + block(b, 4, (9 + 3) * b) + last
    stem = conv(2, 8, 3) + conv(8, 16, 3) + conv(16, 32, 3) + conv(32, 64, 3) + conv(16, 64, 1)
    blocks = block(64, 1, (9 + 3) * 64) + embedded(64, 96) + block(96, 1, 4 * 96**2 + 96 + 4 * 2 * 96)
    assert count("maxformer_dvs_tiny") == stem + blocks + 10 * (96 + 1)


def embed(walk, name, x, main, shortcut):
    """Two branches of one neuron's spikes, added."""
    s = walk.fire(x, f"{name}.act")
    return main(s, f"{name}.main") + shortcut(s, f"{name}.shortcut")


def pooled(x):
    return F.max_pool2d(x, 3, 2, 1)


def embed_max(walk, name, x):
    def main(s, name):
        return walk.current(pooled(walk.unit(s, f"{name}.0")), f"{name}.1")

    return embed(walk, name, x, main, lambda s, name: pooled(walk.unit(s, name)))


def embed_imagenet(walk, name, x):
    def main(s, name):
        return walk.current(walk.unit(s, f"{name}.0", stride=2), f"{name}.1")

    return embed(walk, name, x, main, lambda s, name: walk.unit(s, name, stride=2))


def embed_cifar(walk, name, x):
    return embed(walk, name, x, walk.unit, walk.unit)


def embed_dvs(walk, name, x):
    def main(s, name):
        return pooled(walk.current(pooled(walk.unit(s, f"{name}.0")), f"{name}.1"))

    x = pooled(walk.current(x, f"{name}.0"))
    return embed(walk, f"{name}.1", x, main, lambda s, name: walk.unit(s, name, stride=4))


STEMS = {"imagenet": (2, embed_imagenet), "cifar": (1, embed_cifar), "dvs": (1, embed_dvs)}


def simulate(walk, frames, stem, depths, kernels, heads, scale):
    """Logits [T, N, K] of the paper's table, every layer at one step before any layer sees the next."""
    logits = []
    for frame in frames:
        stride, first = STEMS[stem]
        x = walk.norm(walk.conv(frame, "conv1", stride=stride), "bn1")
        for stage, depth in enumerate(depths):
            x = (embed_max if stage else first)(walk, f"stages.{stage}.0", x)
            for number in range(1, depth + 1):
                name = f"stages.{stage}.{number}"
                if stage == len(kernels):
                    s = walk.fire(x, f"{name}.attn.0")
                    q, k, v = (walk.spikes(s, f"{name}.attn.1.{part}") for part in "qkv")
                    a = walk.fire(walk.attend(q, k, v, heads, scale), f"{name}.attention", threshold=0.5)
                    x = x + walk.unit(a, f"{name}.attn.1.proj")
                elif kernels[stage]:
                    x = x + walk.current(x, f"{name}.attn.0", groups=x.shape[1])
                x = x + walk.current(walk.current(x, f"{name}.mlp.0"), f"{name}.mlp.1")
        logits.append(walk.linear(walk.fire(x.mean((2, 3)), "head"), "fc"))
    return torch.stack(logits)


@pytest.mark.parametrize(
    ("name", "stem", "depths", "kernels"),
    [
        ("maxformer_tiny", "imagenet", (1, 2, 2), (7, 5)),
        ("maxformer_cifar_tiny", "cifar", (2, 1, 1), (0, 3)),
        ("maxformer_dvs_tiny", "dvs", (2, 1), (3,)),
    ],
)
@torch.no_grad()
def test_equals_the_paper_step_by_step(walk, calibrate, name, stem, depths, kernels):
    dims = (8, 16, 24)[-len(depths) :]
    model = zoo.create_model(name, dims=dims, depths=depths, num_heads=4, scale=0.5, num_classes=5)
    x = torch.randn(4 if stem == "dvs" else 1, 2, model.in_chans, 41, 36, dtype=torch.float64)
    model = calibrate(model, x)
    model.num_steps = 4
    expected = simulate(walk(model), x.expand(4, *x.shape[1:]), stem, depths, kernels, 4, 0.5)
    assert silent_layers(model, x) == [], "the test would see nothing"
    torch.testing.assert_close(model.forward_sequence(x), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "heads", "ratio", "kernels", "depths", "sides"),
    [
        ("maxformer_10_384", 6, 4, (7, 5), (1, 2, 7), (56, 28, 14)),
        ("maxformer_10_768", 12, 4, (7, 5), (1, 2, 7), (56, 28, 14)),
        ("maxformer_cifar_4_384", 8, 4, (0, 3), (1, 1, 2), (32, 16, 8)),
        ("maxformer_dvs_2_256", 16, 1, (3,), (1, 1), (16, 8)),
    ],
)
def test_maps_heads_and_kernels_of_the_paper(name, heads, ratio, kernels, depths, sides):
    with torch.device("meta"):
        model = zoo.create_model(name)
        _, features = model.forward_intermediates(torch.zeros(1, 1, *model.pretrained_cfg["input_size"]))
    assert tuple(feature.shape[-1] for feature in features) == sides
    assert tuple(len(stage) - 1 for stage in model.stages) == depths
    attention = model.stages[-1][1].attn[1].attention
    assert (attention.heads, attention.scale) == (heads, 0.25 if "dvs" in name else 0.125)
    for stage, kernel in zip(model.stages, kernels, strict=False):
        mixer = stage[1].attn
        assert kernel == 0 or mixer[0].conv.kernel_size == (kernel, kernel)
        assert stage[1].mlp[0].conv.out_channels == ratio * stage[1].mlp[0].conv.in_channels


def test_neurons_of_the_paper():
    model = zoo.create_model("maxformer_tiny")
    neurons = {name: module for name, module in model.named_modules() if isinstance(module, Neuron)}
    assert {(type(neuron).__name__, neuron.tau, neuron.v_reset) for neuron in neurons.values()} == {("LIF", 2.0, 0.0)}
    assert {str(neuron.surrogate) for neuron in neurons.values()} == {"Sigmoid(alpha=4.0)"}
    low = {name for name, neuron in neurons.items() if neuron.v_threshold != 1.0}
    assert low == {"stages.2.1.attn.1.attention.act"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"stem": "cifra"}, "Unknown stem of MaxFormer 'cifra'. Did you mean 'cifar'"),
        ({"depths": (1, 1)}, r"as many stages each, kernels one less, found .*\(1, 1\)"),
        ({"kernels": (7,)}, "kernels one less"),
        ({"kernels": (7, 4)}, r"kernels must be odd, or 0 for none, found \(7, 4\)"),
        ({"num_heads": 5}, "heads must divide the 64 channels"),
        ({"neuron": "lfi"}, "Unknown neuron 'lfi'"),
        ({"in_chans": 0}, "in_chans and num_classes: expected"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        zoo.create_model("maxformer_tiny", **arguments)
