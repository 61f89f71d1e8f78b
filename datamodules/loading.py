"""Loading that can be repeated exactly: what a sample looks like depends on (seed, epoch, index) and on nothing else.

Neither the number of workers, nor whether they persist, nor an interruption changes an epoch. Three small parts do it:
`EpochSampler` draws the order and one seed per sample, `SeededDataset` augments a sample with its seed, and
`TrainLoader` starts where an interrupted run stopped. `collate` is the only place where a batch gets its shape.
"""

from collections.abc import Iterator, Sized
from contextvars import ContextVar
from itertools import islice
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

Sample = tuple[Tensor, Any]  # sequence [T, C, H, W] and label, or a label for every step [T]; an image has T = 1
Batch = tuple[Tensor, Tensor]  # x [T, N, C, H, W] float32 and y [N] int64, or [T, N] of a label for every step
Key = tuple[int, int, int]  # index, sample_seed and turn of a training sample, see `EpochSampler`

current_turn: ContextVar[int] = ContextVar("current_turn", default=0)
"""The turn of the sample that is being transformed; see `EpochSampler`."""


class EpochSampler(Sampler[Key]):
    """A shuffled order of `(index, sample_seed, turn)`: a pure function of (seed, epoch).

    The seed of a sample differs in every epoch. Its turn is a random bit of (seed, index) plus the epoch: something
    that is done in odd turns is done to every sample in every other epoch, and to half of them in each.

    Lightning calls `set_epoch` before each epoch. With several devices it wraps this sampler in its
    `DistributedSamplerWrapper`, which passes `set_epoch` on and deals the pairs out to the devices.

    Args:
        source: The dataset to draw from; only its length matters.
        seed: Of the whole training run.
    """

    def __init__(self, source: Sized, seed: int) -> None:
        self.length, self.seed, self.epoch = len(source), seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Key]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order, seeds = rng.permutation(self.length), rng.integers(2**63, size=self.length)
        # A third number, so that no epoch has this generator. The bit of an index does not depend on the length.
        turns = np.random.default_rng([self.seed, 0, 1]).integers(2, size=self.length) + self.epoch
        yield from ((int(index), int(seeds[index]), int(turns[index])) for index in order)

    def __len__(self) -> int:
        return self.length


class SeededDataset(Dataset[Sample]):
    """A dataset seen through a transform whose random numbers come from the sample's own seed.

    During the transform `current_turn` is the turn of the sample.

    Args:
        source: Yields sequences `[T, C, H, W]` (uint8, or float in 0..1) and labels.
        transform: Sequence `[T, C, H, W]` -> float32 sequence, drawing from torch's CPU generator.
    """

    def __init__(self, source: Dataset[Sample], transform: nn.Module) -> None:
        self.source, self.transform = source, transform

    def __getitem__(self, key: int | Key) -> Sample:
        # A plain index comes from the loaders that do not augment, and from Lightning's `overfit_batches`.
        index, seed, turn = key if isinstance(key, tuple) else (key, key, 0)
        sequence, label = self.source[index]
        label = label if np.ndim(label) else int(label)
        before = current_turn.set(turn)
        with torch.random.fork_rng(devices=[]):  # without workers this is the training process: leave its numbers alone
            torch.default_generator.manual_seed(seed)  # unlike torch.manual_seed, does not wake CUDA up in a worker
            try:
                return self.transform(sequence), label
            finally:
                current_turn.reset(before)

    def __len__(self) -> int:
        return len(self.source)  # type: ignore[arg-type]  # every source here has a length


def collate(samples: list[Sample]) -> Batch:
    """Samples of `[T, C, H, W]` -> x `[T, N, C, H, W]`, y `[N]` or `[T, N]`: time comes first, only here.

    Sequences of different lengths are filled up with zeros, steps without an event, to the longest one's T.
    """
    sequences, labels = zip(*samples, strict=True)
    alike = len({len(sequence) for sequence in sequences}) == 1
    x = torch.stack(sequences, dim=1) if alike else pad_sequence(list(sequences))
    by_step = np.ndim(labels[0]) == 1
    return x, torch.stack(labels, dim=1) if by_step else torch.tensor(labels)


class TrainLoader(DataLoader[Sample]):
    """A DataLoader that begins an epoch when its first batch is asked for, and where an interrupted run stopped.

    Lightning makes the iterator before it calls `set_epoch`. Workers would start at once and, after a resume, load the
    beginning of epoch 0; a generator waits for the first batch. By then the trainer has restored its progress, which
    says how many batches of the epoch are done. Only the loader that the trainer trains on leaves them out.
    """

    trainer: Trainer | None = None  # set by the DataModule

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator instead of torch's iterator class
        training = self.trainer is not None and self.trainer.train_dataloader is self
        done = batches_done(self.trainer) if self.trainer and training else 0
        yield from islice(super().__iter__(), done, None)

    def state_dict(self) -> dict[str, Any]:
        """Nothing, since the progress of the trainer says it all; Lightning warns of a loader without this method."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing. Lightning calls it only if no schedule asked for the loader before the progress was restored."""


def batches_done(trainer: Trainer) -> int:
    """How many batches of the current epoch have been trained on; inside the hooks before a step, the batch's index."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready
