import timm
import torch
from torch import nn


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
