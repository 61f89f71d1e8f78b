"""Distillation of a feature by plain squared error."""

import torch.nn.functional as F
from torch import Tensor

from .feature import FeatureObjective, same_size


class FeatureMSE(FeatureObjective):
    r"""Mean squared error between time-mean features.

        L = mean_{n,c,h,w} ( A(1/T sum_t F_t) - FA )^2

    A is the identity, or a trained 1x1 convolution if the channels differ. If the sizes differ, the larger map is
    averaged down to the smaller. Vectors [T, N, F] are maps of one position.

    Args:
        weight: Factor in the total loss, >= 0.
        student_stage: Which entry of the student's `feature_info`; negative counts from the end.
        teacher_stage: Which entry of the teacher's.

    Raises:
        ValueError: In `build`, if a stage does not exist.

    Source:
        The feature loss of KDSNN (Xu et al., CVPR 2023, arXiv:2304.05627) for one stage; list the term once per stage.
        Its re-implementation in the code of BKDSNN sums the squares and divides by N; the mean makes the weight
        independent of the resolution.

    Example:
        >>> import torch
        >>> from zoo.model import Outputs
        >>> info = [{"num_chs": 3, "reduction": 8, "module": "layer4"}]
        >>> term = FeatureMSE()
        >>> term.build(info, info)
        >>> student = Outputs(torch.zeros(2, 1, 10), [torch.ones(2, 1, 3, 4, 4)])  # T = 2
        >>> teacher = Outputs(torch.zeros(1, 1, 10), [torch.full((1, 1, 3, 2, 2), 3.0)])
        >>> term(student, teacher, torch.tensor([0])).item()
        4.0
    """

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See `FeatureObjective`."""
        return F.mse_loss(*same_size(student, teacher))
