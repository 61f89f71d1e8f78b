"""Accuracy of a student that is stopped after any of its steps."""

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.early_exit import mean_so_far


class AnytimeAccuracy(Metric):
    """Fraction of right answers after t steps, for every t: acc_t = mean_n [argmax_k 1/t sum_{s<=t} z_{s,n,k} = y_n].

    Args:
        num_steps: Steps T of the longest sequence.

    Example:
        >>> metric = AnytimeAccuracy(num_steps=2)
        >>> metric.update(torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]]]), torch.tensor([1]))  # T = 2, N = 1, K = 2
        >>> metric.compute().tolist()
        [0.0, 1.0]
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    right: Tensor
    count: Tensor

    def __init__(self, num_steps: int) -> None:
        super().__init__()
        self.add_state("right", torch.zeros(num_steps, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(num_steps, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add a batch: logits z [t, N, K], t <= T, and classes y [N]."""
        for t, answers in zip(range(len(self.right)), mean_so_far(logits), strict=False):
            self.right[t] += (answers.argmax(-1) == target).sum()
            self.count[t] += len(target)

    def compute(self) -> Tensor:
        """The fractions [t], up to the longest sequence that was added."""
        reached = self.count > 0
        return self.right[reached] / self.count[reached]
