"""Cross-entropy with the labels, at every step."""

import torch.nn.functional as F
from torch import Tensor

from zoo.model import Outputs

from .base import Objective


class TET(Objective):
    r"""Temporal efficient training: every step has to answer, not only their mean.

        L = (1 - lam) 1/T sum_t CE(z_t, y) + lam MSE(z, phi)

    with the mean squared error over all T, N and K. By Jensen's inequality the mean over steps is never below
    `CrossEntropy`; a network trained so can be stopped after any step. The second part keeps all logits near phi.

    Args:
        weight: Factor in the total loss, >= 0.
        lam: Share of the second part, in [0, 1].
        phi: Where the second part pulls every logit.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1).

    Raises:
        ValueError: If lam or label_smoothing is out of range.

    Source:
        Deng et al., Temporal Efficient Training of Spiking Neural Network via Gradient Re-weighting, ICLR 2022,
        arXiv:2202.11946. The released scripts use phi = 1 with lam = 0 (CIFAR) and lam = 0.001 (CIFAR10-DVS). With
        lam = 0 this is the step-wise cross-entropy of TWKD (arXiv:2501.15925). The paper has no label smoothing.

    Example:
        >>> import torch
        >>> from zoo.model import Outputs
        >>> wavering = Outputs(torch.tensor([[[2.0, 0.0]], [[-2.0, 0.0]]]))  # T = 2, N = 1, K = 2; undecided on average
        >>> round(TET()(wavering, None, torch.tensor([0])).item(), 4)  # ln 2 = 0.6931 for CrossEntropy
        1.1269
    """

    per_step = True

    def __init__(self, weight: float = 1.0, lam: float = 0.0, phi: float = 1.0, label_smoothing: float = 0.0) -> None:
        super().__init__(weight)
        if not 0 <= lam <= 1:
            raise ValueError(f"lam of {self.name} must lie in [0, 1], found {lam}.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing of {self.name} must lie in [0, 1), found {label_smoothing}.")
        self.lam = lam
        self.phi = phi
        self.label_smoothing = label_smoothing

    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> Tensor:
        """See `Objective`."""
        logits = student.logits
        targets = target.expand(len(logits), *target.shape)  # [T, N] or [T, N, K]
        steps = F.cross_entropy(logits.flatten(0, 1), targets.flatten(0, 1), label_smoothing=self.label_smoothing)
        return (1 - self.lam) * steps + self.lam * (logits - self.phi).square().mean()
