"""Distillation of the teacher's softened answer, with a weight for every sample."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.model import Outputs

from .base import Objective, has_steps, time_mean


class WSLD(Objective):
    r"""Weighted soft labels: the teacher counts most where the student does worse than the teacher.

        c_n = -sum_k softmax(zbarA_n / tau)_k log softmax(zbar_n / tau)_k
        w_n = 1 - exp( -CE(zbar_n, y_n) / (CE(zbarA_n, y_n) + 1e-7) )    in [0, 1), without gradient
        L   = tau^2 mean_n w_n c_n

    with zbar and zbarA the time-mean logits of student and teacher. c is a cross-entropy, not a divergence: at equality
    the term is not zero, its gradient is. Where every step has a class of its own, y [T, N], a sample is a step.

    Args:
        weight: Factor in the total loss, >= 0.
        temperature: tau, > 0.

    Raises:
        ValueError: If temperature <= 0.

    Source:
        Zhou et al., Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff Perspective, ICLR 2021,
        arXiv:2102.00650; their code gives it the weight 2.5. It is the logits term of BKDSNN (arXiv:2407.09083), whose
        code uses tau = 2 and the weight 1, and takes y from mixup as it is, as here.

    Example:
        >>> import torch
        >>> from zoo.model import Outputs
        >>> teacher = Outputs(torch.tensor([[[8.0, 0.0], [8.0, 0.0]]]))  # T = 1, N = 2, K = 2
        >>> student = Outputs(torch.tensor([[[9.0, 0.0], [0.0, 9.0]]]))
        >>> weights = WSLD().sample_weights(student.logits[0], teacher.logits[0], torch.tensor([0, 0]))
        >>> [round(weight, 4) for weight in weights.tolist()]  # better than the teacher; wrong
        [0.3077, 1.0]
    """

    needs_teacher: ClassVar[bool] = True

    def __init__(self, weight: float = 1.0, temperature: float = 2.0) -> None:
        super().__init__(weight)
        if not temperature > 0:
            raise ValueError(f"temperature of {self.name} must be > 0, found {temperature}.")
        self.temperature = temperature

    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> Tensor:
        """See `Objective`."""
        assert teacher is not None
        if has_steps(target):  # every step that has a class is a sample
            known = target >= 0
            ours, theirs = (outputs.logits.expand_as(student.logits)[known] for outputs in (student, teacher))
            target = target[known]
        else:
            ours, theirs = time_mean(student.logits), time_mean(teacher.logits)  # [N, K]
        softened = (theirs / self.temperature).softmax(-1)
        terms = F.cross_entropy(ours / self.temperature, softened, reduction="none")  # [N]
        return self.temperature**2 * (self.sample_weights(ours, theirs, target) * terms).mean()

    @torch.no_grad()
    def sample_weights(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        """The weights w [N] of logits [N, K]."""
        ours, theirs = (F.cross_entropy(logits, target, reduction="none") for logits in (student, teacher))
        ratio = (ours / (theirs + 1e-7)).clamp(min=0)  # a teacher that is certain and right has CE = 0
        return -torch.expm1(-ratio)
