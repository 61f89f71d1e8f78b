"""Base class of datasets of event recordings: from a file to a batch of frames, cached, augmented, cut into windows."""

import dataclasses
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..base import BaseDataModule
from ..cache import Arrays, Cache, default_folder, key_of
from ..errors import DataError
from ..images.transforms import ImageAugmentation
from .arrays import Events, SensorSize
from .augmentation.mixing import EventMix
from .frames import Frames, Representation
from .recordings import EventSample, Recordings, read_sample


class ToFloat(nn.Module):
    """Events, or what the cache kept of them, to what a network sees.

    Args:
        representation: Of events.
    """

    def __init__(self, representation: Representation) -> None:
        super().__init__()
        self.representation = representation

    def forward(self, sample: Events | Tensor) -> Tensor:
        """Float32 [T, C, H, W] of augmented events, which know their sensor's size, or of an array from the cache."""
        if isinstance(sample, Events):
            assert sample.sensor_size is not None
            sample = torch.from_numpy(self.representation(sample, sample.sensor_size))
        return self.representation.to_float(sample)


class EventDataModule(BaseDataModule, ABC):
    """Recordings of event cameras, as sequences [T, C, H, W] of their representation. A dataset gives its `find`.

    From file to batch: read, scale to `size`, `filters`, `representation`, float32. What comes out is cached; training
    data that are augmented are cached as events before the representation. Splits: those of the dataset.

    Args:
        root: Folder of the data.
        representation: What becomes of the events of a sample; default: `Frames(num_steps=10)`.
        size: H and W, or one number for both, to which coordinates are scaled; default: those of the camera.
        filters: Events -> events, in all splits: `Denoise`, `Refractory`.
        augmentation: Events -> events, at random, in training only: see `event_augmentation`.
        eventmix: Alpha of `EventMix`, 0 = off; as with mixup and cutmix, a batch gets one of those that are on.
        window_ms: Cut every recording into windows of this length, each a sample with the class of its recording;
            windows of one recording stay in one split. What is left at the end of a recording is a shorter window.
        stride_ms: From the beginning of a window to that of the next; default: window_ms, so that no event is lost.
        min_events: Leave out samples of fewer events; how many is said.
        on_error: "raise", or "skip": leave out recordings that cannot be read, and say which; all are read first.
        cache_dir: Folder of the cache; default: $SNNZOO_CACHE/events, by default ~/.cache/snnzoo/events.
        cache_gb: Size that the cache may have, GB; 0: no cache.
        kwargs: Arguments of `BaseDataModule`.

    Raises:
        FileNotFoundError: If the data are not there.
        ValueError: If an argument is out of its range.
        DataError: If a file cannot be read, or an event is outside of the sensor.
    """

    sensor_size: SensorSize  # W, H, P, as in tonic
    home: ClassVar[str] = ""  # where to get the data

    def __init__(
        self,
        root: str = "data",
        representation: Representation | None = None,
        size: int | tuple[int, int] | None = None,
        filters: Sequence[nn.Module] = (),
        augmentation: Sequence[nn.Module] = (),
        eventmix: float = 0.0,
        window_ms: float | None = None,
        stride_ms: float | None = None,
        min_events: int = 0,
        on_error: Literal["raise", "skip"] = "raise",
        cache_dir: str | None = None,
        cache_gb: float = 20.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        stride_ms = window_ms if stride_ms is None else stride_ms
        for name, value in (("window_ms", window_ms), ("stride_ms", stride_ms)):
            if value is not None and not 1e-3 <= value <= 1e12:
                raise ValueError(f"{name}: expected a time in ms, 0.001 (1 µs) to 1e12, found {value}.")
        if stride_ms is not None and (window_ms is None or stride_ms > window_ms):
            raise ValueError(f"stride_ms: expected at most window_ms ({window_ms}), found {stride_ms}.")
        for name, value in (("eventmix", eventmix), ("min_events", min_events), ("cache_gb", cache_gb)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}: expected at least 0 and finite, found {value}.")
        chosen = {"mixup": self.mixup, "cutmix": self.cutmix, "eventmix": eventmix}
        if representation and representation.sequence_ndim != 5 and any(chosen.values()):
            mixing = " and ".join(name for name, alpha in chosen.items() if alpha)
            raise ValueError(f"{mixing} mixes frames; {type(representation).__name__} gives none. Leave it off.")
        if of_images := [type(part).__name__ for part in augmentation if isinstance(part, ImageAugmentation)]:
            raise ValueError(
                f"augmentation: expected transforms of events, found {', '.join(of_images)}, which changes images. "
                "See datamodules.events.augmentation.all."
            )
        if on_error not in ("raise", "skip"):
            raise ValueError(f'on_error: expected "raise" or "skip", found {on_error!r}.')
        self.root, self.representation = Path(root), representation or Frames(num_steps=10)
        self.filters, self.augmentation, self.eventmix = filters, augmentation, eventmix
        self.window_ms, self.stride_ms, self.min_events, self.on_error = window_ms, stride_ms, min_events, on_error
        self.cache = Cache(Path(cache_dir) if cache_dir else default_folder("events"), int(cache_gb * 1e9))
        self.wanted_size = (size, size) if isinstance(size, int) else size
        self.reader: Callable[[EventSample], Events] = read_sample  # a dataset with a format of its own changes it
        self.left_out: list[str] = []
        self.dropped: dict[Path, int] = {}  # events outside of the sensor
        self.any_camera = self.drop_outside = False  # see `Recordings`; a dataset of files of any camera changes them

    @abstractmethod
    def find(self) -> dict[str, list[EventSample]]:
        """The samples of "train", "val" and "test", in an order that depends on their names only."""

    @property
    def size(self) -> tuple[int, int]:
        """H and W of a frame.

        Raises:
            ValueError: If it is larger than the sensor: most pixels would stay empty.
        """
        width, height, _ = self.sensor_size
        size = self.wanted_size or (height, width)
        if not (1 <= size[0] <= height and 1 <= size[1] <= width):
            raise ValueError(
                f"size: expected at least 1 and at most the sensor's {height} x {width} (height, width), found {size}."
            )
        return size

    @property
    def in_chans(self) -> int:  # type: ignore[override]  # a constant of other datasets
        """C, of the representation."""
        return self.input_size[0]

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(C, H, W) of a sample."""
        return self.representation.input_size((self.size[1], self.size[0], self.sensor_size[2]))

    @property
    def mean(self) -> tuple[float, ...]:  # type: ignore[override]
        """0: counts are not normalised."""
        return (0.0,) * self.in_chans

    @property
    def std(self) -> tuple[float, ...]:  # type: ignore[override]
        """1: counts are not normalised."""
        return (1.0,) * self.in_chans

    @property
    def image_size(self) -> int:  # type: ignore[override]
        """H."""
        return self.input_size[1]

    @property
    def sequence_ndim(self) -> int:  # type: ignore[override]
        """Axes of x."""
        return self.representation.sequence_ndim

    @property
    def input_cfg(self) -> dict[str, Any]:
        """What a model must know of its input: also the number of steps, if all samples have as many."""
        steps = getattr(self.representation, "num_steps", None)
        return super().input_cfg | {"input_size": self.input_size} | ({"num_steps": steps} if steps else {})

    def recordings(self, samples: Sequence[EventSample], representation: Representation | None) -> Recordings:
        """A dataset of samples as arrays of a representation, or as events."""
        how = (self.reader, self.sensor_size, self.size, self.filters, representation, self.cache)
        return Recordings(samples, *how, self.any_camera, self.drop_outside)

    def load(self) -> dict[str, Dataset[Any]]:
        """Find the files; cut them into windows, and read them all, if the arguments ask for it."""
        self.left_out, self.dropped = [], {}
        splits: dict[str, Dataset[Any]] = {}
        for split, samples in self.find().items():
            kept = [part for sample in samples for part in self.parts(sample)]
            if not kept:
                raise ValueError(f"{self.root}: no sample is left in the {split} split. {self.summary()}")
            augmented = split == "train" and self.augment and len(self.augmentation) > 0
            splits[split] = self.recordings(kept, None if augmented else self.representation)
        if summary := self.summary():
            warnings.warn(summary, stacklevel=2)
        return splits

    def mixes(self) -> list[nn.Module]:
        """Those of images, and EventMix."""
        return super().mixes() + ([EventMix(self.eventmix, self.num_classes)] if self.eventmix > 0 else [])

    def summary(self) -> str:
        """What was left out."""
        dropped = [f"{file}: {count}" for file, count in self.dropped.items() if count]
        events = f"{sum(self.dropped.values())} events outside of the sensor"
        parts = ((f"{len(self.left_out)} samples", self.left_out), (events, dropped))
        return " ".join(
            f"Left out {what}: {'; '.join(where[:3]).rstrip('.')}{'; ...' if len(where) > 3 else '.'}"
            for what, where in parts
            if where
        )

    def parts(self, sample: EventSample) -> list[EventSample]:
        """The parts of a sample that are used: itself, or its windows."""
        recordings = self.recordings([sample], None)
        checked = self.min_events or self.on_error == "skip" or recordings.drop_outside
        if self.window_ms is None and not checked:
            return [sample]
        key = key_of(sample.fingerprint(), recordings.how, self.window_ms, self.stride_ms)

        def measured() -> Arrays:
            events, dropped = recordings.read_and_count(sample)
            return {"windows": self.windows(events), "dropped": np.array([dropped])}

        try:
            found = self.cache.recall(key, measured)
        except DataError as error:
            if self.on_error == "raise":
                raise
            self.left_out.append(str(error))
            return []
        self.dropped[sample.file] = self.dropped.get(sample.file, 0) + int(found["dropped"][0])
        kept = []
        for begin, end, count in found["windows"].tolist():
            stop = end if sample.stop is None else min(end, sample.stop)  # later events belong to another sample
            if count >= self.min_events:
                kept.append(sample if self.window_ms is None else dataclasses.replace(sample, start=begin, stop=stop))
            else:
                self.left_out.append(
                    f"{sample.file} from {begin} to {stop} µs: {count} events, fewer than {self.min_events}"
                )
        return kept

    def windows(self, events: Events) -> NDArray[np.int64]:
        """Begin, end (excluded) and number of events of every window [n, 3]; of the whole without windows."""
        t = np.sort(events.t)
        first, last = (int(t[0]), int(t[-1])) if len(t) else (0, 0)
        if self.window_ms is None or self.stride_ms is None:
            return np.array([[first, last + 1, len(t)]], np.int64)
        length, stride = round(self.window_ms * 1000), round(self.stride_ms * 1000)
        after_first = max(0, -((first + length - last - 1) // stride))  # windows until the last event is in one
        begins = first + stride * np.arange(after_first + 1)
        return np.stack([begins, begins + length, np.searchsorted(t, begins + length) - np.searchsorted(t, begins)], 1)

    def transform(self, split: str) -> nn.Module:
        """Augmentation and representation of events, in training; to float32."""
        augmentation = self.augmentation if split == "train" and self.augment else ()
        return nn.Sequential(*augmentation, ToFloat(self.representation))
