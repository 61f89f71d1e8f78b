"""What training a classifier is, with or without a teacher: loss, optimiser, metrics, checkpoint."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, cast

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

import zoo
from zoo.early_exit import mean_so_far
from zoo.layers.eventprop import check_not_mixed, eventprop_layers
from zoo.model import SEQUENCES, Network, Outputs, SpikingModel, read
from zoo.neurons import has_activations
from zoo.teacher import StillModel

from .learning_rates import parameter_factors
from .metrics.exit_curve import ExitCurve
from .objectives import Objective
from .objectives.base import has_steps
from .rules.sltt import SLTT, synchronise
from .schedule import warmup_cosine
from .shadow import ShadowWeights

Batch = tuple[Tensor, Tensor]


class ClassifierModule(LightningModule, ABC):
    """Trains one network, `self.model`, on a weighted sum of objectives.

    A batch is (x [T, N, C, H, W], target): classes [N], soft targets [N, K] in training, or classes [T, N] where every
    step has its own (-100: none); `answers` says what of the logits is held against it. Every term is logged raw as
    `train/<Objective>`, their weighted sum as `train/loss`. The learning rate warms up linearly and then follows a
    cosine to zero over the whole run, step by step. Weight decay spares vectors (norms, biases) and what the model
    names in `no_weight_decay`; what it names in `lr_factors`, or the recipe does, has a learning rate of its own.

    Args:
        model: The network that is trained: a student, or a timm model read as a sequence.
        objectives: The terms of the loss.
        optimizer: Makes the optimiser of parameter groups.
        warmup_epochs: Epochs of linear warm-up.
        sltt: Learn step by step (`SLTT`); None to backpropagate through time.
        save_memory: Keep spikes as bits and run layers again in the backward pass (`zoo.recompute`).
        lr_factors: Factors of the learning rate by regular expressions of parameter names (`parameter_factors`).

    Raises:
        ValueError: If lr_factors matches nothing or is not positive; if save_memory meets SLTT, or a model without
            spikes; if EventProp meets surrogate gradients, or a term that reads features.
    """

    def __init__(
        self,
        model: Network,
        objectives: Sequence[Objective],
        optimizer: OptimizerCallable,
        warmup_epochs: float,
        sltt: SLTT | None = None,
        save_memory: bool = False,
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        check_spike_times(model, objectives)
        # Measured on CPUs (benchmarks/train_step.py): a step is a fifth to a quarter shorter, whatever the student.
        self.model: Network = model.to(memory_format=torch.channels_last)
        self.objectives = nn.ModuleDict(unique_names(objectives))
        self.optimizer = optimizer
        self.warmup_epochs = warmup_epochs
        prefix, network = ("model.model.", model.model) if isinstance(model, StillModel) else ("model.", model)
        factors = parameter_factors(network, lr_factors or {})
        self.lr_factors = {f"{prefix}{name}": factor for name, factor in factors.items()}
        self.sltt = sltt
        self.pending: tuple[Batch, Tensor] | None = None
        self.shadow = ShadowWeights()
        if save_memory:
            check_recomputable(model, sltt)
            self.model.set_grad_checkpointing()
        if sltt is not None:
            sltt.check(self)
        self.val_metrics = self.make_metrics("val/")
        self.test_metrics = self.make_metrics("test/")
        # An answer after every step is for the few steps of an image, not for the hundreds of a spike train.
        frames = isinstance(model, SpikingModel) and model.sequence_ndim == 5
        steps = model.num_steps if frames else 0
        self.test_acc_at = nn.ModuleList(self.make_accuracy() for _ in range(steps))
        self.test_exit = ExitCurve()
        self.exit_curve: dict[str, Any] | None = None  # of the last test, if its sequences had several steps

    @property
    def num_classes(self) -> int:
        """Classes K of the trained network."""
        return int(self.model.num_classes)

    def answers(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [M, K] that are answers, and their targets [M].

        Of a target [N] the mean over steps [T, N, K], one for each sample; of classes [T, N] every step that has one,
        and is not -100.
        """
        if not has_steps(target):
            return logits.mean(0), target
        known = target >= 0
        return (logits.flatten(0, 1), target.flatten()) if known.all() else (logits[known], target[known])

    @abstractmethod
    def read_teacher(self, x: Tensor) -> Outputs | None:
        """What the teacher gives for the sequence x [T, N, C, H, W]; None without a teacher."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits averaged over time, [N, K], of a sequence [T, N, C, H, W]."""
        return self.model(x)

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

    # Loss ------------------------------------------------------------------------------------------------------------

    def loss(self, student: Outputs, teacher: Outputs | None, target: Tensor, stage: str) -> Tensor:
        """The weighted sum of all objectives; logs each of them."""
        terms = {name: objective(student, teacher, target) for name, objective in self.objectives.items()}
        total = torch.stack([self.objectives[name].weight * term for name, term in terms.items()]).sum()
        logs = {f"{stage}/{name}": term.detach() for name, term in terms.items()} | {f"{stage}/loss": total.detach()}
        self.log_dict(logs, batch_size=student.logits.shape[1], on_step=False, on_epoch=True, sync_dist=True)
        return total

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Draw the masks of a batch from (seed, epoch, batch, process), so that a resumed run equals a whole one."""
        if seed := os.environ.get("PL_GLOBAL_SEED"):
            moment = [int(seed), self.current_epoch, batch_idx, self.global_rank]
            torch.manual_seed(int(np.random.default_rng(moment).integers(2**63)))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The total loss of a batch."""
        x, target = batch
        if self.sltt is not None:  # a loss of 1, whose gradient will be what all gradients are to be multiplied by
            token = torch.ones((), device=self.device, requires_grad=True)
            self.pending = (batch, token)
            return token
        student = read(self.model, x)
        self.log_accuracy(*self.answers(student.logits, target))
        return self.loss(student, self.read_teacher(x), target, "train")

    def on_after_backward(self) -> None:
        """With SLTT, learn now, step by step: clipping, accumulation, scaling and schedule stay Lightning's."""
        if self.sltt is None or self.pending is None:
            return
        ((x, target), token), self.pending = self.pending, None
        assert token.grad is not None
        with self.trainer.precision_plugin.train_step_context():
            logits = self.sltt.learn(self, x, target, token.grad)
        if self.trainer.world_size > 1:
            synchronise(self)
        self.log_accuracy(logits, target)

    def on_fit_start(self) -> None:
        """With SLTT under DDP, average the gradients here, not at the first of many backward passes."""
        self.shadow.begin(self, resumed=bool(self.trainer.ckpt_path))
        wrapped: Any = self.trainer.model
        if self.sltt is not None and hasattr(wrapped, "require_backward_grad_sync"):
            wrapped.require_backward_grad_sync = False

    def log_accuracy(self, logits: Tensor, target: Tensor) -> None:
        """Log the share of right answers of a training batch; logits [N, K]."""
        classes = target if target.ndim == 1 else target.argmax(1)
        correct = (logits.argmax(1) == classes).float().mean()
        self.log("train/acc", correct, batch_size=len(target), on_step=False, on_epoch=True)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Loss and metrics of a batch of the validation split."""
        self.evaluate(batch, "val", self.val_metrics)

    def on_train_start(self) -> None:
        """Let go of the tensors of the checkpoint; callbacks took theirs before."""
        self.shadow.saved = {}

    def on_validation_start(self) -> None:
        """Validate the shadow weights, if a callback keeps some."""
        self.shadow.swap(self, inside=True)

    def on_validation_end(self) -> None:
        """Go on with the trained ones; after a fit there is nothing to go on with."""
        if self.trainer.state.fn == TrainerFn.FITTING:
            self.shadow.swap(self, inside=False)

    def on_train_end(self) -> None:
        """End with the shadow weights."""
        self.shadow.swap(self, inside=True)

    def test_step(self, batch: Batch, _: int) -> Tensor:
        """Metrics of a batch of the test split, also at every step t <= T; returns the logits of the answers [N, K]."""
        student = self.evaluate(batch, "test", self.test_metrics)
        if len(student.logits) > 1 and self.test_acc_at and not has_steps(batch[1]):
            self.test_exit.update(student.logits, batch[1])
            for t, (metric, logits) in enumerate(zip(self.test_acc_at, mean_so_far(student.logits), strict=False), 1):
                metric(logits, batch[1])
                self.log(f"test/acc_at_{t}", cast(Metric, metric), batch_size=len(batch[1]))
        return self.answers(student.logits, batch[1])[0]

    def on_test_epoch_start(self) -> None:
        """Begin a new early-exit curve."""
        self.test_exit.reset()

    def on_test_epoch_end(self) -> None:
        """Finish it, on every process: they add up what they counted."""
        self.exit_curve = self.test_exit.compute() if self.test_exit.update_called else None

    def predict_step(self, batch: Batch, _: int) -> Tensor:
        """Class probabilities [N, K]; of data with a class for every step [T, N, K]."""
        x, target = batch
        return (read(self.model, x).logits if has_steps(target) else self(x)).float().softmax(-1)

    def prediction_rows(self, predicted: Tensor, batch: Batch, data: Any) -> list[dict[str, str]]:
        """What `predict` writes of a batch, one row a sample: label and probability of the best class.

        Of answers at every step, the labels in order, each with the number of steps that it lasts: "P 30, PQ 12".

        Args:
            predicted: What `predict_step` gave.
            batch: What it read.
            data: The DataModule, which knows the names.
        """
        names = data.input_cfg["label_names"]
        if predicted.ndim == 3:
            spans = [groupby(steps) for steps in predicted.argmax(-1).T.tolist()]
            return [{"labels": ", ".join(f"{names[k]} {len([*same])}" for k, same in span)} for span in spans]
        best = zip(*(values.tolist() for values in predicted.max(-1)), strict=True)
        return [{"label": names[index], "probability": f"{probability:.4f}"} for probability, index in best]

    def evaluate(self, batch: Batch, stage: str, metrics: MetricCollection) -> Outputs:
        """Log the loss and update the metrics; returns what the trained network gave."""
        x, target = batch
        student, teacher = read(self.model, x), self.read_teacher(x)
        self.loss(student, teacher, target, stage)
        logits, expected = self.answers(student.logits, target)
        metrics(logits.float(), expected)
        for name, metric in metrics.items():
            self.log(name, metric, batch_size=len(expected), prog_bar=name == "val/acc")
        if teacher is not None:
            self.evaluate_teacher(student, teacher, target, stage)
        return student

    def evaluate_teacher(self, student: Outputs, teacher: Outputs, target: Tensor, stage: str) -> None:
        """Log what compares student and teacher; nothing without a teacher."""

    # Metrics ---------------------------------------------------------------------------------------------------------

    def make_accuracy(self, top_k: int = 1) -> MulticlassAccuracy:
        """Share of samples whose class is among the k best."""
        return MulticlassAccuracy(self.num_classes, top_k=top_k, average="micro")

    def make_metrics(self, prefix: str) -> MetricCollection:
        """Accuracy, top-5 accuracy where K > 5, and expected calibration error (15 bins)."""
        metrics: dict[str, Metric | MetricCollection] = {
            "acc": self.make_accuracy(),
            "ece": MulticlassCalibrationError(self.num_classes, n_bins=15),
        }
        if self.num_classes > 5:
            metrics["acc_top5"] = self.make_accuracy(top_k=5)
        return MetricCollection(metrics, prefix=prefix, compute_groups=False)

    # Optimiser -------------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """The optimiser on groups, with and without weight decay, one more for each learning rate, and its schedule."""
        spared = {f"model.{name}" for name in getattr(self.model, "no_weight_decay", set)()}
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                decays = parameter.ndim > 1 and name not in spared
                groups.setdefault((self.lr_factors.get(name, 1.0), decays), []).append(parameter)
        optimizer = self.optimizer(
            [{"params": group} | ({} if decays else {"weight_decay": 0.0}) for (_, decays), group in groups.items()]
        )
        for group, (factor, _) in zip(optimizer.param_groups, groups, strict=True):
            group["lr"] = group["lr"] * factor
        total = int(self.trainer.estimated_stepping_batches)
        warmup = round(total * self.warmup_epochs / max(self.trainer.max_epochs or 1, 1))
        schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # Checkpoint ------------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write what rebuilds the network, so that a checkpoint alone can be published; leave the teacher out."""
        self.shadow.save(checkpoint)
        still = isinstance(self.model, StillModel)
        network = self.model.model if isinstance(self.model, StillModel) else self.model
        checkpoint["zoo"] = zoo.describe(network) | {"prefix": "model.model." if still else "model."}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Find the shadow weights and what is trained."""
        self.shadow.load(checkpoint)


def check_spike_times(model: Network, objectives: Sequence[Objective]) -> None:
    """Refuse what gradients of spike times (EventProp) cannot be mixed with, before training.

    Raises:
        ValueError: If the model has EventProp layers, and surrogate gradients or a term that reads features.
    """
    check_not_mixed(model)
    exact, reading = eventprop_layers(model), [term.name for term in objectives if term.uses_features]
    if exact and reading:
        raise ValueError(
            f"{', '.join(reading)} compares features, and its gradient is that of their values; the EventProp layer "
            f"{exact[0]} learns from gradients of spike times. Leave the term out (LogitKD and WSLD distil logits), or "
            "choose a student with surrogate gradients, such as delay_mlp_2x256."
        )


def check_recomputable(model: Network, sltt: SLTT | None) -> None:
    """Refuse what save_memory cannot be chosen with, before training.

    Raises:
        ValueError: If the model does not spike, or learns step by step.
    """
    if not isinstance(model, SpikingModel):
        raise ValueError("save_memory keeps spikes as bits; this model has none. Leave save_memory out.")
    if sltt is not None:
        raise ValueError(
            "save_memory runs layers again from their first step, and sltt carries their potentials on from the last. "
            "Choose one: sltt holds the memory of one step, save_memory gives the exact gradient (docs/training.md)."
        )


def unique_names(objectives: Sequence[Objective]) -> dict[str, nn.Module]:
    """Objectives by name; the second LogitKD is LogitKD_2."""
    names: dict[str, nn.Module] = {}
    for objective in objectives:
        count = sum(type(other) is type(objective) for other in names.values())
        names[objective.name if count == 0 else f"{objective.name}_{count + 1}"] = objective
    return names


def make_network(
    name: str,
    model_args: Mapping[str, Any] | None,
    pretrained: bool,
    num_classes: int,
    in_chans: int,
    input_cfg: Mapping[str, Any],
    input_size: int | None = None,
) -> Network:
    """A network for the data: a student as it is, any other timm model read as a sequence.

    Args:
        name: See `zoo.create_model`.
        model_args: Further arguments of the architecture.
        pretrained: Whether to start from published weights.
        num_classes: Classes of the data.
        in_chans: Channels of the data.
        input_cfg: Statistics of the data: "input_size", "mean", "std", "label_names"; "sequence_ndim" (5 if it is
            missing); of spike trains also "dt"; "num_steps", if the data are sequences that all have as many.
        input_size: Side in pixels that a non-spiking network sees; default: that of the data, or the native one of
            pretrained weights.

    Raises:
        ValueError: If the name or an argument is unknown, the network cannot take the data, or it is an ANN twin that
            would do the same at several steps.
    """
    model = zoo.create_model(
        name, pretrained=pretrained, num_classes=num_classes, in_chans=in_chans, **(model_args or {})
    )
    check_input(name, model, input_cfg)
    if isinstance(model, SpikingModel):
        if input_size is not None:
            raise ValueError(f"input_size is for non-spiking models; {name} takes the data as it is. Leave it out.")
        if has_activations(model) and model.num_steps > 1 and "num_steps" not in input_cfg:
            raise ValueError(
                f"{name} with activations (an ANN twin) gives the same at every step: expected num_steps 1, found "
                f"{model.num_steps}. Add num_steps: 1 to the arguments of the model."
            )
        model.pretrained_cfg.update(input_cfg)
        model.num_steps = input_cfg.get("num_steps", model.num_steps)  # of sequences, whatever a still image is shown
        return model
    model.pretrained_cfg["label_names"] = input_cfg.get("label_names")
    if not pretrained:
        model.pretrained_cfg.update(input_cfg)
    elif len(model.pretrained_cfg["mean"]) != in_chans:  # timm summed the first weights over the channels
        for key in ("mean", "std"):
            model.pretrained_cfg[key] = (sum(model.pretrained_cfg[key]) / len(model.pretrained_cfg[key]),) * in_chans
        model.pretrained_cfg["input_size"] = (in_chans, *model.pretrained_cfg["input_size"][1:])
    if input_size is not None:
        model.pretrained_cfg["input_size"] = (model.pretrained_cfg["input_size"][0], input_size, input_size)
    return StillModel(model, input_cfg)


def check_input(name: str, model: Network, input_cfg: Mapping[str, Any]) -> None:
    """Refuse data that a model cannot take, before training.

    Raises:
        ValueError: If the data are no such sequences, the images are too small or of another size than a student takes,
            or the steps of model and data are not equally long.
    """
    _, height, width = input_cfg["input_size"]
    takes, found = getattr(model, "sequence_ndim", 5), input_cfg.get("sequence_ndim", 5)
    if takes != found:
        raise ValueError(
            f"{name} takes {SEQUENCES[takes]}, but the data are {SEQUENCES[found]}. Choose other data or another model."
        )
    fixed = model.img_size if isinstance(model, SpikingModel) else None
    if fixed and fixed != (height, width):
        raise ValueError(
            f"{name} was made for images of {fixed[0]}x{fixed[1]} pixels, but the data has {height}x{width}. Set "
            f"model_args: {{img_size: [{height}, {width}]}}, or resize the images."
        )
    smallest = model.pretrained_cfg.get("min_input_size") or (0, 0, 0)
    if isinstance(model, SpikingModel) and (height < smallest[1] or width < smallest[2]):
        raise ValueError(
            f"{name} takes images of at least {smallest[1]}x{smallest[2]} pixels, but the data has {height}x{width}. "
            "Choose a student for smaller images (`snnzoo info NAME` shows its smallest), or larger images."
        )
    ours, theirs = getattr(model, "dt", None), input_cfg.get("dt")
    if ours and theirs and not math.isclose(ours, theirs):
        raise ValueError(
            f"dt of {name} is {ours:g} ms, and that of the data {theirs:g} ms. Set both alike: model_args: "
            f"{{dt: {theirs:g}}}, or data: {{dt: {ours:g}}}."
        )
