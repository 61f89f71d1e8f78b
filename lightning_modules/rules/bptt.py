"""Backpropagation through time: the exact gradient, of the surrogates or of spike times."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from zoo.layers.eventprop import check_not_mixed, eventprop_layers
from zoo.model import Network, SpikingModel, read

from ..objectives.base import Objective
from .base import Batch, Learner


@dataclass
class BPTT:
    """Backpropagate through all steps of a sequence at once.

    Args:
        save_memory: Keep spikes as bits and run layers again in the backward pass (`zoo.recompute`): the same
            gradients in less memory and more time.
    """

    save_memory: bool = False

    @property
    def least_steps(self) -> int:
        """One."""
        return 1

    def prepare(self, model: Network, objectives: Mapping[str, Objective]) -> None:
        """See `Rule`.

        Raises:
            ValueError: If save_memory meets a model without spikes; if EventProp meets surrogate gradients, or an
                objective that reads features.
        """
        check_spike_times(model, objectives)
        if not self.save_memory:
            return
        if not isinstance(model, SpikingModel):
            raise ValueError("save_memory keeps spikes as bits; this model has none. Leave save_memory out.")
        model.set_grad_checkpointing()

    def begin(self, learner: Learner) -> None:
        """Nothing to set up."""

    def training_step(self, learner: Learner, batch: Batch) -> Tensor:
        """The loss of the whole sequence."""
        x, target = batch
        student = read(learner.model, x)
        learner.log_answers(student.logits, target)
        return learner.loss(student, learner.read_teacher(x), target, "train")

    def after_backward(self, learner: Learner) -> None:
        """Nothing to add: the backward pass was all."""


def check_spike_times(model: Network, objectives: Mapping[str, Objective]) -> None:
    """Refuse what gradients of spike times (EventProp) cannot be mixed with.

    Raises:
        ValueError: If the model has EventProp layers, and surrogate gradients or an objective that reads features.
    """
    check_not_mixed(model)
    exact, reading = eventprop_layers(model), [name for name, term in objectives.items() if term.uses_features]
    if exact and reading:
        raise ValueError(
            f"{', '.join(reading)} compares features, and its gradient is that of their values; the EventProp layer "
            f"{exact[0]} learns from gradients of spike times. Leave it out (LogitKD and WSLD distil logits), or "
            "choose a student with surrogate gradients, such as delay_mlp_2x256."
        )
