"""Pairs of a still image and a recording of the same class, by which a network on events learns from images."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from ..base import BaseDataModule
from ..loading import Batch, Key, Sample, SeededDataset, batches_done, collate
from ..survey import labels_of
from .pipeline import EventDataModule
from .twin import EventTwinDataModule


class StaticEventPairsDataModule(BaseDataModule):
    r"""Recordings, and in training for each of them a random still image of its class, drawn anew in every epoch.

    A training batch is x [T, 2 N, C, H, W], y [2 N]: N still images, then the N recordings; `x.chunk(2, 1)` gives both.
    So any module trains on it as it is. Validation and test batches are recordings only, those of `events`.

    A still image is resized (bilinear) to the frames; its HSV value, the maximum of R, G and B in 0..1, is what every
    channel and step sees. In training it slides into events: with probability

        P = progress^exponent,    progress = (e L + b) / (E L)

    (batch b of the L of epoch e of E) a still image is replaced by its recording, so that at the end all are events.

    Splits: those of `events`, for validation and test. Still images are training images of `images`, never others. If
    recordings were made of images that `images` has too, both need one split: no image of which a recording is in the
    test may be a training image. For an `EventTwinDataModule` leave `images` out, and it is so. Of N-Caltech101 the
    paper's code lets the first test image of every class slip into training (an index too many), and torchvision's
    Caltech101 has other classes in another order: split both by the number in the file's name.

    Args:
        events: The recordings, with their representation, augmentation and splits; batch size, workers and seed are the
            arguments here.
        images: The still images, colour or grey, and their augmentation. Default: the source of an event twin.
        exponent: How late images are replaced: 0 = all from the start, .inf = none.
        value_channel: False: luma (0.299 R + 0.587 G + 0.114 B) instead of the HSV value. The paper's code without HSV
            keeps the blue channel.
        batch_size: Recordings N per batch and device; a training batch has twice as many samples.
        num_workers: See `BaseDataModule`.
        seed: Of the order, the augmentation, the pairs and the replacements.

    Raises:
        ValueError: If a class of the recordings has no images of that name, if the data are not of these kinds or mix
            their samples (mixup and the like), or an argument is out of its range; in `setup`, if a class of the
            recordings has no training image.

    Source: knowledge transfer from static images to events, He et al., AAAI 2024, arXiv:2303.13077 (pairs by class,
    sliding training), and its code.
    """

    def __init__(
        self,
        events: BaseDataModule,
        images: BaseDataModule | None = None,
        exponent: float = 3.0,
        value_channel: bool = True,
        batch_size: int = 64,
        num_workers: int | None = None,
        seed: int = 0,
    ) -> None:
        if images is None and isinstance(events, EventTwinDataModule):
            images = events.source
        if images is None:
            raise ValueError(
                f"images: {type(events).__name__} is no event twin, so say which still images to pair with."
            )
        check_kinds(events, images)
        if not exponent >= 0:
            raise ValueError(f"exponent: expected at least 0, found {exponent}.")
        self.max_workers = max(events.max_workers, images.max_workers)
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.events, self.images, self.exponent, self.value_channel = events, images, exponent, value_channel
        self.label_of_image = match(events.label_names, images.label_names)
        self.num_classes, self.in_chans, self.image_size = events.num_classes, events.in_chans, events.image_size
        self.mean, self.std, self.label_names = events.mean, events.std, events.label_names

    @property
    def input_cfg(self) -> dict[str, Any]:
        """What a model must know of its input: what `events` says."""
        return self.events.input_cfg

    def prepare_data(self) -> None:
        """Get both datasets."""
        self.events.prepare_data()
        self.images.prepare_data()

    def load(self) -> dict[str, Dataset[Any]]:
        """The splits of the recordings; those for training in pairs."""
        self.events.setup("fit")
        images = self.images.load()["train"]
        number = len(images)  # type: ignore[arg-type]  # every source here has a length
        labels: NDArray[np.int64] = np.array(labels_of(images) or [int(images[n][1]) for n in range(number)])
        partners = [np.flatnonzero(labels == label) for label in self.label_of_image]
        if lonely := [str(name) for name, found in zip(self.label_names, partners, strict=True) if not len(found)]:
            raise ValueError(f"images: no training image of the classes {', '.join(lonely)}.")
        stills = SeededDataset(images, self.still())
        return {**self.events.splits, "train": Pairs(self.events.splits["train"], stills, partners)}

    def setup(self, stage: str) -> None:
        """Read both datasets once; their samples have their seeds and transforms already."""
        self.splits = self.splits or self.load()

    def still(self) -> nn.Module:
        """Image [T=1, 1 or 3, H, W] -> [T=1, C=1, H, W] as large as a frame, in 0..1."""
        augmentation = self.images.augmentation if self.images.augment else ()
        resize = v2.Resize(list(self.input_cfg["input_size"][1:]))
        grey = Value() if self.value_channel else v2.Grayscale()
        return v2.Compose([*augmentation, v2.ToDtype(torch.float32, scale=True), resize, grey])

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled batches of pairs."""
        loader = super().train_dataloader()
        loader.collate_fn = collate_pairs
        return loader

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Replace some of the still images of a training batch by their recordings."""
        if self.trainer is None or not self.trainer.training:
            return batch
        x, y = batch  # [T, 2 N, C, H, W], [2 N]
        moment = [self.seed, self.trainer.current_epoch, batches_done(self.trainer), self.trainer.global_rank]
        draws = np.random.default_rng(moment).random(len(y) // 2)  # a resumed run draws what the uninterrupted one had
        replaced = torch.from_numpy(draws < progress(self.trainer) ** self.exponent).to(x.device)
        stills, frames = x.chunk(2, 1)
        return torch.cat([torch.where(replaced[:, None, None, None], frames, stills), frames], 1), y


class Pairs(Dataset[Sample]):
    """Recordings, each beside a random still image of its class: [T, 2, C, H, W], first the image.

    Args:
        events: Recordings [T, C, H, W] and labels.
        stills: Images [T=1, C=1, H, W].
        partners: For every label of the recordings the indices of the images of its class.
    """

    def __init__(self, events: Dataset[Sample], stills: Dataset[Sample], partners: Sequence[NDArray[np.int64]]) -> None:
        self.events, self.stills, self.partners = events, stills, partners

    def __getitem__(self, key: int | Key) -> Sample:
        draw = np.random.default_rng(key[1] if isinstance(key, tuple) else key)
        frames, label = self.events[key]
        chosen, seed = int(draw.choice(self.partners[label])), int(draw.integers(2**63))
        still, _ = self.stills[chosen, seed, key[2] if isinstance(key, tuple) else 0]
        return torch.stack([still.expand_as(frames), frames], 1), label

    def __len__(self) -> int:
        return len(self.events)  # type: ignore[arg-type]  # every source here has a length


class Value(nn.Module):
    """The value channel of HSV, max(R, G, B); a grey image is its own."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., C, H, W] to [..., 1, H, W]."""
        return x.amax(-3, keepdim=True)


