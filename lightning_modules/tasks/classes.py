"""Classification: one of K classes for a sample, or for every step of it."""

from itertools import groupby
from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassCalibrationError

from zoo.data_info import DataInfo
from zoo.model import Network, read

from ..objectives.base import Objective, has_steps
from ..objectives.cross_entropy import CrossEntropy
from .base import Task, class_names, make_accuracy


class Classes(Task):
    """Classes: accuracy, top-5 accuracy where K > 5, and expected calibration error (15 bins)."""

    def default_objectives(self) -> list[Objective]:
        """Cross-entropy."""
        return [CrossEntropy()]

    def metrics(self, num_classes: int, info: DataInfo) -> dict[str, Metric]:
        """See `Task`."""
        found: dict[str, Metric] = {
            "acc": make_accuracy(num_classes),
            "ece": MulticlassCalibrationError(num_classes, n_bins=15),
        }
        if num_classes > 5:
            found["acc_top5"] = make_accuracy(num_classes, top_k=5)
        return found

    def predict(self, model: Network, x: Tensor, target: Tensor | None, batch_idx: int) -> Tensor:
        """Class probabilities [N, K]; [T, N, K] if every step has a class."""
        at_steps = target is not None and has_steps(target)
        return (read(model, x).logits if at_steps else model(x)).float().softmax(-1)

    def rows(self, predicted: Tensor, x: Tensor, data: Any) -> list[dict[str, str]]:
        """Label and probability of the best class of every sample.

        If every step has a class: the labels in order, each with the number of steps that it lasts: "P 30, PQ 12".
        """
        names = class_names(data, predicted.shape[-1])
        if predicted.ndim == 3:
            spans = [groupby(steps) for steps in predicted.argmax(-1).T.tolist()]
            return [{"labels": ", ".join(f"{names[k]} {len([*same])}" for k, same in span)} for span in spans]
        best = zip(*(values.tolist() for values in predicted.max(-1)), strict=True)
        return [{"label": names[index], "probability": f"{probability:.4f}"} for probability, index in best]
