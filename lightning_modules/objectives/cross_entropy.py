"""Cross-entropy with the labels, on the answer of the whole sequence, or of every step that has a label."""

import torch.nn.functional as F
from torch import Tensor

from zoo.model import Outputs

from .base import Objective, has_steps, time_mean


class CrossEntropy(Objective):
    r"""Cross-entropy of the time-mean logits.

        L = mean_n CE(zbar_n, y_n),    zbar = 1/T sum_t z_t

    The usual loss of directly trained spiking networks: the logits are averaged over time first; `TET` takes the loss
    at every step instead. Where every step has a class of its own, y [T, N], it is the mean over the steps that have
    one (y is not -100),

        L = mean_{t,n} CE(z_{t,n}, y_{t,n})

    Args:
        weight: Factor in the total loss, >= 0.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1).

    Raises:
        ValueError: If label_smoothing lies outside [0, 1), or classes of steps are not as many as the steps.

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
        if not has_steps(target):
            return F.cross_entropy(time_mean(student.logits), target, label_smoothing=self.label_smoothing)
        if target.shape != student.logits.shape[:2]:
            found = f"logits {list(student.logits.shape)} and targets {list(target.shape)}"
            raise ValueError(f"{self.name} needs a class for every step, [T, N], found {found}.")
        return F.cross_entropy(student.logits.flatten(0, 1), target.flatten(), label_smoothing=self.label_smoothing)
