"""What the terms that compare features share: which stages they read, and how two maps are made comparable."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.model import Outputs

from .base import Objective, time_mean


class FeatureObjective(Objective):
    """A term between one feature of the student and one of the teacher, both averaged over time.

    If their channels differ, a 1x1 convolution brings the student's to the teacher's (made in `build`). The vectors
    [N, F] of students of spike trains are maps [N, F, 1, 1], of one position, on which a convolution is a linear map.

    Args:
        weight: Factor in the total loss, >= 0.
        student_stage: Which entry of the student's `feature_info`; negative counts from the end.
        teacher_stage: Which entry of the teacher's.
    """

    needs_teacher: ClassVar[bool] = True
    uses_features = True

    def __init__(self, weight: float = 1.0, student_stage: int = -1, teacher_stage: int = -1) -> None:
        super().__init__(weight)
        self.student_stage = student_stage
        self.teacher_stage = teacher_stage
        self.align: nn.Module | None = None

    def build(self, student: Sequence[dict[str, Any]], teacher: Sequence[dict[str, Any]]) -> None:
        """Make the 1x1 convolution, if the channels differ.

        Raises:
            ValueError: If a stage does not exist.
        """
        found = pick_stage(student, self.student_stage, "student")["num_chs"]
        wanted = pick_stage(teacher, self.teacher_stage, "teacher")["num_chs"]
        self.align = nn.Identity() if found == wanted else nn.Conv2d(found, wanted, kernel_size=1)

    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> Tensor:
        """See `Objective`.

        Raises:
            RuntimeError: If `build` was not called.
        """
        assert teacher is not None
        if self.align is None:
            raise RuntimeError(f"{self.name} has layers sized by both models: call build(student, teacher) first.")
        ours = self.align(as_map(time_mean(student.features[self.student_stage])))
        return self.compare(ours, as_map(time_mean(teacher.features[self.teacher_stage])))

    @abstractmethod
    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The term, from time-mean features [N, C, h, w] and [N, C, H, W], C the teacher's channels."""


def pick_stage(feature_info: Sequence[dict[str, Any]], stage: int, whose: str) -> dict[str, Any]:
    """The entry of `feature_info` at `stage`; negative counts from the end.

    Raises:
        ValueError: If there is no such stage; the message lists the stages.
    """
    if not -len(feature_info) <= stage < len(feature_info):
        stages = ", ".join(
            f"{index}: {info['module']} ({info['num_chs']} channels, 1/{info['reduction']} of the input size)"
            for index, info in enumerate(feature_info)
        )
        raise ValueError(
            f"The {whose} has no stage {stage}. Its stages are {stages or 'none'}; negative ones count from the end."
        )
    return dict(feature_info[stage])


def as_map(x: Tensor) -> Tensor:
    """A time-mean feature as a map [N, C, H, W]; a vector [N, F] is one of F channels at one position."""
    return x[..., None, None] if x.ndim == 2 else x


def same_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps [N, C, H, W] at the smaller of their sizes: the larger one is averaged down."""
    height, width = min(a.shape[-2], b.shape[-2]), min(a.shape[-1], b.shape[-1])
    return shrink(a, height, width), shrink(b, height, width)


def shrink(x: Tensor, height: int, width: int) -> Tensor:
    """A map [N, C, H, W] averaged down to [N, C, height, width]."""
    # left alone at equal sizes: on CUDA the backward of this pooling has no deterministic kernel
    return x if x.shape[-2:] == (height, width) else F.adaptive_avg_pool2d(x, (height, width))
