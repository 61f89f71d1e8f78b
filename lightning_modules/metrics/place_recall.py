"""Recall@N: the score of a place recogniser."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class PlaceRecall(Metric):
    """Recall@N: the share of queries for which one of the N best places is right.

    A place is right within a distance of that of the query: R@N = mean_i [min_{p in top N} |r_p - r_{y_i}| <= tol].

    Args:
        top: N.
        positions: Of every place, r [K, D].
        tolerance: In the unit of the positions; 0 for the place itself.

    Example:
        >>> logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 0.0, 1.0]])
        >>> for top, tolerance in ((1, 0.0), (2, 0.0), (1, 1.0)):
        ...     metric = PlaceRecall(top, [[0.0], [1.0], [2.0]], tolerance)
        ...     metric.update(logits, torch.tensor([2, 2]))
        ...     print(metric.compute().item())
        0.0
        1.0
        0.5
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    positions: Tensor
    right: Tensor
    count: Tensor

    def __init__(self, top: int, positions: Sequence[Sequence[float]], tolerance: float) -> None:
        super().__init__()
        self.top, self.tolerance = top, tolerance
        self.register_buffer("positions", torch.tensor(positions, dtype=torch.float64), persistent=False)
        self.add_state("right", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count the queries of places [N], of which logits [N, K] were given."""
        best = logits.topk(self.top).indices  # [N, top]
        distance = (self.positions[best] - self.positions[target][:, None]).norm(dim=-1)
        self.right += (distance <= self.tolerance).any(1).sum()
        self.count += len(target)

    def compute(self) -> Tensor:
        """The share."""
        return self.right / self.count
