"""The contract of a training objective."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo.model import Outputs


class Objective(nn.Module, ABC):
    """One term of the training loss: a scalar of what the student and the teacher gave for a batch.

    A term takes tensors and its own numbers, nothing else; it implements `loss`, and `build` if it has layers. It is
    logged raw as `train/<name>`, and enters the total multiplied by `weight`.

    Args:
        weight: Factor in the total loss, >= 0.

    Raises:
        ValueError: If weight < 0.
    """

    needs_teacher: ClassVar[bool] = False
    per_step: bool = False
    """Whether the term is a mean over steps that each stand alone; else it is defined on the mean over time."""
    uses_features: bool = False
    """Whether the term reads the student's features, and so needs gradients with respect to the values of spikes."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if not weight >= 0:  # `not >=` also refuses nan
            raise ValueError(f"weight of {self.name} must be >= 0, found {weight}.")
        self.weight = weight

    @property
    def name(self) -> str:
        """The class name: `train/<name>` in the logs."""
        return type(self).__name__

    def build(self, student: Sequence[dict[str, Any]], teacher: Sequence[dict[str, Any]]) -> None:
        """Make the layers that depend on both models, once, before training; most terms have none.

        They are trained with the student and never published.

        Args:
            student: The student's `feature_info`.
            teacher: The teacher's `feature_info`; empty without a teacher.
        """

    def forward(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> Tensor:
        """The raw (unweighted) term, a float32 scalar, also under autocast; no gradient reaches the teacher.

        Args:
            student: Logits [T, N, K] and features [T, N, C, H, W], or [T, N, F] of spike trains.
            teacher: The same of the teacher, whose T may differ (1 for a still model); None without a teacher.
            target: Classes [N] (int64), or soft targets [N, K] (float, from mixup). Terms that say so also take classes
                of every step, [T, N] (int64).

        Raises:
            ValueError: If the term needs a teacher and there is none.
        """
        if self.needs_teacher and teacher is None:
            raise ValueError(f"{self.name} learns from a teacher, and there is none; give one or drop the term.")
        student = Outputs(in_float32(student.logits), student.features)
        if teacher is not None:
            teacher = Outputs(in_float32(teacher.logits).detach(), [feature.detach() for feature in teacher.features])
        with torch.autocast(student.logits.device.type, enabled=False):
            return self.loss(student, teacher, target)

    @abstractmethod
    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> Tensor:
        """The term itself; arguments as in `forward`, which every caller uses.

        Autocast is off, the logits are float32 and the teacher is detached. The features keep their dtype, because a
        float32 copy of all of them for every term would be the largest tensor of the step: read them by `time_mean`.
        The teacher is not None if `needs_teacher`.
        """


def has_steps(target: Tensor) -> bool:
    """Whether a target has a class for every step, [T, N] (soft targets [N, K] are no integers)."""
    return target.ndim == 2 and not target.is_floating_point()


def has_answer(target: Tensor, t: int) -> bool:
    """Whether a sample of the batch has a target at step t: always, unless every step has its own (-100: none)."""
    return not has_steps(target) or bool((target[t] >= 0).any())


def at_step(t: int, teacher: Outputs | None, target: Tensor) -> tuple[Outputs | None, Tensor]:
    """The teacher and the target of step t: all of both, unless every step has a target of its own."""
    if not has_steps(target):
        return teacher, target
    if teacher is not None and len(teacher.logits) > 1:
        teacher = Outputs(teacher.logits[t : t + 1], [feature[t : t + 1] for feature in teacher.features])
    return teacher, target[t : t + 1]


def time_mean(sequence: Tensor) -> Tensor:
    """Mean over time in float32: [T, ...] -> [...]."""
    return sequence.mean(0, dtype=torch.promote_types(sequence.dtype, torch.float32))


def in_float32(x: Tensor) -> Tensor:
    """In float32, or in float64 if it is: a run in double precision stays in double precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
