"""The curve of accuracy over mean steps of a student that stops early, gathered over a test."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.early_exit import SCORES, THRESHOLDS, exit_counts


class ExitCurve(Metric):
    """Accuracy and mean steps for every score and threshold of `zoo.early_exit`, from one pass over the data.

    It holds sums only, so its size does not depend on the data, and processes add theirs up.

    Args:
        thresholds: In [0, 1].
    """

    counts: Tensor
    total: Tensor

    def __init__(self, thresholds: Sequence[float] = THRESHOLDS) -> None:
        super().__init__()
        self.thresholds = tuple(thresholds)
        shape = (len(SCORES), len(self.thresholds), 2)  # right answers, steps
        self.add_state("counts", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add a batch: logits z [T, N, K], classes [N]."""
        self.counts += torch.stack([exit_counts(logits, target, score, self.thresholds) for score in SCORES])
        self.total += len(target)

    def compute(self) -> dict[str, list[dict[str, float]]]:
        """By score, one {"threshold", "acc", "mean_steps"} for every threshold, as JSON values."""
        shares = (self.counts / self.total.clamp_min(1)).tolist()
        return {
            score: [
                {"threshold": threshold, "acc": round(right, 6), "mean_steps": round(steps, 6)}
                for threshold, (right, steps) in zip(self.thresholds, rows, strict=True)
            ]
            for score, rows in zip(SCORES, shares, strict=True)
        }
