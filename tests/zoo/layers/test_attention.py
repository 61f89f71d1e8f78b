import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo.layers.attention import (
    SpikeAttention,
    SpikingSelfAttention,
    attention_neuron,
    init_transformer,
    membrane_mlp,
)
from zoo.layers.stateless import ConvNeuron, MatMul
from zoo.neurons import NEURONS


def random_spikes(*shape, rate=0.4):
    return (torch.rand(*shape, dtype=torch.float64) < rate).double()


def lif(current, threshold=1.0):
    """LIF of tau 2 with a hard reset to 0, step by step."""
    v, spikes = torch.zeros_like(current[0]), []
    for x in current:
        h = v / 2 + x / 2
        spikes.append((h >= threshold).double())
        v = torch.where(h >= threshold, 0.0, h)
    return torch.stack(spikes)


def attend(q, k, v, heads, scale):
    """Scale q (k^T v) by its definition: one token and one channel at a time."""
    out = torch.zeros_like(v)
    chans, height, width = v.shape[2:]
    pixels = [(row, column) for row in range(height) for column in range(width)]
    d = chans // heads
    for head in range(heads):
        channels = slice(head * d, (head + 1) * d)
        for row, column in pixels:
            for other in pixels:
                similarity = (q[:, :, channels, row, column] * k[:, :, channels, *other]).sum(-1, keepdim=True)
                out[:, :, channels, row, column] += scale * similarity * v[:, :, channels, *other]
    return out


@pytest.mark.parametrize(
    ("height", "width", "scale"), [(2, 1, 1.0), (3, 4, 0.3)], ids=["fewer tokens than channels", "more"]
)
def test_attention_by_its_definition(height, width, scale):
    attention = SpikeAttention(dim=12, heads=3, scale=scale, neuron="lif")
    q, k, v = (random_spikes(4, 2, 12, height, width) for _ in range(3))
    expected = lif(attend(q, k, v, heads=3, scale=scale), threshold=0.5)
    assert 0.05 < expected.mean() < 0.95
    assert torch.equal(attention(q, k, v), expected)


@pytest.mark.parametrize(("tokens", "shape"), [(9, (4, 4)), (2, (2, 2))])
def test_attention_takes_the_cheaper_order(tokens, shape):
    """The first product is k^T v [d, d] for more tokens than channels of a head, q k^T [n, n] for fewer."""
    attention, seen = SpikeAttention(dim=8, heads=2, scale=1.0, neuron="lif"), []
    attention.inner.register_forward_hook(lambda _, args, out: seen.append(tuple(out.shape[-2:])))
    attention(*random_spikes(3, 2, 1, 8, tokens, 1).float())
    assert seen == [shape]


def test_values_may_be_wider_than_queries():
    attention = SpikeAttention(dim=16, heads=2, scale=0.3, neuron="lif")
    q, k, v = random_spikes(2, 1, 8, 3, 3), random_spikes(2, 1, 8, 3, 3), random_spikes(2, 1, 16, 3, 3)
    halves = [
        SpikeAttention(8, 2, 0.3, "lif")(q, k, v.unflatten(2, (2, 2, 4))[:, :, :, part].flatten(2, 3))
        for part in (0, 1)
    ]
    expected = torch.stack([half.unflatten(2, (2, 4)) for half in halves], 3).flatten(2, 4)
    assert torch.equal(attention(q, k, v), expected)


def test_products_are_seen_by_the_energy_counter():
    assert sum(isinstance(module, MatMul) for module in SpikeAttention(8, 2, 1.0, "lif").modules()) == 2


@pytest.mark.parametrize("heads", [0, 3])
def test_heads_must_divide_the_channels(heads):
    with pytest.raises(ValueError, match=f"heads must divide the 8 channels of the attention, found {heads}"):
        SpikeAttention(8, heads, 1.0, "lif")


def unit(x, module, threshold=1.0):
    """A `ConvNeuron` or `ConvNorm` in evaluation mode, by hand."""
    bn = module.bn
    x = F.conv2d(x.flatten(0, 1), module.conv.weight, module.conv.bias, padding=module.conv.padding)
    x = F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias).unflatten(0, (4, -1))
    return lif(x, threshold) if isinstance(module, ConvNeuron) else x


def lively(module):
    """In float64 and evaluation mode, with norms that let the neurons fire."""
    for norm in (part for part in module.modules() if isinstance(part, nn.BatchNorm2d)):
        nn.init.uniform_(norm.bias, 0, 1.5)
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
    return module.double().eval()


@torch.no_grad()
def test_branches_by_hand():
    x = random_spikes(4, 2, 8, 3, 3)
    attention = lively(SpikingSelfAttention(8, heads=2, scale=0.25, neuron="lif", qkv_bias=True))
    q, k, v = (unit(x, getattr(attention, name)) for name in "qkv")
    spikes = lif(attend(q, k, v, 2, 0.25), 0.5)
    assert 0.02 < spikes.mean() < 0.98
    torch.testing.assert_close(attention(x), unit(spikes, attention.proj))
    mlp, membrane = lively(membrane_mlp(8, 32, "lif")), 3 * torch.randn_like(x)
    expected = membrane + unit(lif(unit(lif(membrane), mlp[0])), mlp[1])
    torch.testing.assert_close(mlp(membrane), expected)


@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_may_stand_behind_a_product(name):
    neuron = attention_neuron(name, 4)
    assert type(neuron) is NEURONS[name]
    assert torch.as_tensor(neuron.v_threshold).item() == 0.5


def test_the_given_neuron_keeps_its_other_numbers():
    neuron = attention_neuron({"name": "lif", "tau": 3.0, "v_threshold": 2.0}, 4)
    assert (neuron.tau, neuron.v_threshold) == (3.0, 0.5)


def test_initial_weights():
    model = nn.ModuleDict({"token": nn.Conv2d(64, 64, 1), "fc": nn.Linear(64, 64), "conv": nn.Conv2d(64, 64, 3)})
    init_transformer(model)
    for name, std in (("token", 0.02), ("fc", 0.02), ("conv", (2 / (9 * 64)) ** 0.5)):
        assert model[name].weight.std().item() == pytest.approx(std, rel=0.05)
        assert not model[name].bias.any()
