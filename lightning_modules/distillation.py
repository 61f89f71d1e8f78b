"""Training a spiking student under a teacher."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

import zoo
from zoo.model import Network, Outputs, SpikingModel, read
from zoo.teacher import StillModel
from zoo.transfer import copy_weights, init_from_teacher

from .module import Batch, ClassifierModule, check_input, make_network
from .objectives import Objective
from .rules.sltt import SLTT
from .teacher_cache import TeacherCache, check_cacheable, make_cache

FIRST_BATCHES = 16  # of the training data, that fit the scale of a teacher's weights to spikes


class DistillationModule(ClassifierModule):
    r"""Trains a spiking student under a frozen teacher on a list of objectives. What is shared: `ClassifierModule`.

    The teacher is in evaluation mode, without gradient, never wrapped by a strategy of its own and never in a
    checkpoint. It sees the mean frame, brought to its own statistics and size (`zoo.teacher.StillModel`).

    Args:
        student: A student (`snnzoo list`), a published checkpoint, or a run directory.
        teacher: Any timm model with pretrained weights, `hf-hub:...`, `local-dir:...`, `architecture.tag` of a
            registry, or a run directory.
        objectives: Terms of the loss.
        optimizer: The optimiser, by class_path.
        num_classes: Classes; the CLI takes it from the data.
        in_chans: Channels; the CLI takes it from the data.
        input_cfg: "input_size" (C, H, W), "mean", "std", "label_names"; the CLI takes it from the data.
        student_args: Further arguments of the architecture, such as {num_steps: 4, neuron: {name: lif, tau: 2.0}}.
        pretrained: Start the student from published weights.
        init_from_teacher: Start it from the weights of the teacher's matching layers; see `zoo.init_from_teacher`.
        warmup_epochs: Epochs of linear warm-up.
        sltt: Learn step by step, in memory that does not grow with T: {k: null, normalise_by: T}; see `SLTT`.
        save_memory: The same gradients in less memory and more time: keep spikes as bits, run layers twice.
        cache_teacher: In training, run the teacher once for every image (and mirrored image), and look its logits up
            later: `TeacherCache`. The augmentation may be none, `AlternatingFlip`, `RandomCrop` with padding,
            `SquareCutout` and `RandomErasing`. With the last three the teaching is slightly inconsistent, because the
            teacher sees the whole image where the student sees it shifted, or a part of it erased.
        lr_factors: Factors of the learning rate by regular expressions of parameter names: {'bn\.bias$': 8.0}.

    Raises:
        ValueError: If a name is unknown, the data does not fit student or teacher, the class counts differ, or a stage
            does not exist; if cache_teacher meets a term that reads features, or, before training, sequences, several
            devices, or an augmentation or mix with too many views of an image.
    """

    def __init__(
        self,
        student: str,
        teacher: str,
        objectives: list[Objective],
        optimizer: OptimizerCallable,
        num_classes: int,
        in_chans: int,
        input_cfg: dict[str, Any],
        student_args: dict[str, Any] | None = None,
        pretrained: bool = False,
        init_from_teacher: bool = False,
        warmup_epochs: float = 0.0,
        sltt: SLTT | None = None,
        save_memory: bool = False,
        lr_factors: dict[str, float] | None = None,
        cache_teacher: bool = False,
    ) -> None:
        if init_from_teacher and pretrained:
            raise ValueError("The student starts from published weights (pretrained) or init_from_teacher: choose one.")
        network = make_network(student, student_args, pretrained, num_classes, in_chans, input_cfg)
        super().__init__(network, objectives, optimizer, warmup_epochs, sltt, save_memory, lr_factors)
        if cache_teacher:
            check_cacheable(objectives)
        self.cache_teacher = cache_teacher
        self.cache: TeacherCache | None = None
        self.teacher_name = teacher
        self.teacher: Network = make_teacher(teacher, num_classes, input_cfg)
        for objective in objectives:
            objective.build(network.feature_info, self.teacher.feature_info)
        self.init_from_teacher = init_from_teacher
        if init_from_teacher:  # refuses a teacher of another topology now
            copy_weights(network, self.teacher)
        self.val_agreement, self.test_agreement = self.make_accuracy(), self.make_accuracy()
        self.test_teacher_acc = self.make_accuracy()

    def on_fit_start(self) -> None:
        """Start the student from its teacher, unless a run goes on; every process sees the same first batches."""
        super().on_fit_start()
        self.cache = make_cache(self.trainer, self.teacher) if self.cache_teacher else None
        if self.init_from_teacher and not self.trainer.ckpt_path:
            loader = self.trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
            batches = [x.to(self.device) for x, _ in islice(loader, FIRST_BATCHES)]
            done = init_from_teacher(self.model, self.teacher, batches)
            rank_zero_info(f"{len(done.copied)} layers start from {self.teacher_name}; on their own: {done.left}.")

    def train(self, mode: bool = True) -> "DistillationModule":
        """Keep the teacher in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Find out which images this batch holds."""
        super().on_train_batch_start(batch, batch_idx)
        if self.cache:
            loader: Any = self.trainer.train_dataloader
            self.cache.choose(loader.sampler, self.current_epoch, batch_idx * loader.batch_size, loader.batch_size)

    @torch.no_grad()
    def read_teacher(self, x: Tensor) -> Outputs:
        """The teacher's logits [1, N, K] and features [1, N, C, H, W]; in training from the cache, if there is one."""
        return self.cache.read(x) if self.cache and self.training else read(self.teacher, x)

    def evaluate_teacher(self, student: Outputs, teacher: Outputs, target: Tensor, stage: str) -> None:
        """Agreement: the share of answers in which student and teacher are alike; in `test` the teacher's accuracy."""
        agreement = self.val_agreement if stage == "val" else self.test_agreement
        (ours, _), (theirs, expected) = (self.answers(outputs.logits, target) for outputs in (student, teacher))
        agreement(ours.float(), theirs.argmax(-1))
        self.log(f"{stage}/agreement", agreement, batch_size=len(expected))
        if stage == "test":
            self.test_teacher_acc(theirs.float(), expected)
            self.log("test/teacher_acc", self.test_teacher_acc, batch_size=len(expected))

    def teacher_facts(self) -> dict[str, Any]:
        """Name and licence of the teacher, for the record of a test and the card of the student."""
        network: Network = getattr(self.teacher, "model", self.teacher)
        cfg = network.pretrained_cfg
        return {"name": self.teacher_name, "architecture": cfg.get("architecture"), "license": cfg.get("license")}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the teacher out."""
        super().on_save_checkpoint(checkpoint)
        for key in [key for key in checkpoint["state_dict"] if key.startswith("teacher.")]:
            del checkpoint["state_dict"][key]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put this run's teacher in, so that loading stays strict."""
        super().on_load_checkpoint(checkpoint)
        checkpoint["state_dict"] |= {f"teacher.{key}": value for key, value in self.teacher.state_dict().items()}


def make_teacher(name: str, num_classes: int, input_cfg: Mapping[str, Any]) -> Network:
    """A frozen teacher for the data.

    Raises:
        ValueError: If its classes differ from those of the data, it cannot take the data, or its input statistics
            differ and it cannot be adapted.
    """
    model = zoo.create_model(name, pretrained=True)
    if model.num_classes != num_classes:
        raise ValueError(
            f"Teacher {name!r} knows {model.num_classes} classes, but the data has {num_classes}. Fine-tune it on the "
            f"data first: `snnzoo fit` with ClassificationModule, then give the run directory as the teacher."
        )
    check_input(name, model, input_cfg)
    teacher = model if isinstance(model, SpikingModel) else StillModel(model, input_cfg)
    if isinstance(model, SpikingModel) and tuple(model.pretrained_cfg["mean"]) != tuple(input_cfg["mean"]):
        raise ValueError(
            f"The spiking teacher {name!r} was trained on data normalised by mean "
            f"{tuple(model.pretrained_cfg['mean'])}; this data has {tuple(input_cfg['mean'])}. Normalise the data "
            "alike, or choose another teacher."
        )
    return teacher.requires_grad_(False).eval().to(memory_format=torch.channels_last)
