"""Cross-entropy with the labels, on the answer of the whole sequence."""

import torch.nn.functional as F
from torch import Tensor

from zoo.model import Outputs

from .base import Objective, time_mean


class CrossEntropy(Objective):
    r"""Cross-entropy of the time-mean logits.

        L = mean_n CE(zbar_n, y_n),    zbar = 1/T sum_t z_t

    The usual loss of directly trained spiking networks: the logits are averaged over time first; `TET` takes the loss
    at every step instead.

    Args:
        weight: Factor in the total loss, >= 0.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1).

    Raises:
        ValueError: If label_smoothing lies outside [0, 1).

    Example:
        >>> import torch
        >>> from zoo.model import Outputs
        >>> undecided = Outputs(torch.zeros(4, 2, 10))  # T = 4, N = 2, K = 10
        >>> round(CrossEntropy()(undecided, None, torch.tensor([3, 7])).item(), 4)  # ln 10
        2.3026
    """

    def __init__(self, weight: float = 1.0, label_smoothing: float = 0.0) -> None:
        super().__init__(weight)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing of {self.name} must lie in [0, 1), found {label_smoothing}.")
        self.label_smoothing = label_smoothing

    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> Tensor:
        """See `Objective`."""
        return F.cross_entropy(time_mean(student.logits), target, label_smoothing=self.label_smoothing)
