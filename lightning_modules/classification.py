"""Training without a teacher: students, and the timm models that become teachers."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from zoo.model import Network, Outputs

from .module import ClassifierModule, make_network
from .objectives import CrossEntropy, Objective
from .rules.sltt import SLTT


class ClassificationModule(ClassifierModule):
    r"""Trains or fine-tunes a spiking student, or a timm model as a teacher. What is shared: `ClassifierModule`.

    Args:
        model: A student (`snnzoo list`), any timm model, a published checkpoint (`hf-hub:...`, `local-dir:...`,
            `architecture.tag`) or a run directory.
        optimizer: The optimiser, by class_path.
        num_classes: Classes; the CLI takes it from the data.
        in_chans: Channels; the CLI takes it from the data.
        input_cfg: "input_size" (C, H, W), "mean", "std", "label_names"; the CLI takes it from the data.
        model_args: Further arguments of the architecture, such as {num_steps: 4, neuron: {name: lif, tau: 2.0}}.
        pretrained: Start from published weights; a new classifier is made if the classes differ.
        input_size: Side in pixels that a non-spiking model sees; default: that of the data.
        objectives: Terms of the loss; default: cross-entropy.
        warmup_epochs: Epochs of linear warm-up.
        sltt: Learn step by step, in memory that does not grow with T: {k: null, normalise_by: T}; see `SLTT`.
        save_memory: The same gradients in less memory and more time: keep spikes as bits, run layers twice.
        freeze_backbone: Train the classifier only; norms keep their statistics.
        lr_factors: Factors of the learning rate by regular expressions of parameter names: {'bn\.bias$': 8.0}.

    Raises:
        ValueError: If a name is unknown, the data does not fit the model, or an objective needs a teacher.
    """

    def __init__(
        self,
        model: str,
        optimizer: OptimizerCallable,
        num_classes: int,
        in_chans: int,
        input_cfg: dict[str, Any],
        model_args: dict[str, Any] | None = None,
        pretrained: bool = False,
        input_size: int | None = None,
        objectives: list[Objective] | None = None,
        warmup_epochs: float = 0.0,
        freeze_backbone: bool = False,
        sltt: SLTT | None = None,
        save_memory: bool = False,
        lr_factors: dict[str, float] | None = None,
    ) -> None:
        objectives = objectives or [CrossEntropy()]
        lost = [objective.name for objective in objectives if objective.needs_teacher]
        if lost:
            raise ValueError(
                f"{', '.join(lost)} needs a teacher, and ClassificationModule has none. "
                "Use DistillationModule with a `teacher`, or leave the objective out."
            )
        network = make_network(model, model_args, pretrained, num_classes, in_chans, input_cfg, input_size)
        super().__init__(network, objectives, optimizer, warmup_epochs, sltt, save_memory, lr_factors)
        self.freeze_backbone = freeze_backbone
        if freeze_backbone:
            self.model.requires_grad_(False)
            self.classifier().requires_grad_(True)
            self.train()  # the trainer keeps the modes it finds
        for objective in objectives:
            objective.build(network.feature_info, [])

    def classifier(self) -> Any:
        """The layer that gives the logits."""
        network: Network = getattr(self.model, "model", self.model)
        return network.get_classifier()

    def train(self, mode: bool = True) -> "ClassificationModule":
        """Keep the norms of a frozen backbone in evaluation mode; a readout rounds its delays there, and must not."""
        super().train(mode)
        if self.freeze_backbone:
            self.model.eval()
            self.classifier().train(mode)
        return self

    def read_teacher(self, x: Tensor) -> Outputs | None:
        """No teacher."""
        return None
