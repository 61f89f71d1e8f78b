"""The contract of a learning rule, and what a rule uses of the module that learns by it."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from zoo.model import Network, Outputs

from ..objectives.base import Objective

Batch = tuple[Tensor, Tensor]
"""A sequence [T, N, ...], and its targets."""


class Learner(Protocol):
    """The part of a `ClassifierModule` that a rule uses."""

    model: Network
    trainer: Any

    def read_teacher(self, x: Tensor) -> Outputs | None:
        """The teacher's outputs for a sequence; None without a teacher."""

    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor, stage: str) -> Tensor:
        """The weighted sum of all objectives."""

    def log_answers(self, logits: Tensor, target: Tensor) -> None:
        """Log the accuracy of the logits [T, N, K] of a training batch."""


class Rule(Protocol):
    """How the gradient of a batch is made.

    The trainer calls `training_step`, then the backward pass of the loss that it returns, then `after_backward`.
    Clipping, accumulation, scaling and the optimiser stay Lightning's.
    """

    @property
    def least_steps(self) -> int:
        """The fewest time steps that the rule learns from."""

    def prepare(self, model: Network, objectives: Mapping[str, Objective]) -> None:
        """Refuse what the rule cannot train, then set up the network. No random number is drawn.

        Raises:
            ValueError: If the model, one of its layers or an objective does not allow the rule.
        """

    def begin(self, learner: Learner) -> None:
        """Set up the strategy of the trainer, when a fit starts."""

    def training_step(self, learner: Learner, batch: Batch) -> Tensor:
        """The loss of a batch, whose backward pass the trainer runs."""

    def after_backward(self, learner: Learner) -> None:
        """Finish the gradients of the batch."""
