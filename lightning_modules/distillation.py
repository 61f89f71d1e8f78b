"""Training a spiking student under a teacher."""

from itertools import islice
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from zoo.model import Network, Outputs, SequenceModel, read
from zoo.teacher import Frames, channels
from zoo.transfer import copy_weights, init_from_teacher

from .module import ClassifierModule
from .networks import load_teacher, make_network, make_teacher, read_info
from .objectives import Objective, make_objectives
from .rules import choose_rule
from .rules.base import Batch
from .rules.sltt import SLTT
from .tasks import Task
from .tasks.base import make_accuracy
from .teacher_cache import TeacherCache, check_cacheable, make_cache

FIRST_BATCHES = 16  # of the training data, that fit the scale of a teacher's weights to spikes


class DistillationModule(ClassifierModule):
    r"""Trains a spiking student under a frozen teacher on a list of objectives. What is shared: `ClassifierModule`.

    The teacher is in evaluation mode, without gradient, never wrapped by a strategy of its own and never in a
    checkpoint. A non-spiking teacher reads the mean frame or every frame (`teacher_frames`), brought to its own
    statistics and size (`zoo.teacher.StillModel`); a spiking one reads the sequence.

    From Python, student and teacher may be modules, and objectives names. What the data are may stay open, if they come
    as both models take them:

        module = DistillationModule("sew_resnet_tiny", teacher, ["CrossEntropy", {"name": "LogitKD", "weight": 0.5}])
        Trainer(max_epochs=5).fit(module, DataLoader(TensorDataset(images, labels), batch_size=32))

    Args:
        student: A student (`snnzoo list`), a published checkpoint, or a run directory; from Python also a module.
        teacher: Any timm model with pretrained weights, `hf-hub:...`, `local-dir:...`, `architecture.tag` of a
            registry, or a run directory; from Python also a module, which is frozen in place.
        objectives: Objectives of the loss; from Python also names, see `make_objectives`.
        optimizer: The optimiser, by class_path; default: AdamW, learning rate 1e-3, weight decay 0.05.
        num_classes: Classes; default: those of the data, else of the teacher.
        in_chans: Channels; default: those of the data, else of the teacher.
        input_cfg: What the data are, see `zoo.data_info.DataInfo`; the CLI takes it from the data.
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
        teacher_frames: What a non-spiking teacher reads of a sequence: its mean frame, or every frame by itself
            (per_step), which gives it as many steps as the sequence.
        task: What an answer is, such as {class_path: Tokens}; default: the one that follows from the data.

    Raises:
        ValueError: If a name is unknown, the data does not fit student or teacher, the class counts differ, or a stage
            does not exist; if cache_teacher meets an objective that reads features, or, before training, sequences,
            several devices, or an augmentation or mix with too many views of an image.
    """

    def __init__(
        self,
        student: str | Network,
        teacher: str | Network,
        objectives: list[Objective],
        optimizer: OptimizerCallable | None = None,
        num_classes: int | None = None,
        in_chans: int | None = None,
        input_cfg: dict[str, Any] | None = None,
        student_args: dict[str, Any] | None = None,
        pretrained: bool = False,
        init_from_teacher: bool = False,
        warmup_epochs: float = 0.0,
        sltt: SLTT | None = None,
        save_memory: bool = False,
        lr_factors: dict[str, float] | None = None,
        cache_teacher: bool = False,
        teacher_frames: Frames = "mean",
        task: Task | None = None,
    ) -> None:
        if init_from_teacher and pretrained:
            raise ValueError("`pretrained` and `init_from_teacher` are mutually exclusive; set one.")
        terms = make_objectives(objectives)
        info, num_classes, in_chans = read_info(input_cfg, num_classes, in_chans)
        name = teacher if isinstance(teacher, str) else None
        if num_classes is None or in_chans is None:
            teacher = load_teacher(teacher)
            num_classes = num_classes or getattr(teacher, "num_classes", None)
            in_chans = in_chans or (channels(teacher) if hasattr(teacher, "pretrained_cfg") else None)
        network = make_network(student, student_args, pretrained, num_classes, in_chans, info)
        rule = choose_rule(sltt, save_memory)
        super().__init__(network, terms, optimizer, warmup_epochs, rule, task, lr_factors, info)
        if cache_teacher:
            check_cacheable(terms)
        self.cache_teacher = cache_teacher
        self.cache: TeacherCache | None = None
        self.teacher_name = name or type(teacher).__name__
        self.teacher: SequenceModel = make_teacher(
            load_teacher(teacher), name, num_classes, in_chans, info, teacher_frames
        )
        for objective in terms:
            objective.build(network.feature_info, self.teacher.feature_info)
        self.init_from_teacher = init_from_teacher
        if init_from_teacher:  # refuses a teacher of another topology now
            copy_weights(network, self.teacher)
        self.val_agreement, self.test_agreement, self.test_teacher_acc = (
            make_accuracy(self.num_classes) for _ in range(3)
        )

    def on_fit_start(self) -> None:
        """Start the student from its teacher, unless a run goes on; every process reads the same first batches.

        Raises:
            ValueError: If the student starts from its teacher, and there is no DataModule.
        """
        super().on_fit_start()
        self.cache = make_cache(self.trainer, self.teacher) if self.cache_teacher else None
        if self.init_from_teacher and not self.trainer.ckpt_path:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            if data is None:
                raise ValueError(
                    "init_from_teacher: expected the training data as a DataModule, found loaders. Call "
                    "zoo.init_from_teacher(student, teacher, batches), and give both models as modules."
                )
            loader = data.train_dataloader()
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

    def compare(self, student: Outputs, teacher: Outputs, target: Tensor, stage: str) -> None:
        """Log the fraction of answers on which student and teacher agree; in `test` also the teacher's accuracy."""
        agreement = self.val_agreement if stage == "val" else self.test_agreement
        (ours, _), (theirs, expected) = (self.task.answers(outputs.logits, target) for outputs in (student, teacher))
        agreement(ours.float(), theirs.argmax(-1))
        self.log(f"{stage}/agreement", agreement, batch_size=len(expected))
        if stage == "test":
            self.test_teacher_acc(theirs.float(), expected)
            self.log("test/teacher_acc", self.test_teacher_acc, batch_size=len(expected))

    def teacher_facts(self) -> dict[str, Any]:
        """Name and licence of the teacher, for the record of a test and the card of the student."""
        cfg = self.teacher.network.pretrained_cfg
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
