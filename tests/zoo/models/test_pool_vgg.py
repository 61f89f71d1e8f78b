import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.model import silent_layers, spiking_neurons
from zoo.models.pool_vgg import PoolConvNeuron


def parameters(widths, stem, classes=10):
    """In closed form: the stem, two convolutions and norms a group, the classifier."""
    chans, total = stem, 3 * 4 * stem + stem
    for width in widths:
        total += 9 * chans * width + 9 * width * width + 4 * width
        chans = width
    return total + (chans + 1) * classes


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("tiny", parameters((16, 32), 24)),
        ("xs", parameters((32, 64, 128), 24)),
        ("s", parameters((48, 96, 128), 24)),
        ("m", parameters((64, 192, 192), 24)),
        ("l", parameters((64, 256, 256), 24)),
        ("chip", parameters((16, 32, 64), 16) + (27 - 13) * 16 + 2 * 16),  # a 3x3 stem with a norm, without a bias
    ],
)
def test_parameters(count, size, expected):
    assert count(f"spiking_pool_vgg_{size}") == count(f"pool_vgg_{size}") == expected


COUNTED = (  # by name, for the contract test that looks for them
    *("spiking_pool_vgg_tiny", "spiking_pool_vgg_xs", "spiking_pool_vgg_s"),
    *("spiking_pool_vgg_m", "spiking_pool_vgg_l", "spiking_pool_vgg_chip"),
)


def test_parameters_as_the_issue_states_them(count):
    assert [round(count(name) / 1e6, 2) for name in COUNTED[1:5]] == [0.30, 0.42, 1.16, 1.97]


@pytest.mark.parametrize("name", ["spiking_pool_vgg_tiny", "spiking_pool_vgg_chip"])
def test_by_hand(walk, calibrate, name):
    """Every layer at one step before any layer sees the next."""
    model = zoo.create_model(name, num_classes=5, neuron="lif")
    image = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    reference, expected = walk(calibrate(model, image)), []
    pool, whiten = (F.avg_pool2d, False) if name.endswith("chip") else (F.max_pool2d, True)
    with torch.no_grad():
        logits = model.forward_sequence(image[None])
        assert silent_layers(model, image) == [], "the test would see nothing"
        for _ in range(4):
            if whiten:
                weights = model.state_dict()
                x = F.gelu(F.conv2d(image, weights["stem.conv.weight"], weights["stem.conv.bias"]))
            else:
                x = reference.fire(reference.norm(reference.conv(image, "stem.conv"), "stem.bn"), "stem.act")
            for index in range(len(model.stages)):
                for unit in (f"stages.{index}.0", f"stages.{index}.1"):
                    x = reference.conv(x, f"{unit}.conv")
                    x = pool(x, 2) if unit.endswith(".0") else x
                    x = reference.fire(reference.norm(x, f"{unit}.bn"), f"{unit}.act")
            expected.append(reference.linear(x.mean((2, 3)), "fc"))
    torch.testing.assert_close(logits, torch.stack(expected), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("size", ["tiny", "chip"])
def test_a_twin_has_the_weights_of_its_student(size):
    student, twin = zoo.create_model(f"spiking_pool_vgg_{size}"), zoo.create_model(f"pool_vgg_{size}")
    assert student.state_dict().keys() == twin.state_dict().keys()
    assert twin.num_steps == 1
    assert not spiking_neurons(twin)
    assert spiking_neurons(student)


def test_a_twin_is_a_plain_network():
    """ReLU in the place of every neuron, in torch's own words."""
    twin = zoo.create_model("pool_vgg_tiny").eval()
    x = torch.randn(2, 3, 32, 32)
    plain = nn.Sequential(copy.deepcopy(twin.stem.conv), nn.GELU())
    for group in twin.stages:
        for unit in group:
            plain.extend(copy.deepcopy([unit.conv, unit.pool, unit.bn]))
            plain.append(nn.ReLU())
    plain.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), copy.deepcopy(twin.fc)])
    torch.testing.assert_close(twin(x), plain.eval()(x))


def test_the_stem_sees_a_still_image_once():
    """And so does the first convolution."""
    model, seen = zoo.create_model("spiking_pool_vgg_tiny", num_steps=5), []
    for layer in (model.stem.conv, model.stages[0][0].conv, model.stages[0][1].conv):
        layer.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    model(torch.randn(2, 3, 16, 16))
    assert seen == [2, 2, 10]


