"""Any term, at every step."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.model import Outputs

from .base import Objective, at_step, has_answer


class PerStep(Objective):
    r"""The mean over steps of a term that sees one step at a time.

        L = 1/T sum_t l(z_t, F_t; teacher, y)

    Where every step has a class of its own, y [T, N], a step is compared with its own class and with the same step of a
    teacher that has several; a step without a class (-100 for all samples) is left out.

    An objective that is convex in the mean over time is never above this (Jensen). With `CrossEntropy` it is `TET`.

    Args:
        objective: The term; its own weight is not used.
        weight: Factor in the total loss, >= 0.

    Example:
        >>> import torch
        >>> from lightning_modules.objectives import CrossEntropy
        >>> wavering = Outputs(torch.tensor([[[2.0, 0.0]], [[-2.0, 0.0]]]))  # T = 2, N = 1, K = 2; undecided on average
        >>> round(PerStep(CrossEntropy())(wavering, None, torch.tensor([0])).item(), 4)
        1.1269
    """

    per_step = True

    def __init__(self, objective: Objective, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.objective = objective
        self.needs_teacher = objective.needs_teacher  # type: ignore[misc]
        self.uses_features = objective.uses_features

    @property
    def name(self) -> str:
        """PerStep and the name of the term."""
        return f"PerStep{self.objective.name}" if hasattr(self, "objective") else type(self).__name__

    def build(self, student: Sequence[dict[str, Any]], teacher: Sequence[dict[str, Any]]) -> None:
        """See `Objective`."""
        self.objective.build(student, teacher)

    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> Tensor:
        """See `Objective`."""
        steps = []
        for t in range(len(student.logits)):
            if has_answer(target, t):
                step = Outputs(student.logits[t : t + 1], [feature[t : t + 1] for feature in student.features])
                steps.append(self.objective.loss(step, *at_step(t, teacher, target)))
        return torch.stack(steps).mean()
