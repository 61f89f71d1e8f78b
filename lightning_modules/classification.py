"""Training without a teacher: students, and the timm models that become teachers."""

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from zoo.data_info import DataInfo
from zoo.model import Network, Outputs
from zoo.teacher import Frames

from .module import ClassifierModule
from .networks import make_network, read_info
from .objectives import Objective, make_objectives
from .rules import choose_rule
from .rules.sltt import SLTT
from .tasks import Task, task_of


class ClassificationModule(ClassifierModule):
    r"""Trains or fine-tunes a spiking student, or another model as a teacher. What is shared: `ClassifierModule`.

    From Python only `model` is needed. What the data are may stay open, if they come as the model takes them:

        module = ClassificationModule("sew_resnet_tiny", num_classes=10, in_chans=1)
        Trainer(max_epochs=5).fit(module, DataLoader(TensorDataset(images, labels), batch_size=32))

    Args:
        model: A student (`snnzoo list`), any timm model, a published checkpoint (`hf-hub:...`, `local-dir:...`,
            `architecture.tag`) or a run directory; from Python also a module.
        optimizer: The optimiser, by class_path; default: AdamW, learning rate 1e-3, weight decay 0.05.
        num_classes: Classes; default: those of the data, else of the model.
        in_chans: Channels; default: those of the data, else of the model.
        input_cfg: What the data are, see `zoo.data_info.DataInfo`; the CLI takes it from the data.
        model_args: Further arguments of the architecture, such as {num_steps: 4, neuron: {name: lif, tau: 2.0}}.
        pretrained: Start from published weights; a new classifier is made if the classes differ.
        input_size: Side in pixels that a non-spiking model sees; default: that of the data.
        objectives: Objectives of the loss; default: that of the task. From Python also names, see `make_objectives`.
        warmup_epochs: Epochs of linear warm-up.
        freeze_backbone: Train the classifier only; norms keep their statistics.
        sltt: Learn step by step, in memory that does not grow with T: {k: null, normalise_by: T}; see `SLTT`.
        save_memory: The same gradients in less memory and more time: keep spikes as bits, run layers twice.
        lr_factors: Factors of the learning rate by regular expressions of parameter names: {'bn\.bias$': 8.0}.
        frames: What a non-spiking model reads of a sequence: its mean frame, or every frame by itself (per_step).
        task: What an answer is, such as {class_path: Tokens}; default: the one that follows from the data.

    Raises:
        ValueError: If a name is unknown, the data does not fit the model, or an objective needs a teacher.
    """

    def __init__(
        self,
        model: str | Network,
        optimizer: OptimizerCallable | None = None,
        num_classes: int | None = None,
        in_chans: int | None = None,
        input_cfg: dict[str, Any] | None = None,
        model_args: dict[str, Any] | None = None,
        pretrained: bool = False,
        input_size: int | None = None,
        objectives: list[Objective] | None = None,
        warmup_epochs: float = 0.0,
        freeze_backbone: bool = False,
        sltt: SLTT | None = None,
        save_memory: bool = False,
        lr_factors: dict[str, float] | None = None,
        frames: Frames = "mean",
        task: Task | None = None,
    ) -> None:
        info, num_classes, in_chans = read_info(input_cfg, num_classes, in_chans)
        task = task or task_of(info or DataInfo())
        terms = make_objectives(objectives) if objectives else task.default_objectives()
        if lost := [objective.name for objective in terms if objective.needs_teacher]:
            raise ValueError(
                f"{', '.join(lost)} needs a teacher, and {type(self).__name__} has none. "
                "Use DistillationModule with a `teacher`, or leave the objective out."
            )
        network = make_network(model, model_args, pretrained, num_classes, in_chans, info, input_size, frames)
        rule = choose_rule(sltt, save_memory)
        super().__init__(network, terms, optimizer, warmup_epochs, rule, task, lr_factors, info)
        self.freeze_backbone = freeze_backbone
        if freeze_backbone:
            self.model.requires_grad_(False)
            self.classifier().requires_grad_(True)
            self.train()  # the trainer keeps the modes it finds
        for objective in terms:
            objective.build(network.feature_info, [])

    def classifier(self) -> Any:
        """The layer that gives the logits."""
        return self.model.network.get_classifier()

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