def collate_pairs(samples: list[Sample]) -> Batch:
    """Pairs [T, 2, C, H, W] -> x [T, 2 N, C, H, W], still images first, and y [2 N]."""
    x, y = collate(samples)  # [T, N, 2, C, H, W], [N]
    return x.transpose(1, 2).flatten(1, 2), y.repeat(2)


def progress(trainer: Trainer) -> float:
    """The part 0..1 of all batches of a fit that is done; 0 for a fit without an end."""
    length, epochs = int(trainer.num_training_batches), trainer.max_epochs or -1
    total = epochs * length if epochs > 0 else math.inf
    if trainer.max_steps >= 0:
        total = min(total, trainer.max_steps * trainer.accumulate_grad_batches)
    return min(1.0, (trainer.current_epoch * length + batches_done(trainer)) / total)


def match(events: Sequence[str], images: Sequence[str]) -> list[int]:
    """For every class of the recordings, in their order, the label that the images give to the class of that name.

    Raises:
        ValueError: If there is none; names all such classes.
    """
    labels = {name: label for label, name in enumerate(images)}
    if lonely := [name for name in events if name not in labels]:
        unused = [name for name in images if name not in events]
        raise ValueError(
            f"Recordings and images are paired by the names of their classes. Recordings without images: "
            f"{', '.join(lonely)}. Images without recordings: {', '.join(unused) or 'none'}. Give both the same names."
        )
    return [labels[name] for name in events]


def check_kinds(events: BaseDataModule, images: BaseDataModule) -> None:
    """Raise a ValueError unless there are frames to pair with images, and neither are mixed."""
    if events.sequence_ndim != 5:
        raise ValueError(f"events: expected frames [T, C, H, W], found the sequences of {type(events).__name__}.")
    if images.sequence_ndim != 5 or isinstance(images, EventDataModule) or images.in_chans not in (1, 3):
        raise ValueError(f"images: expected colour or grey images, found those of {type(images).__name__}.")
    for name, data in (("events", events), ("images", images)):
        if data.mixes():
            raise ValueError(f"{name}: mixup, cutmix and eventmix would take the class from a pair. Leave them off.")
