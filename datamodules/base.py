"""What all DataModules share: constants, splits, loaders, workers, mixing."""

import os
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from .images.transforms import without_shifts
from .loading import Batch, EpochSampler, Sample, SeededDataset, TrainLoader, batches_done, collate
from .splits import check_fraction


class BaseDataModule(LightningDataModule, ABC):
    """Loaders over three splits. A dataset states its constants and implements `load`.

    A batch is `(x, y)`: x `[T, N, C, H, W]` float32, normalised, T = 1 for images; y `[N]` int64. With mixup or cutmix,
    training batches have soft targets y `[N, K]` float32. Training data are a pure function of (seed, epoch, index),
    see `loading.py`. The splits do not depend on `seed`: runs that differ in it share their validation and test data.

    Args:
        batch_size: Samples per batch and device. An incomplete last training batch is dropped, unless it is the only
            one, so that no batch normalisation sees a single sample.
        num_workers: Loading processes per loader; None chooses: 0 for small sets in memory, else up to 4, leaving one
            core to the training process.
        seed: Of the order and the augmentation of the training data.
        mixup: Alpha of mixup, 0 = off. If cutmix is on too, each batch gets one of the two.
        cutmix: Alpha of cutmix, 0 = off.
        augment: Whether training images are augmented.
        val_fraction: Part of the official training data that becomes the validation split.
        augmentation: Transforms of a training image [T=1, C, H, W] that replace those of the dataset: classes of
            torchvision (`torchvision.transforms.v2.RandomCrop`) or of `image_augmentation`. Default: the dataset's.

    Raises:
        ValueError: If an argument is out of its range.
    """

    # The constants of a dataset.
    num_classes: int
    in_chans: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    label_names: Sequence[str]
    sequence_ndim = 5  # axes of x: 5 for images and frames, 4 for event clouds, 3 for spike trains, 2 for tokens
    augmentation: Sequence[nn.Module] = ()  # transforms of [T, C, H, W], before normalisation
    max_workers = 4

    def __init__(
        self,
        batch_size: int = 64,
        num_workers: int | None = None,
        seed: int = 0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        augment: bool = True,
        val_fraction: float = 0.1,
        augmentation: list[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        workers = min(self.max_workers, usable_cores() - 1) if num_workers is None else num_workers
        for name, value, lowest in (
            ("batch_size", batch_size, 1),
            ("num_workers", workers, 0),
            ("seed", seed, 0),
            ("mixup", mixup, 0),
            ("cutmix", cutmix, 0),
        ):
            if not value >= lowest:  # so that nan is refused, too
                raise ValueError(f"{name}: expected at least {lowest}, found {value}.")
        check_fraction("val_fraction", val_fraction)
        self.batch_size, self.num_workers, self.seed = batch_size, workers, seed
        self.mixup, self.cutmix, self.augment, self.val_fraction = mixup, cutmix, augment, val_fraction
        if augmentation is not None:
            self.augmentation = augmentation
        self.splits: dict[str, Dataset[Sample]] = {}

    @abstractmethod
    def load(self) -> dict[str, Dataset[Any]]:
        """Read the dataset: "train", "val" and "test", each of sequences `[T, C, H, W]` (uint8 or 0..1), labels."""

    @property
    def input_cfg(self) -> dict[str, Any]:
        """What a model and its metrics must know of the data: timm's words, and those of `zoo.data_info.DataInfo`."""
        return {
            "num_classes": self.num_classes,
            "in_chans": self.in_chans,
            "input_size": (self.in_chans, self.image_size, self.image_size),
            "mean": self.mean,
            "std": self.std,
            "label_names": list(self.label_names),
            "sequence_ndim": self.sequence_ndim,
        }

    def setup(self, stage: str) -> None:
        """Read the dataset once; the trainer calls this for each of fit, validate, test and predict."""
        if self.max_workers == 0:  # a choice, not an oversight: images in memory are faster than a queue
            warnings.filterwarnings("ignore", message=".*does not have many workers")
        if self.splits:
            return
        for split, source in self.load().items():
            self.splits[split] = SeededDataset(source, self.transform(split))

    def transform(self, split: str) -> nn.Module:
        """What the sequences of a split go through: augmentation in training, float32 in 0..1, normalisation."""
        augmentation = self.augmentation if self.augment and split == "train" else ()
        check_shapes(augmentation, (1, self.in_chans, self.image_size, self.image_size))
        late = [part for part in augmentation if getattr(part, "after_normalisation", False)]
        early = [part for part in augmentation if part not in late]
        return v2.Compose([*early, v2.ToDtype(torch.float32, scale=True), v2.Normalize(self.mean, self.std), *late])

    def teacher_images(self) -> tuple[SeededDataset, int]:
        """The training images as a cached teacher sees them, by (index, any seed, turn), and the number of views.

        See `without_shifts`. There are 2 views if they are mirrored in odd turns, else 1.

        Raises:
            ValueError: If the data are not still images, or the augmentation or a mix makes too many views of them.
        """
        train = self.splits["train"]
        images = self.sequence_ndim == 5 and type(self).transform is BaseDataModule.transform
        if not images or not isinstance(train, SeededDataset) or len(train[0][0]) > 1:
            raise ValueError(
                f"cache_teacher: expected a dataset of still images, found {type(self).__name__}. Set cache_teacher: "
                "false."
            )
        if mixes := self.mixes():
            raise ValueError(
                f"cache_teacher: expected batches that are not mixed, found {len(mixes)} of mixup and cutmix. Set them "
                "to 0, or cache_teacher: false."
            )
        kept = without_shifts(self.augmentation if self.augment else ())
        normalise = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(self.mean, self.std)]
        return SeededDataset(train.source, v2.Compose([*kept, *normalise])), 1 + len(kept) % 2

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled, augmented training batches; an epoch is chosen by the sampler's `set_epoch`."""
        source = self.splits["train"]
        sampler = EpochSampler(source, self.seed)  # type: ignore[arg-type]
        samples_per_device = len(sampler) // (self.trainer.world_size if self.trainer else 1)
        drop_last = samples_per_device >= self.batch_size
        left_out = samples_per_device % self.batch_size if drop_last else 0
        if left_out > samples_per_device / 10:
            rank_zero_info(
                f"Every epoch leaves out {left_out} of {samples_per_device} training samples, others each time: what "
                f"does not fill a batch of {self.batch_size}. A smaller batch_size leaves out fewer."
            )
        loader = TrainLoader(source, sampler=sampler, drop_last=drop_last, **self._loader_args())
        loader.trainer = self.trainer
        return loader

    def val_dataloader(self) -> DataLoader[Sample]:
        """Validation batches in a fixed order, without augmentation."""
        return DataLoader(self.splits["val"], **self._loader_args())

    def test_dataloader(self) -> DataLoader[Sample]:
        """Test batches in a fixed order, without augmentation."""
        return DataLoader(self.splits["test"], **self._loader_args())

    def predict_dataloader(self) -> DataLoader[Sample]:
        """The test batches."""
        return self.test_dataloader()

    def _loader_args(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
            "collate_fn": collate,
            "generator": torch.Generator(),  # else every loader draws a number from the global generator
        }

    @cached_property
    def _mix(self) -> nn.Module | None:
        mixes = self.mixes()
        return v2.RandomChoice(mixes) if mixes else None

    def mixes(self) -> list[nn.Module]:
        """What may mix a training batch: modules `(x [T, N, C, H, W], y [N]) -> (x, targets [N, K])`."""
        kinds = ((v2.MixUp, self.mixup), (v2.CutMix, self.cutmix))
        return [AllSteps(kind(alpha=alpha, num_classes=self.num_classes)) for kind, alpha in kinds if alpha > 0]

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Mix samples and targets of a training batch, if `mixes` has something that does; one of them, at random."""
        if self._mix is None or self.trainer is None or not self.trainer.training:
            return batch
        moment = [self.seed, self.trainer.current_epoch, batches_done(self.trainer), self.trainer.global_rank]
        with torch.random.fork_rng(devices=[]):  # a resumed run mixes as the uninterrupted one would have
            torch.default_generator.manual_seed(int(np.random.default_rng(moment).integers(2**63)))
            return self._mix(*batch)


def check_shapes(augmentation: Sequence[nn.Module], shape: tuple[int, ...]) -> None:
    """Try every transform on a black image, before training.

    Raises:
        ValueError: If one fails, or gives anything but an image of the same shape.
    """
    for part in augmentation:
        name = type(part).__name__
        expected = f"augmentation: expected transforms from images {shape} to images of the same shape"
        with torch.random.fork_rng(devices=[]):
            try:
                changed = part(torch.zeros(shape, dtype=torch.uint8))
            except (AttributeError, RuntimeError, TypeError, ValueError) as error:
                raise ValueError(f"{expected}, found {name}, which fails: {error}.") from error
        if not isinstance(changed, Tensor) or changed.shape != shape:
            found = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise ValueError(f"{expected}, found {name}, which gives {found}.")


class AllSteps(nn.Module):
    """A mix of images, which mixes all time steps of a sample alike.

    Args:
        mix: `(images [N, C, H, W], y [N]) -> (images, targets [N, K])`.
    """

    def __init__(self, mix: nn.Module) -> None:
        super().__init__()
        self.mix = mix

    def forward(self, x: Tensor, y: Tensor) -> Batch:
        """X [T, N, C, H, W] and targets [N, K]."""
        mixed, target = self.mix(x.transpose(0, 1).flatten(1, 2), y)  # [N, T*C, H, W], [N, K]
        return mixed.unflatten(1, (len(x), -1)).transpose(0, 1), target


def usable_cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
