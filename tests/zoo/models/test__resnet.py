import pytest
import torch
from torch import nn

import zoo
from zoo.models._resnet import ResNet

ARCHITECTURES = ("sew_resnet_tiny", "ms_resnet_tiny", "max_resnet_tiny", "spiking_resnet_tiny")


class Halve(nn.Module):
    """Every second pixel."""

    def forward(self, x):
        return x[..., ::2, ::2]


class Toy(ResNet):
    """Blocks that only record what they are made with; every stage but the first halves the sides."""

    def __init__(self, layers, widths, **stages):
        super().__init__(num_classes=3, in_chans=2, num_steps=4)
        self.made = []
        self.feature_info = [{"num_chs": 2, "reduction": 1, "module": "stem"}]
        self.chans = self.add_stages(layers, widths, self.make_block, 2, **stages)

    def make_block(self, chans, width, stride):
        self.made.append((chans, width, stride))
        return Halve() if stride == 2 else nn.Identity()

    def stem(self, x):
        return self.repeat_still(x)


def test_blocks_of_every_stage():
    model = Toy((2, 1, 3), (5, 6, 7), reduction=4, first_stride=2, expansion=10)
    expected = [(2, 5, 2), (50, 5, 1), (50, 6, 2), (60, 7, 2), (70, 7, 1), (70, 7, 1)]
    assert model.made == expected
    assert model.chans == 70
    assert [(info["num_chs"], info["reduction"], info["module"]) for info in model.feature_info[1:]] == [
        (50, 8, "layer1"),
        (60, 16, "layer2"),
        (70, 32, "layer3"),
    ]


def test_stages_run_one_after_another():
    model, x = Toy((1, 2), (2, 2)), torch.rand(1, 3, 2, 8, 8)
    stem, first, second = model.forward_stages(x)
    assert torch.equal(stem, x.expand(4, 3, 2, 8, 8))
    assert torch.equal(first, stem)
    assert torch.equal(second, stem[..., ::2, ::2])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_as_many_widths_as_stages(name):
    assert isinstance(zoo.create_model(name), ResNet)
    with pytest.raises(ValueError, match="layers and widths must name as many stages each, found"):
        zoo.create_model(name, layers=(1, 1), widths=(8, 8, 8))
