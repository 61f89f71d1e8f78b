"""The contract of a task: what an answer is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from zoo.data_info import DataInfo
from zoo.model import Network

from ..objectives.base import Objective, has_steps


class Task(ABC):
    """What the logits of a network are answers to: how they are scored, and what `predict` makes of them.

    A task holds no tensors and no teacher, so it goes with any module and any rule.
    """

    def check(self, model: Network, info: DataInfo) -> None:  # noqa: B027  # most refuse nothing
        """Refuse a network or data that the task is not for, before training.

        Args:
            model: The network that is trained.
            info: The facts about the data; `DataInfo()` if none are known.

        Raises:
            ValueError: If one of them is another kind than the task needs.
        """

    @abstractmethod
    def default_objectives(self) -> list[Objective]:
        """The loss of a recipe that names none."""

    def answers(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The logits [M, K] that are answers, and their targets [M].

        For targets [N], or soft targets [N, K], the answers are the mean over steps of the logits [T, N, K]. For
        classes [T, N] every step is an answer, except the steps without a class (-100).
        """
        if not has_steps(target):
            return logits.mean(0), target
        known = target >= 0
        return (logits.flatten(0, 1), target.flatten()) if known.all() else (logits[known], target[known])

    @abstractmethod
    def metrics(self, num_classes: int, info: DataInfo) -> dict[str, Metric]:
        """New metrics of answers, by their names in the logs; they are updated with (logits [M, K], target [M])."""

    @abstractmethod
    def predict(self, model: Network, x: Tensor, target: Tensor | None, batch_idx: int) -> Tensor:
        """What the network predicts for a sequence x [T, N, ...].

        Args:
            model: The trained network.
            x: A batch as a sequence.
            target: Its targets, which only say whether every step is an answer; None if the data have none.
            batch_idx: Number of the batch.
        """

    @abstractmethod
    def rows(self, predicted: Tensor, x: Tensor, data: Any) -> list[dict[str, str]]:
        """The rows of `predictions.csv` for a batch, one per sample.

        Args:
            predicted: The tensor that `predict` returned.
            x: The sequence that it read.
            data: The DataModule, for the names of the classes.
        """


def make_accuracy(num_classes: int, top_k: int = 1) -> MulticlassAccuracy:
    """Fraction of answers whose class is among the k best."""
    return MulticlassAccuracy(num_classes, top_k=top_k, average="micro")


def class_names(data: Any, num_classes: int) -> Sequence[str]:
    """The names of the classes of a DataModule; their numbers if there is none."""
    return data.input_cfg["label_names"] if data is not None else [str(index) for index in range(num_classes)]
