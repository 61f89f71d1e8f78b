"""The answers of a frozen teacher, computed once for every training image and looked up later."""

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
    images of batch b of size B are the keys b B to (b + 1) B - 1 of it. The cache is not saved: a resumed run computes
    again what it meets.

    Args:
        teacher: Frozen, in evaluation mode.
        images: The training images that the teacher sees, by (index, any seed, turn): `teacher_images` of the data.
        views: V, in how many ways it sees each: 2 if mirrored in odd turns, else 1.
    """

    def __init__(self, teacher: Network, images: Any, views: int) -> None:
        self.teacher, self.images, self.views = teacher, images, views
        self.epoch = -1
        self.keys: list[tuple[int, int]] = []  # index and view of the images of an epoch, in the order of its batches
        self.batch: list[tuple[int, int]] = []
        self.known = torch.zeros(len(images), views, dtype=torch.bool)
        self.logits: Tensor | None = None  # [images, V, T, K]

    def choose(self, sampler: Any, epoch: int, start: int, size: int) -> None:
        """Say which images of an epoch are in the batch that is read next.

        A plain index is of Lightning's `overfit_batches`, which mirrors nothing.
        """
        if epoch != self.epoch:
            keys = [key if isinstance(key, tuple) else (key, 0, 0) for key in sampler]
            self.epoch, self.keys = epoch, [(index, turn % self.views) for index, _, turn in keys]
        self.batch = self.keys[start : start + size]

    @torch.no_grad()
    def read(self, x: Tensor) -> Outputs:
        """The teacher's logits [T, N, K] of the chosen batch, without features; x [1, N, C, H, W] is the batch."""
        assert x.shape[1] == len(self.batch)
        if missing := [key for key in dict.fromkeys(self.batch) if not self.known[key]]:
            images = torch.stack([self.images[index, 0, view][0] for index, view in missing], 1)  # [1, M, C, H, W]
            found = read(self.teacher, images.to(x.device)).logits.transpose(0, 1)  # [M, T, K]
            if self.logits is None:
                self.logits = found.new_empty(len(self.images), self.views, *found.shape[1:])
            rows, views = torch.tensor(missing).T
            self.logits[rows, views], self.known[rows, views] = found, True
        rows, views = torch.tensor(self.batch).T
        assert self.logits is not None
        return Outputs(self.logits[rows, views].transpose(0, 1))


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
