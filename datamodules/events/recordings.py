"""Samples of recordings: read from their file, scaled, filtered, represented, and kept in the cache."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..cache import Arrays, Cache, code_of, key_of
from ..errors import naming
from .arrays import Events, SensorSize
from .frames import Representation, in_sensor
from .readers.binary import OutsideError
from .readers.formats import read_events

EVENT_TYPES = (np.int64, np.int16, np.int16, np.uint8)  # of t, x, y and p


@dataclass(frozen=True)
class EventSample:
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


def read_sample(sample: EventSample, keep_outside: bool = False, **kwargs: Any) -> Events:
    """The events of a sample, of a file of any known format.

    Args:
        sample: The sample.
        keep_outside: Whether events outside of the camera are returned with the others, and are no error.
        kwargs: Arguments of `read_events`.

    Raises:
        DataError: See `read_events`.
    """
    try:
        events = read_events(sample.file, **kwargs)
    except OutsideError as error:
        if not keep_outside or error.events is None:
            raise
        events = error.events
    return between(events, sample.start, sample.stop)


def between(events: Events, start: int | None, stop: int | None) -> Events:
    """The events from start on and before stop."""
    if start is None and stop is None:
        return events
    chosen = np.ones(len(events), bool) if start is None else events.t >= start
    return events[chosen if stop is None else chosen & (events.t < stop)]


class Recordings(Dataset[Any]):
    """Clips as events, or as arrays of a representation; made once, then found in the cache.

    Args:
        samples: The samples.
        reader: EventSample -> its events.
        sensor_size: (W, H, P) of the camera.
        size: (H, W) to which coordinates are scaled: x becomes floor(x * W / W of the camera), so no event is lost.
        filters: Events -> events, one after another, the same ones always.
        representation: Events -> array; None for the events themselves.
        cache: Where results are kept.
        any_camera: Whether a recording that states its camera is scaled by that, and only the others by `sensor_size`.
        drop_outside: Whether events outside of the sensor are dropped, and are no error.
    """

    def __init__(
        self,
        samples: Sequence[EventSample],
        reader: Callable[[EventSample], Events],
        sensor_size: SensorSize,
        size: tuple[int, int],
        filters: Sequence[nn.Module],
        representation: Representation | None,
        cache: Cache,
        any_camera: bool = False,
        drop_outside: bool = False,
    ) -> None:
        self.any_camera, self.drop_outside = any_camera, drop_outside
        self.samples, self.reader, self.sensor_size, self.size = samples, reader, sensor_size, size
        self.filters, self.representation, self.cache = filters, representation, cache
        self.how = [described(part) for part in (reader, sensor_size, size, any_camera, drop_outside, *filters)]

    def __getitem__(self, index: int) -> tuple[Tensor | Events, int]:
        sample = self.samples[index]
        if self.representation is None:
            return self.events(sample), sample.label
        key = key_of(sample.fingerprint(), self.how, described(self.representation))
        return torch.from_numpy(self.cache.recall(key, lambda: self.represented(sample))["x"]), sample.label

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def targets(self) -> list[int]:
        """The class of every sample."""
        return [sample.label for sample in self.samples]

    def represented(self, sample: EventSample) -> Arrays:
        """The array x of a sample."""
        assert self.representation is not None
        with naming(sample.file):
            return {"x": self.representation(self.read(sample), self.scaled)}

    def events(self, sample: EventSample) -> Events:
        """The events of a sample, from the cache if they are there."""

        def arrays() -> Arrays:
            events = self.read(sample)
            return {"t": events.t, "x": events.x, "y": events.y, "p": events.p}

        kept = self.cache.recall(key_of(sample.fingerprint(), self.how, "events"), arrays)
        t, x, y, p = (kept[name].astype(kind) for name, kind in zip("txyp", EVENT_TYPES, strict=True))
        return Events(t, x, y, p, self.scaled)

    def read(self, sample: EventSample) -> Events:
        """The events of a sample, read from its file, scaled and filtered."""
        return self.read_and_count(sample)[0]

    def read_and_count(self, sample: EventSample) -> tuple[Events, int]:
        """The events of a sample, scaled and filtered, and the number of those that were outside of its sensor."""
        with naming(sample.file):
            found = self.reader(sample)
            width, height, _ = (self.any_camera and found.sensor_size) or self.sensor_size
            sensor = width, height, self.sensor_size[2]
            inside = on_sensor(found, sensor) if self.drop_outside else in_sensor(found, sensor)
            events = scaled(inside, sensor, self.scaled)
            for step in self.filters:
                events = step(events)
        return events, len(found) - len(inside)

    @property
    def scaled(self) -> SensorSize:
        """(W, H, P) after scaling."""
        return self.size[1], self.size[0], self.sensor_size[2]


class RecordingStats(NamedTuple):
    """What a recording holds: its number of events, of ON events, its duration in µs, and the sensor it needs."""

    events: int
    on: int
    duration: int
    width: int
    height: int


def recording_stats(sample: EventSample, reader: Callable[[EventSample], Events], cache: Cache) -> RecordingStats:
    """The facts of a sample; its file is read once, then the cache knows."""

    def measured() -> Arrays:
        with naming(sample.file):
            events = reader(sample)
        width, height = (int(values.max(initial=-1)) + 1 for values in (events.x, events.y))
        if events.sensor_size is not None:
            width, height = events.sensor_size[:2]
        return {"stats": np.array([len(events), int(events.p.sum()), events.duration, width, height])}

    key = key_of(sample.fingerprint(), described(reader), "stats")
    return RecordingStats(*cache.recall(key, measured)["stats"].tolist())


def on_sensor(events: Events, size: SensorSize) -> Events:
    """The events on a sensor."""
    width, height, _ = size
    chosen = (events.x >= 0) & (events.x < width) & (events.y >= 0) & (events.y < height)
    return events if chosen.all() else events[chosen]


def scaled(events: Events, old: SensorSize, new: SensorSize) -> Events:
    """Events of a sensor as if it had the new width and height."""
    x, y = (
        values if was == is_ else (values.astype(np.int64) * is_ // was).astype(np.int16)
        for values, was, is_ in ((events.x, old[0], new[0]), (events.y, old[1], new[1]))
    )
    return dataclasses.replace(events, x=x, y=y, sensor_size=new)


def described(part: Any) -> Any:
    """A part of the reading as a key of the cache: its name, its code and its settings, but not where its file lies."""
    kind = part if callable(part) and hasattr(part, "__qualname__") else type(part)  # a function, or the class
    name = f"{kind.__qualname__} {code_of(kind.__module__)}"
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
