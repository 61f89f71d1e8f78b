"""What all data sets of event recordings share: from a file to frames, cached, augmented, cut into windows."""

import dataclasses
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from .base import BaseDataModule
from .disk_cache import Arrays, Cache, code_of, default_folder, key_of
from .event_augmentation import EventMix
from .event_files import read_events
from .events import DataError, Events, SensorSize
from .frames import Frames, Representation, in_sensor
from .image_augmentation import ImageAugmentation

EVENT_TYPES = (np.int64, np.int16, np.int16, np.uint8)  # of t, x, y and p


@dataclass(frozen=True)
class Clip:
    """One sample: a recording, or a part of one.

    Args:
        file: The recording.
        label: Its class.
        start: Time at which the sample begins, µs on the clock of the recording; None: with the recording.
        stop: Time before which it ends; None: with the recording.
    """

    file: Path
    label: int
    start: int | None = None
    stop: int | None = None

    def fingerprint(self) -> list[Any]:
        """What changes when the recording changes."""
        stat = self.file.stat()
        return [str(self.file.absolute()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, self.start, self.stop]


def read_clip(clip: Clip, **kwargs: Any) -> Events:
    """The events of a clip, of a file of any known format; the arguments are those of `read_events`."""
    return between(read_events(clip.file, **kwargs), clip.start, clip.stop)


def between(events: Events, start: int | None, stop: int | None) -> Events:
    """The events from start on and before stop."""
    if start is None and stop is None:
        return events
    chosen = np.ones(len(events), bool) if start is None else events.t >= start
    return events[chosen if stop is None else chosen & (events.t < stop)]


class Recordings(Dataset[Any]):
    """Clips as events, or as arrays of a representation; made once, then found in the cache.

    Args:
        clips: The samples.
        reader: Clip -> its events.
        sensor_size: (W, H, P) of the camera.
        size: (H, W) to which coordinates are scaled: x becomes floor(x * W / W of the camera), so no event is lost.
        filters: Events -> events, one after another, the same ones always.
        representation: Events -> array; None for the events themselves.
        cache: Where results are kept.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        reader: Callable[[Clip], Events],
        sensor_size: SensorSize,
        size: tuple[int, int],
        filters: Sequence[nn.Module],
        representation: Representation | None,
        cache: Cache,
    ) -> None:
        self.clips, self.reader, self.sensor_size, self.size = clips, reader, sensor_size, size
        self.filters, self.representation, self.cache = filters, representation, cache
        self.how = [described(part) for part in (reader, sensor_size, size, *filters)]

    def __getitem__(self, index: int) -> tuple[Tensor | Events, int]:
        clip = self.clips[index]
        if self.representation is None:
            return self.events(clip), clip.label
        key = key_of(clip.fingerprint(), self.how, described(self.representation))
        return torch.from_numpy(self.cache.recall(key, lambda: self.represented(clip))["x"]), clip.label

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def targets(self) -> list[int]:
        """The class of every sample."""
        return [clip.label for clip in self.clips]

    def represented(self, clip: Clip) -> Arrays:
        """The array x of a clip."""
        assert self.representation is not None
        with naming(clip.file):
            return {"x": self.representation(self.read(clip), self.scaled)}

    def events(self, clip: Clip) -> Events:
        """The events of a clip, from the cache if they are there."""

        def arrays() -> Arrays:
            events = self.read(clip)
            return {"t": events.t, "x": events.x, "y": events.y, "p": events.p}

        kept = self.cache.recall(key_of(clip.fingerprint(), self.how, "events"), arrays)
        t, x, y, p = (kept[name].astype(kind) for name, kind in zip("txyp", EVENT_TYPES, strict=True))
        return Events(t, x, y, p, self.scaled)

    def read(self, clip: Clip) -> Events:
        """The events of a clip, read from its file, scaled and filtered."""
        with naming(clip.file):
            events = scaled(in_sensor(self.reader(clip), self.sensor_size), self.sensor_size, self.scaled)
            for step in self.filters:
                events = step(events)
        return events

    @property
    def scaled(self) -> SensorSize:
        """(W, H, P) after scaling."""
        return self.size[1], self.size[0], self.sensor_size[2]


class Facts(NamedTuple):
    """What a recording holds: its number of events, of ON events, its duration in µs, and the sensor it needs."""

    events: int
    on: int
    duration: int
    width: int
    height: int


def facts(clip: Clip, reader: Callable[[Clip], Events], cache: Cache) -> Facts:
    """The facts of a clip; its file is read once, then the cache knows."""

    def measured() -> Arrays:
        with naming(clip.file):
            events = reader(clip)
        width, height = (int(values.max(initial=-1)) + 1 for values in (events.x, events.y))
        if events.sensor_size is not None:
            width, height = events.sensor_size[:2]
        return {"facts": np.array([len(events), int(events.p.sum()), events.duration, width, height])}

    key = key_of(clip.fingerprint(), described(reader), "facts")
    return Facts(*cache.recall(key, measured)["facts"].tolist())


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Any ValueError becomes a DataError that names the file."""
    try:
        yield
    except DataError:
        raise
    except ValueError as error:
        raise DataError(file, str(error)) from error


def scaled(events: Events, old: SensorSize, new: SensorSize) -> Events:
    """Events of a sensor as if it had the new width and height."""
    x, y = (
        values if was == is_ else (values.astype(np.int64) * is_ // was).astype(np.int16)
        for values, was, is_ in ((events.x, old[0], new[0]), (events.y, old[1], new[1]))
    )
    return dataclasses.replace(events, x=x, y=y, sensor_size=new)


def described(part: Any) -> Any:
    """What tells a part of the reading from another one: its name, its code and its numbers."""
    kind = part if callable(part) and hasattr(part, "__qualname__") else type(part)  # a function, or the class
    name = f"{kind.__module__}.{kind.__qualname__} {code_of(kind.__module__)}"
    if kind is part:
        return name
    if isinstance(part, partial):
        return [described(part.func), part.args, part.keywords]
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return [name, dataclasses.asdict(part)]
    if isinstance(part, nn.Module):
        fields = {key: value for key, value in vars(part).items() if not key.startswith("_")}
        return [name, fields, *map(described, part.children())]
    return part


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
    """Recordings of event cameras, as sequences [T, C, H, W] of their representation. A data set gives its `find`.

    From file to batch: read, scale to `size`, `filters`, `representation`, float32. What comes out is cached; training
    data that are augmented are cached as events before the representation. Splits: those of the data set.

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
                raise ValueError(f"{name} is a time in ms and must be 0.001 (1 µs) to 1e12, got {value}.")
        if stride_ms is not None and (window_ms is None or stride_ms > window_ms):
            raise ValueError(f"stride_ms must be at most window_ms, or events are lost; got {stride_ms}, {window_ms}.")
        for name, value in (("eventmix", eventmix), ("min_events", min_events), ("cache_gb", cache_gb)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {value}.")
        chosen = {"mixup": self.mixup, "cutmix": self.cutmix, "eventmix": eventmix}
        if representation and representation.sequence_ndim != 5 and any(chosen.values()):
            mixing = " and ".join(name for name, alpha in chosen.items() if alpha)
            raise ValueError(f"{mixing} mixes frames; {type(representation).__name__} gives none. Leave it off.")
        if of_images := [type(part).__name__ for part in augmentation if isinstance(part, ImageAugmentation)]:
            raise ValueError(
                f"augmentation: expected transforms of events, found {', '.join(of_images)}, which changes images. "
                "See datamodules.event_augmentation."
            )
        if on_error not in ("raise", "skip"):
            raise ValueError(f'on_error must be "raise" or "skip", got {on_error!r}.')
        self.root, self.representation = Path(root), representation or Frames(num_steps=10)
        self.filters, self.augmentation, self.eventmix = filters, augmentation, eventmix
        self.window_ms, self.stride_ms, self.min_events, self.on_error = window_ms, stride_ms, min_events, on_error
        self.cache = Cache(Path(cache_dir) if cache_dir else default_folder("events"), int(cache_gb * 1e9))
        self.wanted_size = (size, size) if isinstance(size, int) else size
        self.reader: Callable[[Clip], Events] = read_clip  # a data set with a format of its own changes it
        self.left_out: list[str] = []

    @abstractmethod
    def find(self) -> dict[str, list[Clip]]:
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
                f"size must be at least 1 and at most the sensor's height and width, {height} x {width}; got {size}."
            )
        return size

    @property
    def in_chans(self) -> int:  # type: ignore[override]  # a constant of other data sets
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

    def recordings(self, clips: Sequence[Clip], representation: Representation | None) -> Recordings:
        """Clips, as samples of a representation, or as events."""
        return Recordings(clips, self.reader, self.sensor_size, self.size, self.filters, representation, self.cache)

    def load(self) -> dict[str, Dataset[Any]]:
        """Find the files; cut them into windows, and read them all, if the arguments ask for it."""
        self.left_out = []
        splits: dict[str, Dataset[Any]] = {}
        for split, clips in self.find().items():
            kept = [part for clip in clips for part in self.parts(clip)]
            if not kept:
                raise ValueError(f"{self.root}: no sample is left in the {split} split. {self.summary()}")
            augmented = split == "train" and self.augment and len(self.augmentation) > 0
            splits[split] = self.recordings(kept, None if augmented else self.representation)
        if self.left_out:
            warnings.warn(self.summary(), stacklevel=2)
        return splits

    def mixes(self) -> list[nn.Module]:
        """Those of images, and EventMix."""
        return super().mixes() + ([EventMix(self.eventmix, self.num_classes)] if self.eventmix > 0 else [])

    def summary(self) -> str:
        """What was left out."""
        shown = "; ".join(self.left_out[:3]) + ("; ..." if len(self.left_out) > 3 else "")
        return f"Left out {len(self.left_out)} samples: {shown.rstrip('.')}." if self.left_out else ""

    def parts(self, clip: Clip) -> list[Clip]:
        """The samples of a clip that are used: itself, or its windows."""
        if self.window_ms is None and not self.min_events and self.on_error == "raise":
            return [clip]
        recordings = self.recordings([clip], None)
        key = key_of(clip.fingerprint(), recordings.how, self.window_ms, self.stride_ms)
        try:
            found = self.cache.recall(key, lambda: {"windows": self.windows(recordings.read(clip))})["windows"]
        except DataError as error:
            if self.on_error == "raise":
                raise
            self.left_out.append(str(error))
            return []
        kept = []
        for begin, end, count in found.tolist():
            stop = end if clip.stop is None else min(end, clip.stop)  # behind a clip may stand another one's events
            if count >= self.min_events:
                kept.append(clip if self.window_ms is None else dataclasses.replace(clip, start=begin, stop=stop))
            else:
                self.left_out.append(
                    f"{clip.file} from {begin} to {stop} µs: {count} events, fewer than {self.min_events}"
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
