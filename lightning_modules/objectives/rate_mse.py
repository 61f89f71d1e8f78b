"""Squared error of firing rates."""

import torch.nn.functional as F
from torch import Tensor

from zoo.model import Outputs

from .base import Objective, time_mean


class RateMSE(Objective):
    r"""Mean squared error between the rates of the voting neurons and the labels.

        L = mean_{n,k} ( zbar_nk - y_nk )^2,    zbar = 1/T sum_t z_t

    with the label one-hot, or soft. It is for students whose logits are rates in [0, 1], by the votes of several
    neurons for every class (`spikepoint_*`, the PLIF networks).

    Args:
        weight: Factor in the total loss, >= 0.

    Source:
        Fang et al. 2021, arXiv:2007.05785; SpikePoint, Ren et al. 2024, arXiv:2310.07189.

    Example:
        >>> import torch
        >>> from zoo.model import Outputs
        >>> votes = Outputs(torch.tensor([[[1.0, 0.5]], [[0.0, 0.5]]]))  # T = 2, N = 1, K = 2: rates of a half
        >>> RateMSE()(votes, None, torch.tensor([0])).item()
        0.25
    """

    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> Tensor:
        """See `Objective`."""
        rates = time_mean(student.logits)
        labels = F.one_hot(target, rates.shape[1]) if target.ndim == 1 else target
        return F.mse_loss(rates, labels.to(rates.dtype))
