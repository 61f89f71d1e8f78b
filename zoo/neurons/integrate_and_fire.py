"""The integrate-and-fire neuron."""

from torch import Tensor

from .base import Neuron


class IF(Neuron):
    r"""Integrate and fire: H_t = V_{t-1} + X_t. Firing, reset and arguments: `Neuron`.

    The neuron of SEW-ResNet on ImageNet (Fang et al. 2021, arXiv:2102.04159).

    Example:
        >>> import torch
        >>> IF()(torch.tensor([[0.5], [0.5], [0.5]])).flatten().tolist()
        [0.0, 1.0, 0.0]
    """

    def charge(self, v: Tensor, x: Tensor) -> Tensor:
        """See the class."""
        return v + x
