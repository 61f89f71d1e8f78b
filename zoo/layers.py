"""Stateless layers over sequences: time is folded into the batch, so that only neurons see it."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def over_time(x: Tensor, *layers: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply stateless layers to every frame: [T, N, ...] -> [T, N, ...].

    A norm among them takes its statistics over T and N together.
    """
    y = x.flatten(0, 1)  # [T*N, ...]
    for layer in layers:
        y = layer(y)
    return y.unflatten(0, x.shape[:2])


class SequenceDropout(nn.Dropout):
    """Dropout of a sequence [T, N, ...] by one mask, the same at every step.

    A mask of its own at every step would be averaged away by the mean over time, and a neuron would be both there and
    not there in one answer. Source: Rathi and Roy, DIET-SNN, arXiv:2008.03658.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The sequence without the dropped values; the others are divided by the share that stays."""
        return x * F.dropout(torch.ones_like(x[:1]), self.p) if self.training and self.p else x


def make_classifier(num_features: int, num_classes: int) -> nn.Module:
    """The linear classifier; no layer for num_classes = 0, as timm's `create_model(..., num_classes=0)` expects."""
    return nn.Linear(num_features, num_classes) if num_classes else nn.Identity()


def init_convolutions(model: nn.Module) -> None:
    """Kaiming-normal (fan out) weights and zero biases for every convolution, as in He et al. 2015."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
