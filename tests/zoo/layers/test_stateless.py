import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo.layers.stateless import (
    ConvNeuron,
    ConvNorm,
    NeuronConv,
    Residual,
    SequenceDropout,
    check_halvings,
    check_image_size,
    init_convolutions,
    init_for_spikes,
    make_classifier,
    over_time,
)
from zoo.neurons import LIF, carry_state


def test_over_time_is_the_layer_on_every_frame():
    conv, x = nn.Conv2d(2, 3, 3), torch.randn(4, 5, 2, 8, 8)
    torch.testing.assert_close(over_time(x, conv, nn.ReLU()), torch.stack([conv(frame).relu() for frame in x]))


def test_norms_see_time_and_batch_together():
    x = torch.randn(4, 5, 2, 3, 3) * torch.arange(1, 5).view(4, 1, 1, 1, 1)
    y = over_time(x, nn.BatchNorm2d(2))
    torch.testing.assert_close(y.mean((0, 1, 3, 4)), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(y.var((0, 1, 3, 4), correction=0), torch.ones(2), atol=1e-4, rtol=0)
    assert y[3].var() > 2 * y[0].var()  # frames keep their differences


@torch.no_grad()
def test_units_by_hand():
    """Convolution, norm, pool; behind a neuron; beside a shortcut; sides are halved rounding up."""
    unit = NeuronConv(4, 6, "lif", 3, stride=2, groups=2, bias=True, pool=True).eval()
    x = torch.randn(3, 2, 4, 9, 6) * 3
    nn.init.normal_(unit.bn.running_mean)
    nn.init.normal_(unit.conv.bias)
    spikes = LIF()(x)
    assert 0.05 < spikes.mean() < 0.95
    expected = []
    for frame in spikes:
        y = F.conv2d(frame, unit.conv.weight, unit.conv.bias, stride=2, padding=1, groups=2)
        expected.append(F.max_pool2d((y - unit.bn.running_mean.view(-1, 1, 1)) / (1 + 1e-5) ** 0.5, 3, 2, 1))
    assert unit(x).shape == (3, 2, 6, 3, 2)
    torch.testing.assert_close(unit(x), torch.stack(expected))
    torch.testing.assert_close(ConvNorm.forward(unit, spikes), torch.stack(expected))
    same = NeuronConv(4, 4, "lif").eval()
    torch.testing.assert_close(Residual(same, nn.ReLU())(x), x + same(x).relu())


@pytest.mark.parametrize(("bias", "count"), [(False, 9 * 2 * 4 + 8), (True, 9 * 2 * 4 + 4 + 8)])
@torch.no_grad()
def test_a_neuron_behind_a_convolution_fires_before_the_pool(bias, count):
    unit = ConvNeuron(2, 4, "lif", 3, bias=bias, pool=True).eval()
    assert sum(parameter.numel() for parameter in unit.parameters()) == count
    nn.init.normal_(unit.bn.running_mean)
    x = 3 * torch.randn(3, 2, 2, 7, 6)
    frames = [F.conv2d(frame, unit.conv.weight, unit.conv.bias, padding=1) for frame in x]
    current = (torch.stack(frames) - unit.bn.running_mean.view(-1, 1, 1)) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(unit.current(x), current)
    spikes = LIF()(current)
    assert 0.05 < spikes.mean() < 0.95
    assert torch.equal(unit(x), torch.stack([F.max_pool2d(frame, 3, 2, 1) for frame in spikes]))
    assert unit(x).shape == (3, 2, 4, 4, 3)


@torch.no_grad()
def test_shortcuts_add_spikes_or_currents():
    x, branch = 3 * torch.randn(4, 2, 8, 3, 3), ConvNorm(8, 8, 3).eval()
    current = F.conv2d(x.flatten(0, 1), branch.conv.weight, padding=1).unflatten(0, (4, 2)) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(Residual(branch, LIF())(x), x + LIF()(current))
    torch.testing.assert_close(Residual(LIF(), branch)(x), x + branch(LIF()(x)))


def test_dropout_keeps_its_mask_over_time():
    dropout, x = SequenceDropout(0.25), torch.rand(5, 40, 50) + 1
    y = dropout(x)
    kept = y != 0
    assert torch.equal(kept, kept[:1].expand_as(kept))
    assert 0.7 < kept.float().mean() < 0.8
    torch.testing.assert_close(y[kept], x[kept] / 0.75)
    assert not torch.equal(kept, dropout(x) != 0), "every call has a mask of its own"
    with carry_state(dropout):  # SLTT: one call a step
        steps = torch.cat([dropout(step[None]) for step in x])
    torch.testing.assert_close(steps, x * (steps[0] / x[0]))
    assert dropout.eval()(x) is x
    with pytest.raises(ValueError, match=r"\[0, 1\), found 1"):
        SequenceDropout(1.0)


def test_no_classes_no_classifier():
    x = torch.randn(2, 6)
    assert torch.equal(make_classifier(6, 0)(x), x)
    assert make_classifier(6, 4)(x).shape == (2, 4)


def test_initial_scale():
    """Kaiming, fan out: variance 2 / (9 * 64)."""
    conv = nn.Conv2d(32, 64, 3)
    init_convolutions(nn.Sequential(conv))
    assert abs(conv.weight.var().item() * 9 * 64 / 2 - 1) < 0.05
    assert not conv.bias.any()


def test_spikes_drive_a_linear_layer_to_the_threshold():
    layer = nn.Linear(1000, 400)
    init_for_spikes(nn.Sequential(layer))
    with torch.no_grad():
        current = layer((torch.rand(200, 1000) < 0.1).float())
    assert abs(current.std().item() - 1) < 0.05
    assert not layer.bias.any()


def test_images_of_another_size():
    check_halvings((8, 9), 3)
    with pytest.raises(ValueError, match="halved 3 times: sides must be of 8 pixels or more, found 8x7"):
        check_halvings((8, 7), 3)
    check_image_size(torch.zeros(1, 1, 3, 8, 9), (8, 9))
    with pytest.raises(ValueError, match=r"images of 9x8 pixels, found 8x9. .* img_size=\(8, 9\)"):
        check_image_size(torch.zeros(1, 1, 3, 8, 9), (9, 8))
