import pytest
import timm
import torch
import torch.nn.functional as F

import zoo
from zoo.model import read
from zoo.teacher import StillModel


@pytest.mark.parametrize(("name", "count"), [("cifar_resnet20", 269_722), ("cifar_resnet56", 853_018)])
def test_parameters(name, count):
    """He et al. 2016, table 6: 0.27 M and 0.85 M."""
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in timm.create_model(name).parameters()) == count


def test_shortcut_of_option_a():
    """A block whose branch gives nothing shows its shortcut: every second pixel, new channels zero on both sides."""
    model = timm.create_model("cifar_resnet20").eval()
    block = model.layer2[0]
    torch.nn.init.zeros_(block.bn2.weight)
    x = torch.rand(2, 16, 8, 8)
    expected = torch.zeros(2, 32, 4, 4)
    expected[:, 8:24] = x[:, :, ::2, ::2]
    torch.testing.assert_close(block(x), expected)


def test_block_by_functions():
    block = timm.create_model("cifar_resnet20").eval().layer1[0]
    x = torch.rand(2, 16, 8, 8)
    scale = (1 + block.bn1.eps) ** -0.5  # untrained norms: mean 0, variance 1
    y = F.conv2d(F.relu(F.conv2d(x, block.conv1.weight, padding=1) * scale), block.conv2.weight, padding=1) * scale
    torch.testing.assert_close(block(x), F.relu(y + x), atol=1e-5, rtol=1e-5)


def test_is_read_as_a_teacher():
    model = zoo.create_model("cifar_resnet20", in_chans=1)
    model.pretrained_cfg.update(input_size=(1, 28, 28), mean=(0.5,), std=(0.5,))
    still = StillModel(model, {"input_size": (1, 28, 28), "mean": (0.5,), "std": (0.5,)}).eval()
    x = torch.randn(1, 2, 1, 28, 28)
    outputs = read(still, x)
    assert [feature.shape[2:] for feature in outputs.features] == [(16, 28, 28), (16, 28, 28), (32, 14, 14), (64, 7, 7)]
    torch.testing.assert_close(outputs.logits[0], still(x))


def test_features_only():
    maps = timm.create_model("cifar_resnet20", features_only=True, out_indices=(1, 3))(torch.randn(1, 3, 32, 32))
    assert [feature.shape[1:] for feature in maps] == [(16, 32, 32), (64, 8, 8)]
