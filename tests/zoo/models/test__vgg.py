import pytest
import torch
from torch import nn

import zoo
from zoo.models._vgg import VGG


class Toy(VGG):
    """Two stages; the first has one layer, the encoder."""

    def __init__(self, pool):
        super().__init__(num_classes=3, in_chans=2, num_steps=4)
        self.add_stages(((4,), (6, 8)), 2, {"name": "if", "v_threshold": 0.1}, pool, bias=False)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AvgPool2d(2)])
def test_features_are_the_stages_before_their_pools(pool):
    model, x = Toy(pool).eval(), torch.rand(1, 3, 2, 8, 8)
    with torch.no_grad():
        first, second = model.forward_stages(x)
        spikes = model.encoder(x.expand(4, 3, 2, 8, 8))
        expected = model.stages[1](pool(spikes.flatten(0, 1)).unflatten(0, (4, 3)))
    assert spikes.any()
    assert torch.equal(first, spikes)
    assert torch.equal(second, expected)
    assert [(info["num_chs"], info["reduction"]) for info in model.feature_info] == [(4, 1), (8, 2)]
    assert len(model.stages[0]) == 0
    assert not [name for name, _ in model.named_parameters() if name.endswith("conv.bias")]


def test_images_that_cannot_be_halved():
    with pytest.raises(ValueError, match="halved"):
        list(Toy(nn.MaxPool2d(2)).forward_stages(torch.zeros(1, 1, 2, 1, 8)))


@pytest.mark.parametrize("name", ["spiking_vgg_tiny", "plif_dvs_tiny", "vggsnn_tiny"])
def test_architectures(name):
    model = zoo.create_model(name)
    assert isinstance(model, VGG)
    assert [info["module"] for info in model.feature_info] == [f"stages.{i}" for i in range(len(model.stages))]
