"""The answers of a frozen teacher, computed once for every training image and looked up later."""

import copy
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor

from zoo.model import Network, Outputs, read

from .objectives import Objective


class TeacherCache:
    r"""A teacher's logits for every training image as it is, and mirrored.

    The first time that an image is in a batch the teacher reads it, without translations and erased parts; mirrored, if
    `AlternatingFlip` mirrors it in this epoch. From the third epoch on (the second without flips) the teacher hardly
    runs in training any more. The cache holds V T K numbers for every image, T steps of the teacher.

    A batch says nothing of which images are in it. But the sampler's order is a pure function of the epoch, so the
    images of batch b of size B are the keys b B to (b + 1) B - 1 of it. The teacher always reads whole batches of the
    first V epochs, which hold every view of every image once, because the last bits of an answer depend on what else
    is in the batch. The cache is not saved: a resumed run computes the same batches again when it meets their images.

    Args:
        teacher: Frozen, in evaluation mode.
        images: The training images that the teacher sees, by (index, any seed, turn): `teacher_images` of the data.
        views: V, in how many ways it sees each: 2 if mirrored in odd turns, else 1.
    """

    def __init__(self, teacher: Network, images: Any, views: int) -> None:
        self.teacher, self.images, self.views = teacher, images, views
        self.blocks: list[Tensor] = []  # batches of the first epochs: index and view of each image [B, 2]
        self.block_of = torch.full((len(images), views), -1)
        self.done: set[int] = set()  # blocks
        self.logits: Tensor | None = None  # [images, V, T, K]
        self.epoch, self.order = -1, torch.empty(0, 2)  # index and view of the images of an epoch
        self.batch = self.order

    def choose(self, sampler: Any, epoch: int, start: int, size: int) -> None:
        """Say which images of an epoch are in the batch that is read next."""
        if not self.blocks:
            self.plan(copy.copy(sampler), size)
        if epoch != self.epoch:
            self.epoch, self.order = epoch, self.keys(sampler)
        self.batch = self.order[start : start + size]

    def plan(self, sampler: Any, size: int) -> None:
        """Find the batches of the first epochs."""
        for epoch in range(self.views):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
            keys = self.keys(sampler)
            for block in keys[self.block_of[*keys.T] < 0].split(size):
                self.block_of[*block.T] = len(self.blocks)
                self.blocks.append(block)

    def keys(self, sampler: Any) -> Tensor:
        """Index and view of the images of an epoch [n, 2]; `overfit_batches` of Lightning gives an index alone."""
        keys = (key if isinstance(key, tuple) else (key, 0, 0) for key in sampler)
        return torch.tensor([(index, turn % self.views) for index, _, turn in keys])

    @torch.no_grad()
    def read(self, x: Tensor) -> Outputs:
        """The teacher's logits [T, N, K] of the chosen batch, without features; x [1, N, C, H, W] is the batch."""
        assert x.shape[1] == len(self.batch)
        for number in self.block_of[*self.batch.T].unique().tolist():
            if number not in self.done:
                self.compute(self.blocks[number], x.device)
                self.done.add(number)
        assert self.logits is not None
        return Outputs(self.logits[*self.batch.T].transpose(0, 1))

    def compute(self, block: Tensor, device: torch.device) -> None:
        """Run the teacher on a block."""
        images = torch.stack([self.images[index, 0, view][0] for index, view in block.tolist()], 1)  # [1, B, C, H, W]
        found = read(self.teacher, images.to(device)).logits.transpose(0, 1)  # [B, T, K]
        if self.logits is None:
            self.logits = found.new_empty(len(self.images), self.views, *found.shape[1:])
        self.logits[*block.T] = found


def check_cacheable(objectives: list[Objective]) -> None:
    """Refuse what needs more of a teacher than its logits.

    Raises:
        ValueError: If a term reads features.
    """
    if reading := [objective.name for objective in objectives if objective.uses_features]:
        raise ValueError(
            f"cache_teacher: expected objectives that read the teacher's logits, found {', '.join(reading)}, which "
            "compares features. Use LogitKD or WSLD, or set cache_teacher: false."
        )


def make_cache(trainer: Trainer, teacher: Network) -> TeacherCache:
    """The empty cache of a fit.

    Raises:
        ValueError: If there are several devices, no DataModule, or the images of a batch have too many views.
    """
    if trainer.world_size > 1:
        raise ValueError(
            f"cache_teacher: expected one device, found {trainer.world_size}, each of which would cache all images. "
            "Set cache_teacher: false, or --trainer.devices 1."
        )
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    if not hasattr(data, "teacher_images"):
        raise ValueError("cache_teacher: expected a DataModule of this project, found other data. Set it to false.")
    return TeacherCache(teacher, *data.teacher_images())
