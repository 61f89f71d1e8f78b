"""Cross-entropy of the highest logits in time."""

import torch.nn.functional as F
from torch import Tensor

from zoo.model import Outputs

from .base import Objective


class MaxCrossEntropy(Objective):
    r"""Cross-entropy of every class's highest logit: L_max of the paper.

        L = mean_n CE(z, y),    z_k = max_n z_n,k

    Metrics average logits over time; a student trained by this answers by its maximum, and the two may differ.

    Args:
        weight: Factor in the total loss, >= 0.

    Source:
        Wunderlich and Pehle 2021, Scientific Reports 11:12829 (MNIST). The GeNN code of Nowotny et al. divides the
        gradient by T, which is not in the formula; this follows the formula.

    Example:
        >>> import torch
        >>> from zoo.model import Outputs
        >>> peaks = Outputs(torch.tensor([[[2.0, 0.0]], [[0.0, 2.0]]]))  # T = 2: each class once
        >>> round(MaxCrossEntropy()(peaks, None, torch.tensor([0])).item(), 4)  # ln 2
        0.6931
    """

    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> Tensor:
        """See `Objective`."""
        return F.cross_entropy(student.logits.amax(0), target)
