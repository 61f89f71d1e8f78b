"""Training a network: loss, loop, optimiser and checkpoint, composed of a task, a rule and perhaps a teacher."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MetricCollection

import zoo
from zoo.data_info import DataInfo
from zoo.model import Network, Outputs, SequenceModel, SpikingModel, read
from zoo.sequence import SequenceKind, to_sequence

from .finite import check_gradients, check_losses, check_weights
from .learning_rates import parameter_factors, parameter_groups
from .metrics.anytime_accuracy import AnytimeAccuracy
from .metrics.exit_curve import ExitCurve
from .networks import channels_last
from .objectives import Objective
from .objectives.base import has_steps
from .rules.base import Batch, Rule
from .rules.bptt import BPTT
from .rules.sltt import SLTT
from .schedule import steps_of, steps_per_epoch, warmup_cosine
from .shadow import ShadowWeights
from .tasks import Task, task_of

DEFAULT_OPTIMIZER = partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.05)  # where a recipe or a script names none


class ClassifierModule(LightningModule, ABC):
    """Trains one network, `self.model`, on a weighted sum of objectives.

    The task says what an answer is, the rule how a gradient is made; a subclass may have a teacher. Any task goes with
    any rule and any teacher.

    A batch is (x [T, N, ...], target): classes [N], soft targets [N, K] in training, or classes [T, N] where every
    step has its own (-100: none). Images [N, C, H, W] are a sequence of one step. Every objective is logged raw as
    `train/<Objective>`, their weighted sum as `train/loss`. The learning rate warms up linearly and then follows a
    cosine to zero over the whole run, step by step. Weight decay spares vectors (norms, biases) and what the model
    names in `no_weight_decay`; what it names in `lr_factors`, or the recipe does, has a learning rate of its own.

    Args:
        model: The network that is trained: a student, or another model read as a sequence.
        objectives: The objectives of the loss.
        optimizer: Makes the optimiser of parameter groups; default: AdamW, learning rate 1e-3, weight decay 0.05.
        warmup_epochs: Epochs of linear warm-up.
        rule: How a gradient is made; default: `BPTT`.
        task: What an answer is; default: the one that follows from info.
        lr_factors: Factors of the learning rate by regular expressions of parameter names (`parameter_factors`).
        info: The facts about the data; None if they are not known.

    Raises:
        ValueError: If lr_factors matches nothing or is not positive; if the rule or the task refuses the model.
    """

    def __init__(
        self,
        model: SequenceModel,
        objectives: Sequence[Objective],
        optimizer: OptimizerCallable | None = None,
        warmup_epochs: float = 0.0,
        rule: Rule | None = None,
        task: Task | None = None,
        lr_factors: Mapping[str, float] | None = None,
        info: DataInfo | None = None,
    ) -> None:
        super().__init__()
        self.rule = rule or BPTT()
        info = info or DataInfo()
        self.task = task or task_of(info)
        self.task.check(model, info)
        named = unique_names(objectives)
        self.rule.prepare(model, named)
        self.model: Network = channels_last(model)
        self.objectives = nn.ModuleDict(named)
        self.optimizer = optimizer or DEFAULT_OPTIMIZER
        self.warmup_epochs = warmup_epochs
        factors = parameter_factors(model.network, lr_factors or {}, model.lr_factors())
        self.lr_factors = {f"{self.prefix}{name}": factor for name, factor in factors.items()}
        self.shadow = ShadowWeights()
        metrics = MetricCollection(dict(self.task.metrics(self.num_classes, info)), compute_groups=False)
        self.val_metrics, self.test_metrics = metrics.clone("val/"), metrics.clone("test/")
        # An answer after every step is for the few steps of an image, not for the hundreds of a spike train.
        frames = isinstance(model, SpikingModel) and model.kind is SequenceKind.IMAGES
        self.test_anytime = AnytimeAccuracy(model.num_steps) if frames else None
        self.test_exit = ExitCurve()
        self.exit_curve: dict[str, Any] | None = None  # of the last test, if its sequences had several steps

    @property
    def num_classes(self) -> int:
        """Classes K of the trained network."""
        return int(self.model.num_classes)

    @property
    def prefix(self) -> str:
        """What the names of the network's parameters begin with in this module."""
        return "model." if self.model.network is self.model else "model.model."

    @property
    def sltt(self) -> SLTT | None:
        """The rule, if it is SLTT."""
        return self.rule if isinstance(self.rule, SLTT) else None

    @abstractmethod
    def read_teacher(self, x: Tensor) -> Outputs | None:
        """The teacher's outputs for the sequence x [T, N, C, H, W]; None without a teacher."""

    def compare(self, student: Outputs, teacher: Outputs, target: Tensor, stage: str) -> None:
        """Log how student and teacher compare; nothing without a teacher."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits averaged over time, [N, K], of a sequence [T, N, C, H, W] or images [N, C, H, W]."""
        return self.model(x)

    # Loop ------------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Refuse a precision that spoils the loss.

        Raises:
            ValueError: If the trainer keeps weights and losses in half precision.
        """
        if str(self.trainer.precision) in ("bf16-true", "16-true", "transformer-engine", "transformer-engine-float16"):
            raise ValueError(
                f"precision {self.trainer.precision} also computes the objectives in half precision, where small terms "
                "vanish. Use bf16-mixed or 16-mixed."
            )

    def as_batch(self, batch: Any) -> Batch:
        """The sequence and the targets of what a loader yields; images [N, C, H, W] become a sequence of one step."""
        x, target = batch
        return to_sequence(x, self.model.kind), target

    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor, stage: str) -> Tensor:
        """The weighted sum of all objectives; logs each of them.

        Raises:
            ValueError: If it is not finite.
        """
        terms = {name: objective(student, teacher, target) for name, objective in self.objectives.items()}
        total = torch.stack([self.objectives[name].weight * term for name, term in terms.items()]).sum()
        check_losses(self, terms, total)
        logs = {f"{stage}/{name}": term.detach() for name, term in terms.items()} | {f"{stage}/loss": total.detach()}
        self.log_dict(logs, batch_size=student.logits.shape[1], on_step=False, on_epoch=True, sync_dist=True)
        return total

    def on_fit_start(self) -> None:
        """Begin with the weights that were trained, and set up the strategy for the rule."""
        self.shadow.begin(self, resumed=bool(self.trainer.ckpt_path))
        self.rule.begin(self)

    def on_train_start(self) -> None:
        """Let go of the tensors of the checkpoint; callbacks took theirs before."""
        self.shadow.saved = {}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Draw the masks of a batch from (seed, epoch, batch, process), so that a resumed run equals a whole one."""
        if seed := os.environ.get("PL_GLOBAL_SEED"):
            moment = [int(seed), self.current_epoch, batch_idx, self.global_rank]
            torch.manual_seed(int(np.random.default_rng(moment).integers(2**63)))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of a batch, as the rule makes it."""
        return self.rule.training_step(self, self.as_batch(batch))

    def on_after_backward(self) -> None:
        """Let the rule finish the gradients: clipping, accumulation, scaling and schedule stay Lightning's."""
        self.rule.after_backward(self)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Refuse gradients that are not finite."""
        check_gradients(self)

    def log_answers(self, logits: Tensor, target: Tensor) -> None:
        """Log the accuracy on a training batch; logits [T, N, K]."""
        answers, target = self.task.answers(logits, target)
        classes = target if target.ndim == 1 else target.argmax(1)
        correct = (answers.argmax(1) == classes).float().mean()
        self.log("train/acc", correct, batch_size=len(target), on_step=False, on_epoch=True)

    def on_train_end(self) -> None:
        """End with the shadow weights."""
        self.shadow.swap(self, inside=True)

    def on_validation_start(self) -> None:
        """Validate the shadow weights, if a callback keeps some."""
        self.shadow.swap(self, inside=True)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Loss and metrics of a batch of the validation split."""
        self.evaluate(batch, "val", self.val_metrics)

    def on_validation_end(self) -> None:
        """Go on with the trained ones; after a fit there is nothing to go on with."""
        if self.trainer.state.fn == TrainerFn.FITTING:
            self.shadow.swap(self, inside=False)

    def on_test_epoch_start(self) -> None:
        """Begin a new early-exit curve."""
        self.test_exit.reset()
        if self.test_anytime is not None:
            self.test_anytime.reset()

    def test_step(self, batch: Batch, _: int) -> Tensor:
        """Metrics of a batch of the test split, also at every step t <= T; returns the logits of the answers [N, K]."""
        target, student = batch[1], self.evaluate(batch, "test", self.test_metrics)
        if self.test_anytime is not None and len(student.logits) > 1 and not has_steps(target):
            self.test_exit.update(student.logits, target)
            self.test_anytime.update(student.logits, target)
        return self.task.answers(student.logits, target)[0]

    def on_test_epoch_end(self) -> None:
        """Finish the early-exit curve, on every process: they add up what they counted."""
        self.exit_curve = None
        if self.test_anytime is not None and self.test_exit.update_called:
            self.exit_curve = self.test_exit.compute()
            for t, accuracy in enumerate(self.test_anytime.compute(), 1):
                self.log(f"test/acc_at_{t}", accuracy, sync_dist=True)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """What the task predicts, class probabilities [N, K] for example; the batch may be inputs without targets."""
        x, target = (batch, None) if isinstance(batch, Tensor) else (*batch, None)[:2]
        return self.task.predict(self.model, to_sequence(x, self.model.kind), target, batch_idx)

    def evaluate(self, batch: Batch, stage: str, metrics: MetricCollection) -> Outputs:
        """Log the loss and update the metrics; returns the outputs of the trained network."""
        x, target = self.as_batch(batch)
        student, teacher = read(self.model, x), self.read_teacher(x)
        self.loss(student, teacher, target, stage)
        logits, expected = self.task.answers(student.logits, target)
        metrics(logits.float(), expected)
        for name, metric in metrics.items():
            self.log(name, metric, batch_size=len(expected), prog_bar=name == "val/acc")
        if teacher is not None:
            self.compare(student, teacher, target, stage)
        return student

    # Optimiser -------------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """The optimiser on groups, with and without weight decay, one more for each learning rate, and its schedule."""
        spared = {f"model.{name}" for name in self.model.no_weight_decay()}
        factors, groups = zip(*parameter_groups(self.named_parameters(), self.lr_factors, spared), strict=True)
        optimizer = self.optimizer(list(groups))
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = group["lr"] * factor
        total = steps_of(self.trainer)
        warmup = round(self.warmup_epochs * steps_per_epoch(self.trainer))
        schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # Checkpoint ------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write what rebuilds the network, so that a checkpoint alone can be published.

        A network that was not made by `zoo.create_model` cannot be rebuilt by name: a warning says so.

        Raises:
            ValueError: If a weight is not finite.
        """
        self.shadow.save(checkpoint)
        check_weights(self, checkpoint["state_dict"])
        try:
            checkpoint["zoo"] = zoo.describe(self.model.network) | {"prefix": self.prefix}
        except ValueError as error:
            checkpoint["zoo"] = None
            rank_zero_warn(
                f"This checkpoint loads into this module only; it cannot be published or loaded by name: {error}"
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Find the shadow weights and the trained weights behind them."""
        self.shadow.load(checkpoint)


def unique_names(objectives: Sequence[Objective]) -> dict[str, Objective]:
    """Objectives by name; the second LogitKD is LogitKD_2."""
    names: dict[str, Objective] = {}
    for objective in objectives:
        count = sum(type(other) is type(objective) for other in names.values())
        names[objective.name if count == 0 else f"{objective.name}_{count + 1}"] = objective
    return names
