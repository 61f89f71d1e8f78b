"""Bits per token, or per byte: the score of a language model."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric


class Bits(Metric):
    r"""Mean of -log2 p(token that came): bits per token, or per byte of what the tokens stand for.

        bits = sum_i -log2 p(y_i) / sum_i b(y_i),    b = 1 per token

    A longer token is harder to foretell, so that only bits per byte compare models of different tokenisers.

    Args:
        token_bytes: Bytes b of every token [V]; None counts tokens.

    Example:
        >>> metric = Bits()
        >>> metric.update(torch.zeros(3, 256), torch.tensor([7, 0, 255]))
        >>> metric.compute().item()
        8.0
        >>> metric = Bits(token_bytes=[1, 3])
        >>> metric.update(torch.zeros(2, 2), torch.tensor([0, 1]))  # two bits for four bytes
        >>> metric.compute().item()
        0.5
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    sizes: Tensor | None
    total: Tensor
    count: Tensor

    def __init__(self, token_bytes: Sequence[int] | None = None) -> None:
        super().__init__()
        self.register_buffer("sizes", None if token_bytes is None else torch.tensor(token_bytes), persistent=False)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count the tokens [M] that came where the logits were [M, K]."""
        self.total += F.cross_entropy(logits, target, reduction="sum").double() / math.log(2)
        self.count += target.numel() if self.sizes is None else self.sizes[target].sum()

    def compute(self) -> Tensor:
        """The mean."""
        return (self.total / self.count).float()
