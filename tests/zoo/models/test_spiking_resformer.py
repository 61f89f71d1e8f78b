from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

import zoo
from zoo.energy import measure
from zoo.layers.stateless import MatMul
from zoo.model import silent_layers
from zoo.models.spiking_resformer import RateScale
from zoo.neurons import Neuron


@pytest.mark.parametrize(
    ("name", "changes", "total"),
    [
        ("spiking_resformer_ti", {}, 11_180_992),
        ("spiking_resformer_s", {}, 17_813_824),
        ("spiking_resformer_m", {}, 35_601_472),
        ("spiking_resformer_l", {}, 60_375_680),
        ("spiking_resformer_cifar_ti", {}, 10_793_152),
        ("spiking_resformer_cifar_ti", {"num_classes": 100}, 10_793_152 + 90 * 384),
        ("spiking_resformer_dvsgesture", {"in_chans": 3}, 2_709_830),
        ("spiking_resformer_dvsgesture", {}, 2_709_830 - 9 * 32),
    ],
)
def test_parameters_are_the_published_ones(count, name, changes, total):
    assert count(name, **changes) == total
    assert changes or f"{total:,} parameters" in getattr(zoo.models.spiking_resformer, name).__doc__


@pytest.mark.parametrize(("name", "stem"), [("spiking_resformer_tiny", 49), ("spiking_resformer_cifar_tiny", 9)])
def test_parameters_of_the_tiny_ones_in_closed_form(count, name, stem):
    dims, total = (16, 32, 48), stem * 3 * 16 + 2 * 16 + 48 * 10
    for dim, patch in zip(dims, (4, 2, 1), strict=True):
        total += 2 * dim**2 * patch**2 + 4 * dim + dim**2 + 2 * dim  # attention
        total += 2 * 4 * dim**2 + 9 * 16 * 4 * dim + 2 * (4 + 4 + 1) * dim  # feed-forward
    total += sum(9 * dim * following + 2 * following for dim, following in pairwise(dims))
    assert count(name) == total


def attention(walk, name, x, heads, patch):
    """x + DSSA(x), by the equations, of one step."""
    s = walk.fire(x, f"{name}.act")
    y = walk.norm(walk.conv(s, f"{name}.conv", stride=patch, padding=0), f"{name}.bn")
    count, chans, height, width = s.shape
    d, n = chans // heads, y.shape[2] * y.shape[3]
    y = y.reshape(count, heads, 2, d, n)  # of every head, Y1 and then Y2
    tokens = s.reshape(count, heads, d, height * width)
    rate_x, rate_a = (walk.weights[f"{name}.scale{index}.rate"].reshape(heads, 1, 1) for index in (1, 2))
    a = torch.einsum("bhdn,bhdl->bhnl", y[:, :, 0], tokens) / (rate_x * d).sqrt()
    a = walk.fire(a, f"{name}.attn_act")
    o = torch.einsum("bhdn,bhnl->bhdl", y[:, :, 1], a) / (rate_a * n).sqrt()
    return x + walk.current(o.reshape(x.shape), f"{name}.proj")


def simulate(walk, frames, stem, depths, heads, group):
    """Logits [T, N, K] of the paper's table, every layer at one step before any layer sees the next."""
    logits = []
    for frame in frames:
        x = walk.norm(walk.conv(frame, "conv1", stride=2 if stem == "imagenet" else 1), "bn1")
        x = F.max_pool2d(x, 3, 2, 1) if stem == "imagenet" else x
        for stage, (depth, head_count, patch) in enumerate(zip(depths, heads, (4, 2, 1), strict=True)):
            x = walk.current(x, f"stages.{stage}.0", stride=2) if stage else x
            for number in range(depth):
                name = f"stages.{stage}.{(stage > 0) + 2 * number}"
                x = attention(walk, name, x, head_count, patch)
                name = f"stages.{stage}.{(stage > 0) + 2 * number + 1}"
                u = walk.current(x, f"{name}.0")
                u = u + walk.current(u, f"{name}.1.0", groups=u.shape[1] // group)
                x = x + walk.current(u, f"{name}.2")
        logits.append(x.mean((2, 3)) @ walk.weights["fc.weight"].T)
    return torch.stack(logits)


@pytest.mark.parametrize("stem", ["imagenet", "small"])
@torch.no_grad()
def test_equals_the_paper_step_by_step(walk, calibrate, stem):
    arguments = {"depths": (1, 2, 1), "group": 8, "num_classes": 5, "num_steps": 4, "stem": stem}
    model = zoo.create_model("spiking_resformer_tiny", dims=(8, 16, 24), num_heads=(1, 2, 3), **arguments)
    x = torch.randn(1, 2, 3, 48, 32, dtype=torch.float64)
    model = calibrate(model, x)
    logits = model.forward_sequence(x)
    frames = x.expand(4, *x.shape[1:])
    expected = simulate(walk(model), frames, stem, arguments["depths"], (1, 2, 3), arguments["group"])
    assert silent_layers(model, x) == [], "the test would see nothing"
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)


