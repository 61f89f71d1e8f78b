"""Blurred knowledge distillation."""

from collections.abc import Sequence
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import unknown

from .feature import FeatureObjective, pick_stage, same_size


class BKD(FeatureObjective):
    r"""Restore the teacher's feature from a blurred feature of the student.

        S  = A(1/T sum_t F_t)                                  [N, C, H, W]
        S' = M * S,    M_nc = 0 with probability blur, else 1  [N, C, 1, 1]
        R  = conv3x3(ReLU(conv3x3(S')))                        with bias, without norm
        L  = mean (R - FA)^2                                   reduce="map"
        L  = mean (mean_hw R - mean_hw FA)^2                   reduce="pool"

    A is the identity, or a 1x1 convolution if the channels differ. The mask drops whole channels, anew for every sample
    and step and without rescaling, and only in training mode, so that a validation loss is deterministic. The three
    convolutions are trained with the student and never published; at C channels the two of R have 18 C^2 + 2 C numbers.

    On the vectors of students of spike trains, [N, F, 1, 1], it drops whole neurons, and of every 3x3 kernel only the
    centre acts: R is a perceptron with F hidden units, as in the released code on pooled features.

    Args:
        weight: Factor in the total loss, >= 0.
        student_stage: Which entry of the student's `feature_info`; the default is the feature before the last layer.
        teacher_stage: Which entry of the teacher's.
        blur: Probability that a channel is dropped, in [0, 1) (lambda in the paper).
        reduce: "map" compares maps (convolutional students; if the sizes differ the larger is averaged down to the
            smaller first), "pool" compares spatial means (transformers).
        alpha_sum: If given, the loss as published, alpha_sum / N * (sum of squares), in place of the mean. It grows
            with the resolution: 7e-5 on a map (512, 7, 7) is the mean with weight 7e-5 * 512 * 7 * 7 = 1.756.

    Raises:
        ValueError: If blur, reduce or alpha_sum is not accepted; in `build`, if a stage does not exist.

    Source:
        Xu et al., BKDSNN: Enhancing the Performance of Learning-based Spiking Neural Networks Training with Blurred
        Knowledge Distillation, ECCV 2024, arXiv:2407.09083. Blur and R follow the released code (blur = 0.15; alpha_sum
        = 7e-5 for maps, 2e-3 for pooled vectors). For a ViT teacher that code compares with a vector given by a patched
        timm, which is not public; here it is the spatial mean of the chosen feature.

    Example:
        >>> import torch
        >>> from zoo.model import Outputs
        >>> narrow = [{"num_chs": 4, "reduction": 8, "module": "layer4"}]
        >>> wide = [{"num_chs": 6, "reduction": 8, "module": "layer4"}]
        >>> term = BKD()
        >>> term.build(narrow, wide)
        >>> term
        BKD(
          (align): Conv2d(4, 6, kernel_size=(1, 1), stride=(1, 1))
          (restore): Sequential(
            (0): Conv2d(6, 6, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
            (1): ReLU()
            (2): Conv2d(6, 6, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
          )
        )
        >>> student = Outputs(torch.zeros(2, 1, 10), [torch.rand(2, 1, 4, 7, 7)])  # T = 2
        >>> teacher = Outputs(torch.zeros(1, 1, 10), [torch.rand(1, 1, 6, 7, 7)])
        >>> term(student, teacher, torch.tensor([0])).shape
        torch.Size([])
    """

    restore: nn.Module

    def __init__(
        self,
        weight: float = 1.0,
        student_stage: int = -1,
        teacher_stage: int = -1,
        blur: float = 0.15,
        reduce: Literal["map", "pool"] = "map",
        alpha_sum: float | None = None,
    ) -> None:
        super().__init__(weight, student_stage, teacher_stage)
        if not 0 <= blur < 1:
            raise ValueError(f"blur of {self.name} is the share of dropped channels, in [0, 1), found {blur}.")
        if reduce not in ("map", "pool"):
            raise ValueError(unknown(f"reduce of {self.name}", reduce, ("map", "pool")))
        if alpha_sum is not None and not alpha_sum > 0:
            raise ValueError(f"alpha_sum of {self.name} must be > 0, found {alpha_sum}.")
        self.blur = blur
        self.reduce = reduce
        self.alpha_sum = alpha_sum

    def build(self, student: Sequence[dict[str, Any]], teacher: Sequence[dict[str, Any]]) -> None:
        """Make the convolutions. See `FeatureObjective`."""
        super().build(student, teacher)
        chans = pick_stage(teacher, self.teacher_stage, "teacher")["num_chs"]
        self.restore = nn.Sequential(
            nn.Conv2d(chans, chans, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(chans, chans, kernel_size=3, padding=1),
        )

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See `FeatureObjective`."""
        if self.reduce == "map":
            student, teacher = same_size(student, teacher)
        restored = self.restore(self.blurred(student))  # [N, C, H, W]
        if self.reduce == "pool":
            restored, teacher = restored.mean((-2, -1)), teacher.mean((-2, -1))  # [N, C]
        error = F.mse_loss(restored, teacher)
        return error if self.alpha_sum is None else error * (self.alpha_sum * teacher[0].numel())

    def blurred(self, x: Tensor) -> Tensor:
        """A map [N, C, H, W] with dropped channels; as it is outside training."""
        return x * x.new_empty(*x.shape[:2], 1, 1).bernoulli_(1 - self.blur) if self.training else x