# Whitening -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chans", [1, 3])
def test_whitening(chans):
    """On the data that it was made from, the first half of the filters gives uncorrelated outputs of variance 1."""
    torch.manual_seed(0)
    mixing = torch.randn(chans, chans, dtype=torch.float64) + 2 * torch.eye(chans, dtype=torch.float64)
    smooth = F.interpolate(torch.randn(1000, chans, 6, 6, dtype=torch.float64), (12, 12), mode="bilinear")
    images = torch.einsum("cd,ndhw->nchw", mixing, smooth)
    stem = zoo.create_model("spiking_pool_vgg_tiny", in_chans=chans, stem_width=8 * chans).double().stem
    stem.whiten(images.split(300), eps=0.0)
    out = stem.conv(images).transpose(0, 1).flatten(1)
    half = 4 * chans
    torch.testing.assert_close(out[:half] @ out[:half].T / out.shape[1], torch.eye(half, dtype=torch.float64))
    torch.testing.assert_close(out[half:], -out[:half])
    assert not stem.conv.weight.requires_grad
    assert stem.conv.bias.requires_grad


def test_noise_is_not_blown_up():
    """Grey images in three channels have no variance in eight of twelve directions."""
    stem = zoo.create_model("spiking_pool_vgg_tiny").stem
    stem.whiten([torch.randn(100, 1, 8, 8).expand(-1, 3, -1, -1)])
    assert stem.conv.weight.abs().max() <= 5e-4**-0.5


def test_a_stem_of_the_wrong_width():
    model = zoo.create_model("spiking_pool_vgg_tiny", in_chans=1)
    with pytest.raises(ValueError, match=r"1 channels: expected stem_width 8 .* found 24. Set model_args"):
        model.stem.whiten([torch.randn(2, 1, 8, 8)])


# For chips -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [16, 17])
@pytest.mark.parametrize("pool", [nn.AvgPool2d(2), None])
def test_a_unit_folds_into_one_convolution(pool, side):
    """Convolution, average pool and norm are one convolution, of stride 2 behind a pool; also at the border."""
    torch.manual_seed(0)
    unit = PoolConvNeuron(3, 5, "relu", pool).double()
    for _ in range(5):
        unit(torch.randn(1, 8, 3, side, side, dtype=torch.float64))
    nn.init.normal_(unit.bn.weight)
    nn.init.normal_(unit.bn.bias)
    x = torch.randn(2, 4, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        expected, folded = unit.eval().current(x), copy.deepcopy(unit).fold()
        torch.testing.assert_close(folded.current(x), expected, atol=1e-12, rtol=1e-12)
    layers = [module for module in folded.modules() if not list(module.children())]
    assert [type(layer).__name__ for layer in layers] == ["Conv2d", "Identity", "Identity", "ReLU"]
    assert folded.conv.stride == ((2, 2) if pool else (1, 1))


def test_a_max_pool_is_left_alone():
    unit = PoolConvNeuron(3, 5, "lif", nn.MaxPool2d(2)).eval()
    assert isinstance(unit.fold().bn, nn.BatchNorm2d)


def test_the_chip_variant_folds_into_eight_layers():
    torch.manual_seed(0)
    model, x = zoo.create_model("spiking_pool_vgg_chip"), torch.randn(4, 3, 32, 32)
    for _ in range(3):
        model(x)
    folded = zoo.fold(model.eval())
    kinds = {type(module) for module in folded.modules() if not list(module.children())}
    assert not kinds & {nn.BatchNorm2d, nn.AvgPool2d, nn.MaxPool2d}
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in folded.modules()) == 8  # Speck has 9 cores
    assert {neuron.v_reset for neuron in spiking_neurons(model).values()} == {None}
    with torch.no_grad():
        torch.testing.assert_close(folded.double()(x.double()), model.double()(x.double()), atol=1e-6, rtol=1e-6)


def test_bad_input():
    for options, words in (
        ({"stem": "white"}, "Unknown stem of PoolVGG 'white'. Did you mean 'whiten'"),
        ({"pool": "mean"}, "Unknown pool of PoolVGG 'mean'"),
    ):
        with pytest.raises(ValueError, match=words):
            zoo.create_model("spiking_pool_vgg_tiny", **options)
    with pytest.raises(ValueError, match="halved 3 times: expected 9 pixels or more, found 8x9"):
        zoo.create_model("spiking_pool_vgg_s")(torch.zeros(1, 3, 8, 9))
