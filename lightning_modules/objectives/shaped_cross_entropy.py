"""Cross-entropy of a weighted time mean: loss shaping."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.errors import unknown
from zoo.model import Outputs

from .base import Objective

SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "none": torch.ones_like,
    "exp": lambda share: torch.exp(-share),
    "linear": lambda share: 1 - share,
    "sigmoid": lambda share: torch.sigmoid((0.5 - share) / 0.2),
}
"""The weight of step n, from the share n / T of the trial that has passed."""


class ShapedCrossEntropy(Objective):
    r"""Cross-entropy of logits that count for less the later they come.

        L = mean_n CE(z, y),    z = 1/T sum_n w(n / T) z_n

    with w(s) = 1 ("none": `CrossEntropy`, L_sum of the paper), exp(-s) ("exp": L_sum_exp), 1 - s ("linear") or
    1 / (1 + exp((s - 0.5) / 0.2)) ("sigmoid"). With "none" the error that reaches a hidden spike is largest late in
    the trial, so only late spikes learn; a falling weight lets early ones learn, too. The paper's weight by input
    activity needs the input, which an objective does not see.

    Args:
        weight: Factor in the total loss, >= 0.
        shape: Name of w.

    Raises:
        ValueError: If shape is unknown.

    Source:
        Nowotny, Turner and Knight 2025 ("Loss shaping enhances exact gradient learning with EventProp in spiking
        neural networks").

    Example:
        >>> import torch
        >>> from zoo.model import Outputs
        >>> late = Outputs(torch.tensor([[[0.0, 0.0]], [[4.0, 0.0]]]))  # T = 2: the answer comes in the second step
        >>> [round(ShapedCrossEntropy(shape=shape)(late, None, torch.tensor([0])).item(), 4) for shape in SHAPES]
        [0.1269, 0.2603, 0.3133, 0.3133]
    """

    def __init__(self, weight: float = 1.0, shape: str = "exp") -> None:
        super().__init__(weight)
        if shape not in SHAPES:
            raise ValueError(unknown(f"shape of {self.name}", shape, SHAPES))
        self.shape = shape

    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> Tensor:
        """See `Objective`."""
        logits = student.logits
        share = torch.arange(len(logits), dtype=logits.dtype, device=logits.device) / len(logits)
        return F.cross_entropy(torch.tensordot(SHAPES[self.shape](share), logits, 1) / len(logits), target)
