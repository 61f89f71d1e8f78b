import pytest
import torch
from torch import nn

import zoo
from zoo.models._stage_transformer import StageTransformer


class Toy(StageTransformer):
    """Three stages, each a ReLU, behind an encoder of one convolution and norm."""

    def __init__(self):
        super().__init__(num_classes=3, in_chans=2, num_steps=4)
        self.conv1, self.bn1 = nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5)
        self.stages = nn.ModuleList(nn.ReLU() for _ in range(3))
        self.feature_info = [{"num_chs": 5, "reduction": 1, "module": f"stages.{index}"} for index in range(3)]


def test_an_image_is_encoded_once_and_runs_through_every_stage():
    model, x = Toy().eval(), torch.randn(1, 3, 2, 8, 8)
    encoded = []
    model.conv1.register_forward_pre_hook(lambda _, args: encoded.append(len(args[0])))
    with torch.no_grad():
        features = list(model.forward_stages(x))
        expected = model.bn1(model.conv1(x[0])).relu().expand(4, 3, 5, 6, 6)
    assert encoded[0] == 3
    assert len(features) == 3
    assert all(torch.equal(feature, expected) for feature in features)


@pytest.mark.parametrize("name", ["maxformer", "meta_spikeformer", "e_spikeformer", "spiking_resformer"])
def test_architectures(name):
    model = zoo.create_model(f"{name}_tiny")
    assert isinstance(model, StageTransformer)
    assert len(model.stages) == len(model.feature_info)
