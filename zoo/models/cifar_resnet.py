"""ResNets for small images: non-spiking teachers with the map sizes of the small SEW-ResNets.

Source: He et al. 2016, arXiv:1512.03385, section 4.2 (6n + 2 layers, widths 16, 32, 64, parameter-free "option A"
shortcuts). timm's ResNets shrink an image 32 times; a 32-pixel image would leave no map to distil from.
"""

from typing import Any

import torch.nn.functional as F
from timm.models import register_model
from timm.models._features import feature_take_indices  # timm gives it no public name
from torch import Tensor, nn

from ..layers.stateless import init_convolutions, make_classifier
from ._builder import Origin, create, images, make_default_cfgs

__all__ = ["CifarResNet"]


class Block(nn.Module):
    """Two 3x3 convolutions and the option-A shortcut: every second pixel, new channels zero."""

    def __init__(self, in_chans: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.new_chans = stride, width - in_chans

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H / stride, W / stride]."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        before = self.new_chans // 2
        shortcut = F.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_chans - before))
        return F.relu(y + shortcut)


class CifarResNet(nn.Module):
    """A ResNet of 6n + 2 layers for images of 16 to 64 pixels, with timm's model surface.

    Args:
        depth: Blocks per stage, n.
        num_classes: Classes K; 0 for no classifier.
        in_chans: Input channels C.
        drop_rate: Dropout before the classifier.
    """

    def __init__(self, depth: int, num_classes: int = 10, in_chans: int = 3, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.num_classes, self.in_chans, self.drop_rate = num_classes, in_chans, drop_rate
        self.conv1 = nn.Conv2d(in_chans, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act1 = nn.ReLU()
        self.feature_info: list[dict[str, Any]] = [{"num_chs": 16, "reduction": 1, "module": "act1"}]
        chans = 16
        for stage, width in enumerate((16, 32, 64)):
            blocks = []
            for number in range(depth):
                blocks.append(Block(chans, width, 2 if stage and number == 0 else 1))
                chans = width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            self.feature_info.append({"num_chs": width, "reduction": 2**stage, "module": f"layer{stage + 1}"})
        self.num_features = self.head_hidden_size = chans
        self.head_drop = nn.Dropout(drop_rate)
        self.fc = make_classifier(chans, num_classes)
        init_convolutions(self)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """As timm's method of this name: the last feature and the chosen ones, [N, C, H, W] each."""
        take, last = feature_take_indices(len(self.feature_info), indices)
        features = []
        for index, info in enumerate(self.feature_info):
            x = self.act1(self.bn1(self.conv1(x))) if index == 0 else self.get_submodule(info["module"])(x)
            if index in take:
                features.append(x)
            if stop_early and index == last:
                break
        return features if intermediates_only else (x, features)

    def prune_intermediate_layers(
        self, indices: int | list[int] | None = None, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages after the last chosen feature, and the head (timm's name, for `features_only`)."""
        take, last = feature_take_indices(len(self.feature_info), indices)
        for info in self.feature_info[last + 1 :]:
            self.set_submodule(info["module"], nn.Identity())
        if prune_head:
            self.reset_classifier(0)
        return take

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature [N, 64, H / 4, W / 4] of images [N, C, H, W]."""
        return self.forward_intermediates(x, indices=[len(self.feature_info) - 1])[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Global average pool, dropout, classifier: [N, 64, H, W] -> [N, K]."""
        x = self.head_drop(x.mean((-2, -1)))
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, K] of images [N, C, H, W]."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The linear classifier."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new, untrained classifier."""
        self.num_classes = num_classes
        self.fc = make_classifier(self.num_features, num_classes).to(self.conv1.weight)  # its device and dtype


default_cfgs = make_default_cfgs(
    Origin("arXiv:1512.03385"),
    {name: images(32, 10, interpolation="bilinear", crop_pct=1.0) for name in ("cifar_resnet20", "cifar_resnet56")},
    first_conv="conv1",
)


@register_model
def cifar_resnet20(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-20 for small images: 269,722 parameters for 10 classes."""
    return create(CifarResNet, "cifar_resnet20", pretrained, kwargs, depth=3)


@register_model
def cifar_resnet56(pretrained: bool = False, **kwargs: Any) -> CifarResNet:
    """ResNet-56 for small images: 853,018 parameters for 10 classes."""
    return create(CifarResNet, "cifar_resnet56", pretrained, kwargs, depth=9)
