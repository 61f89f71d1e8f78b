import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from zoo.layers.stateless import SequenceDropout
from zoo.model import silent_layers


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("spiking_vgg11_large", 1000, 132_868_840),  # torchvision's VGG-11-BN
        ("spiking_vgg11_large", 10, 128_812_810),
        ("spiking_vgg16_large", 1000, 138_365_992),
        ("spiking_vgg16_large", 10, 134_309_962),
        ("spiking_vgg11", 10, 9_231_114),
        ("spiking_vgg11", 100, 9_277_284),
        ("spiking_vgg16", 10, 14_728_266),
        ("spiking_vgg16", 100, 14_774_436),
        ("spiking_vgg_tiny", 10, 30 * 32 + (9 * 32 + 3) * 64 + (9 * 64 + 3) * 128 + (9 * 128 + 3) * 128 + 1290),
        (
            "spiking_vgg_large_tiny",
            10,
            30 * 16 + (9 * 16 + 3) * 32 + (9 * 32 + 3) * 32 + (32 * 49 + 1) * 64 + 65 * 64 + 650,
        ),
    ],
)
def test_parameters(count, name, classes, expected):
    assert count(name, num_classes=classes) == expected


def test_layers_of_vgg11():
    """Simonyan and Zisserman's column A: channels in order, five pools."""
    model = timm.create_model("spiking_vgg11", num_steps=1)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [conv.out_channels for conv in convolutions] == [64, 128, 256, 256, 512, 512, 512, 512]
    assert all(conv.kernel_size == (3, 3) and conv.bias is not None for conv in convolutions)
    final, _ = model.forward_intermediates(torch.randn(1, 2, 3, 64, 64))
    assert final.shape == (1, 2, 512, 4, 4)  # 64 / 2^4; the fifth pool is the head's


def test_head_pools_the_last_map():
    model = timm.create_model("spiking_vgg_tiny").eval()
    x = (torch.rand(2, 3, 128, 4, 4) > 0.5).float()
    by_hand = x.unflatten(-1, (2, 2)).unflatten(-3, (2, 2)).amax((-1, -3)).mean((-2, -1))
    torch.testing.assert_close(model.forward_head(x, pre_logits=True), by_hand)
    torch.testing.assert_close(model.forward_head(x), by_hand @ model.fc.weight.T + model.fc.bias)


def test_equals_the_table_step_by_step():
    """Every layer at one step before any layer sees the next: LIF of tau 2, reset to 0, decayed input."""
    stages = ((6, 7), (8,), (9, 10))
    model = timm.create_model("spiking_vgg_tiny", stages=stages, num_classes=5, num_steps=5).double()
    image = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.bias.uniform_(0, 1)  # so that the narrow layers fire
        for _ in range(20):
            model.train()(image)  # the statistics become those of the spikes
        logits = model.eval().forward_sequence(image[None])
    assert silent_layers(model, image) == [], "the test would see nothing"

    weights, potentials, expected = model.state_dict(), {}, []
    names = [["encoder", "stages.0.0"], ["stages.1.0"], ["stages.2.0", "stages.2.1"]]
    for _ in range(5):
        x = image
        for stage in names:
            for name in stage:
                x = F.conv2d(x, weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"], padding=1)
                keys = ("running_mean", "running_var", "weight", "bias")
                x = F.batch_norm(x, *(weights[f"{name}.bn.{key}"] for key in keys))
                h = potentials.get(name, 0) / 2 + x / 2
                x, potentials[name] = (h >= 1).double(), torch.where(h >= 1, 0.0, h)
            x = F.max_pool2d(x, 2)
        expected.append(F.linear(x.mean((2, 3)), weights["fc.weight"], weights["fc.bias"]))
    torch.testing.assert_close(logits, torch.stack(expected), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("pool", "seen"), [("max", {0.0, 1.0}), ("avg", {0.0, 0.25, 0.5, 0.75, 1.0})])
def test_what_a_convolution_reads_behind_a_pool(pool, seen):
    """Spikes behind a maximum, quarters behind an average."""
    model, inputs = timm.create_model("spiking_vgg_tiny", pool=pool).train(), []
    for stage in (1, 2):
        model.stages[stage][0].conv.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    model(F.interpolate(torch.randn(8, 3, 4, 4), (16, 16), mode="bicubic"))
    assert len(inputs) == 2
    assert set(torch.cat([x.flatten() for x in inputs]).unique().tolist()) == seen


def test_features_of_another_depth():
    maps = timm.create_model("spiking_vgg_tiny", stages=((4,), (8,)), features_only=True)(torch.randn(2, 3, 8, 8))
    assert [feature.shape[1:] for feature in maps] == [(4, 8, 8), (8, 4, 4)]


@pytest.mark.parametrize("side", [8, 42, 64])
def test_the_large_head_by_hand(walk, calibrate, side):
    """Three stages leave 1 pixel, which the 7x7 pool repeats, or 5, or 8, which it averages."""
    model = timm.create_model("spiking_vgg_large_tiny", stages=((6,), (7,), (8,)), hidden=20, num_classes=5)
    image = torch.randn(3, 3, side, side, dtype=torch.float64)
    reference, expected = walk(calibrate(model, image)), []
    with torch.no_grad():
        logits = model.forward_sequence(image[None])
        for _ in range(4):
            x = image
            for name in ("encoder", "stages.1.0", "stages.2.0"):
                x = reference.fire(reference.norm(reference.conv(x, f"{name}.conv"), f"{name}.bn"), f"{name}.act")
                x = F.max_pool2d(x, 2)
            x = F.adaptive_avg_pool2d(x, 7).flatten(1)
            for name in ("hidden.0", "hidden.2"):
                x = reference.fire(reference.linear(x, f"{name}.linear"), f"{name}.act")
            expected.append(reference.linear(x, "fc"))
    torch.testing.assert_close(logits, torch.stack(expected), atol=1e-9, rtol=1e-9)


def test_dropout_of_the_large_head():
    with torch.device("meta"):
        model = timm.create_model("spiking_vgg16_large")
    assert [module.p for module in model.modules() if isinstance(module, SequenceDropout)] == [0.5, 0.5]


def test_bad_input():
    with pytest.raises(ValueError, match="Unknown pool of SpikingVGG 'mean'.*Accepted: avg, max"):
        timm.create_model("spiking_vgg_tiny", pool="mean")
    with pytest.raises(ValueError, match="Unknown head of SpikingVGG 'larg'. Did you mean 'large'"):
        timm.create_model("spiking_vgg_tiny", head="larg")
    with pytest.raises(ValueError, match="halved 3 times: sides must be of 8 pixels or more, found 7x9"):
        timm.create_model("spiking_vgg_tiny")(torch.zeros(1, 3, 7, 9))