def test_rates_are_those_of_the_heads():
    """The first batch sets them, the second moves them by a thousandth, evaluation leaves them; a dead head stays 1."""
    scale, fan_in = RateScale(num_heads=3), 5
    shares = torch.tensor([0.5, 0.25, 0.0]).view(3, 1, 1)
    batches = [(torch.rand(4, 2, 3, 5, 100) < shares * (1 + index)).float() for index in range(2)]
    first, second = (batch.mean((0, 1, 3, 4)) for batch in batches)
    x = torch.ones(4, 2, 3, 1, 1)
    assert torch.equal(scale.eval()(x, batches[0], fan_in), x / torch.tensor(5.0).sqrt())
    assert not scale.rate.any()
    for batch, expected in zip(batches, (first, 0.999 * first + 0.001 * second), strict=True):
        scaled = scale.train()(x, batch, fan_in)
        torch.testing.assert_close(scale.rate.flatten(), expected)
        expected[2] = 1.0
        torch.testing.assert_close(scaled[0, 0].flatten(), (expected * fan_in).rsqrt())


@torch.no_grad()
def test_can_be_evaluated_before_it_is_trained():
    """The pitfall of the original: rates that start at 0 divide by zero."""
    model = zoo.create_model("spiking_resformer_cifar_tiny").eval()
    x = torch.randn(2, 3, 16, 16)
    assert model(x).isfinite().all()
    rates = {key: value for key, value in model.state_dict().items() if key.endswith(".rate")}
    assert {key.split(".")[-2] for key in rates} == {"scale1", "scale2"}
    assert len(rates) == 2 * 3
    assert not any(rate.any() for rate in rates.values())
    model.train()(x)
    assert all(rate.all() for rate in rates.values())


@torch.no_grad()
def test_products_have_the_variance_the_neurons_expect():
    model, seen = zoo.create_model("spiking_resformer_ti", num_classes=0, depths=(1, 1, 1)).train(), []
    for module in model.modules():
        if isinstance(module, RateScale):
            module.register_forward_hook(lambda _, __, out: seen.append(out.std().item()))
    model(torch.randn(2, 3, 64, 64))
    assert len(seen) == 6
    assert all(0.5 < std < 2 for std in seen)


def test_neurons_and_products_of_the_paper():
    model = zoo.create_model("spiking_resformer_tiny")
    neurons = {str(module) for module in model.modules() if isinstance(module, Neuron)}
    assert neurons == {"LIF(tau=2.0, decay_input=True, v_threshold=1.0, v_reset=0.0, detach_reset=True, " + ATAN}
    assert sum(isinstance(module, MatMul) for module in model.modules()) == 2 * 3
    gesture = zoo.create_model("spiking_resformer_dvsgesture")
    assert {type(module).__name__ for module in gesture.modules() if isinstance(module, Neuron)} == {"PLIF"}


ATAN = "surrogate=ATan(alpha=2.0))"


@torch.no_grad()
def test_products_are_accumulations(calibrate):
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    cost = measure(calibrate(zoo.create_model("spiking_resformer_tiny"), x), [x])
    products = [layer for layer in cost.layers if layer.kind == "MatMul"]
    assert len(products) == 2 * 3
    assert all(layer.acs > 0 and layer.macs == 0 and layer.input_density < 1 for layer in products)
    assert {layer.name for layer in cost.layers if layer.macs} == {"conv1", "fc"}


def test_a_new_classifier_has_no_bias_either():
    model = zoo.create_model("spiking_resformer_tiny")
    model.reset_classifier(7)
    assert model.fc.bias is None
    assert model.fc.weight.shape == (7, 48)
    model.reset_classifier(0)
    assert not list(model.fc.parameters())


@pytest.mark.parametrize(("name", "multiple"), [("spiking_resformer_tiny", 16), ("spiking_resformer_cifar_tiny", 4)])
def test_sides_that_patches_do_not_divide(name, multiple):
    model = zoo.create_model(name, num_steps=1)
    assert model(torch.randn(1, 3, 2 * multiple, 3 * multiple)).shape == (1, 10)
    with pytest.raises(ValueError, match=f"multiples of {multiple}, found {2 * multiple} x {2 * multiple + 2}"):
        model(torch.randn(1, 3, 2 * multiple, 2 * multiple + 2))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"stem": "smal"}, "Unknown stem of SpikingResformer 'smal'. Did you mean 'small'"),
        ({"depths": (1, 1)}, r"three stages each, found .*\(1, 1\)"),
        ({"num_heads": (1, 3, 3)}, "num_heads must divide dims"),
        ({"group": 48}, "group must divide 4 dims"),
        ({"neuron": "lfi"}, "Unknown neuron 'lfi'"),
        ({"in_chans": 0}, "in_chans and num_classes: expected"),
    ],
)
def test_bad_input(arguments, words):
    with pytest.raises(ValueError, match=words):
        zoo.create_model("spiking_resformer_tiny", **arguments)
