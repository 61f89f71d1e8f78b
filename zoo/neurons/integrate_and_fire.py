"""The integrate-and-fire neuron."""

from .base import Dynamics, LeakyNeuron


class IF(LeakyNeuron):
    r"""Integrate and fire: H_t = V_{t-1} + X_t. Firing, reset and arguments: `LeakyNeuron`.

    The neuron of SEW-ResNet on ImageNet (Fang et al. 2021, arXiv:2102.04159).

    Example:
        >>> import torch
        >>> IF()(torch.tensor([[0.5], [0.5], [0.5]])).flatten().tolist()
        [0.0, 1.0, 0.0]
    """

    def dynamics(self) -> Dynamics:
        """See the class."""
        return Dynamics(1.0, 1.0, 0.0, self.v_threshold)
