import pytest
import torch
from torch import nn

import zoo
from zoo.layers.attention import Block
from zoo.layers.stateless import ConvNeuron
from zoo.models._token_transformer import TokenTransformer

ARCHITECTURES = ("spikformer", "spikingformer", "spike_driven")


class Toy(TokenTransformer):
    """Every block multiplies by three; the stem does nothing but the encoder's convolution."""

    @staticmethod
    def make_stem(in_chans, dim, pools, neuron):
        return ConvNeuron(in_chans, dim, neuron, 3), nn.Sequential()

    @staticmethod
    def make_block(dim, hidden, neuron, attention):
        return Block(attention(dim=dim, neuron=neuron), Times(hidden // dim))


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def make_toy(**arguments):
    return Toy(
        lambda dim, neuron: nn.Identity(), **{"dim": 8, "depth": 3, "mlp_ratio": 3, "num_classes": 4, **arguments}
    )


def test_the_features_are_the_tokens_of_the_stem_and_of_every_block():
    model = make_toy(neuron={"name": "if", "v_threshold": 0.1}).eval()
    x = torch.rand(2, 1, 3, 6, 6)
    with torch.no_grad():
        final, features = model.forward_intermediates(x)
        tokens = model.encoder(x)
        logits = model.forward_sequence(x)
    assert tokens.any()
    assert len(features) == len(model.feature_info) == 4
    for index, feature in enumerate(features):
        assert torch.equal(feature, 3**index * tokens)
    assert torch.equal(final, features[-1])
    torch.testing.assert_close(logits, 27 * tokens.mean((3, 4)) @ model.fc.weight.T + model.fc.bias)


def test_a_block_without_a_stem_or_a_block_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        TokenTransformer(nn.Identity)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_three_architectures_have_one_layout(name):
    model = zoo.create_model(f"{name}_tiny")
    assert isinstance(model, TokenTransformer)
    assert [info["module"] for info in model.feature_info] == ["stem", "blocks.0", "blocks.1"]
    with pytest.raises(ValueError, match="depth is the number of blocks"):
        zoo.create_model(f"{name}_tiny", depth=0)
    with pytest.raises(ValueError, match="does not take these arguments: .*'headz'"):
        zoo.create_model(f"{name}_tiny", headz=2)
