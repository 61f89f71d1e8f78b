"""The numbers of a dataset before training: samples, classes, events."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import TensorDataset

from .base import BaseDataModule
from .events.recordings import Recordings, RecordingStats, recording_stats

MOST_SURVEYED = 500  # recordings of a split whose events are counted


@dataclass
class Split:
    """One split of a dataset.

    Args:
        samples: Number of samples.
        classes: Samples of every class; empty if a sample has no class.
        surveyed: Numbers of recordings, evenly spaced over the split; empty if they are no recordings.
    """

    samples: int
    classes: dict[str, int]
    surveyed: list[RecordingStats]


def survey(data: BaseDataModule) -> dict[str, Split]:
    """The numbers of every split of a dataset that is set up."""
    return {split: survey_split(data, source_of(data.splits[split])) for split in ("train", "val", "test")}


def source_of(split: Any) -> Any:
    """What a split is made of: the samples as they are before their transform; of pairs, the recordings."""
    return getattr(split, "events", split).source


def survey_split(data: BaseDataModule, source: Any) -> Split:
    """The numbers of one split."""
    counts = Counter(labels_of(source)) if data.sequence_ndim > 2 else Counter()  # a text has no classes
    classes = {name: counts[label] for label, name in enumerate(data.label_names)} if counts else {}
    surveyed = []
    if isinstance(source, Recordings):
        some = np.unique(np.linspace(0, len(source) - 1, min(len(source), MOST_SURVEYED)).astype(int))
        surveyed = [recording_stats(source.samples[i], source.reader, source.cache) for i in some]
    return Split(len(source), classes, surveyed)


def labels_of(source: Any) -> list[int]:
    """The class of every sample, if the dataset knows them without loading samples; else nothing."""
    labels = source.tensors[1] if isinstance(source, TensorDataset) else getattr(source, "targets", [])
    labels = np.asarray(labels)
    return labels.tolist() if labels.ndim == 1 else []
