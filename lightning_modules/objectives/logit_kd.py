"""Distillation of the teacher's softened answer."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from zoo.model import Outputs

from .base import Objective, has_steps, time_mean


class LogitKD(Objective):
    r"""Kullback-Leibler divergence of the student's answer from the teacher's, at a temperature tau.

        L = tau^2 mean_n KL( softmax(zbarA / tau) || softmax(zbar / tau) )                   per_step=False
        L = tau^2 mean_n 1/T sum_t KL( softmax(zbarA / tau) || softmax(z_t / tau) )          per_step=True

    with zbar and zbarA the time-mean logits of student and teacher; tau^2 keeps the size of the gradient when tau
    changes. Where every step has a class of its own, y [T, N], step t is compared with the teacher's step t:

        L = tau^2 1/T sum_t mean_n KL( softmax(zA_t / tau) || softmax(z_t / tau) )

    By Jensen's inequality the second loss is never below the first; it costs no more and teaches the student to
    answer early.

    Args:
        weight: Factor in the total loss, >= 0.
        temperature: tau, > 0. Above 1 it shows more of the teacher's ranking of the wrong classes.
        per_step: Whether every step is compared with the teacher, or only their mean.

    Raises:
        ValueError: If temperature <= 0; if every step has a class, and the teacher has another number of steps.

    Source:
        Hinton et al., Distilling the Knowledge in a Neural Network, 2015, arXiv:1503.02531, section 2. Per step: L_TWKL
        of TWKD (Yu et al., ICML 2025, arXiv:2501.15925), whose code uses tau = 3 on CIFAR and 1 on ImageNet.

    Example:
        >>> import torch
        >>> from zoo.model import Outputs
        >>> teacher = Outputs(torch.tensor([[[2.0, 0.0]]]))  # T = 1, N = 1, K = 2
        >>> student = Outputs(torch.tensor([[[3.0, 0.0]], [[1.0, 0.0]]]))  # T = 2; the teacher's answer on average
        >>> target = torch.tensor([0])
        >>> [round(LogitKD(per_step=flag)(student, teacher, target).item(), 4) for flag in (False, True)]
        [0.0, 0.1173]
    """

    needs_teacher: ClassVar[bool] = True

    def __init__(self, weight: float = 1.0, temperature: float = 4.0, per_step: bool = False) -> None:
        super().__init__(weight)
        if not temperature > 0:
            raise ValueError(f"temperature of {self.name} must be > 0, found {temperature}.")
        self.temperature = temperature
        self.per_step = per_step

    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> Tensor:
        """See `Objective`."""
        assert teacher is not None
        if has_steps(target):
            ours, theirs = student.logits, teacher.logits  # [T, N, K]
            if len(theirs) not in (1, len(ours)):
                raise ValueError(
                    f"{self.name}: expected a teacher with {len(ours)} steps, because every step has a class, found "
                    f"{len(theirs)}. Choose a teacher that reads the same sequence."
                )
        else:
            ours = student.logits if self.per_step else time_mean(student.logits).unsqueeze(0)  # [T or 1, N, K]
            theirs = time_mean(teacher.logits)
        log_q = (ours / self.temperature).log_softmax(-1)
        log_p = (theirs / self.temperature).log_softmax(-1).expand_as(log_q)
        divergence = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)  # [T, N] or [1, N]
        return self.temperature**2 * divergence.mean()
