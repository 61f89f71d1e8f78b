"""Events to tensors: frames by time, by count or by window, voxel grids, time surfaces. No event is ever lost.

Every representation first cuts a recording, ordered by time, into T steps: `bounds` [T + 1] are indices of events, and
step k has the events bounds[k] to bounds[k + 1]. So every event lands in exactly one step.
Shapes: T steps, P polarities, H rows, W columns.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .events import Events, SensorSize, compiled


class Representation(ABC):
    """What becomes of a recording. Final classes are frozen dataclasses: their fields are the key of the cache."""

    sequence_ndim: ClassVar[int] = 5  # axes of a batch: 5 for frames, 4 for clouds

    @abstractmethod
    def __call__(self, events: Events, sensor_size: SensorSize) -> NDArray[Any]:
        """Array [T, C, H, W] of a recording.

        Raises:
            ValueError: If an event lies outside the sensor; names the first.
        """

    def input_size(self, sensor_size: SensorSize) -> tuple[int, int, int]:
        """(C, H, W) of what a sensor of (W, H, P) sees."""
        width, height, polarities = sensor_size
        return polarities, height, width


@dataclass(frozen=True)
class Frames(Representation):
    """Number of events in every cell [T, P, H, W].

    Args:
        num_steps: T.
        by: What the steps have in common. "time": equal duration, from the first event to the last, which is in the
            last step. "count": equal numbers of events (to within one).

    Raises:
        ValueError: If an argument is out of its range.
    """

    num_steps: int = 10
    by: str = "time"

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {self.num_steps}.")
        if self.by not in ("time", "count"):
            raise ValueError(f'by must be "time" or "count", got {self.by!r}.')

    def __call__(self, events: Events, sensor_size: SensorSize) -> NDArray[Any]:
        """Counts [T, P, H, W], int32."""
        events = events.in_time()
        n = len(events)
        if self.by == "count" or n == 0:
            bounds = np.arange(self.num_steps + 1) * n // self.num_steps
        else:
            bounds = time_bounds(events.t, self.num_steps)
        return count(events, bounds, sensor_size)


def time_bounds(t: NDArray[np.int64], num_steps: int) -> NDArray[np.int64]:
    """Bounds [T + 1] of T equal durations: of times in order, t is in step floor(T (t - t_0) / (t_n - t_0 + 1))."""
    duration = int(t[-1]) - int(t[0]) + 1
    edges = [int(t[0]) - (-k * duration // num_steps) for k in range(1, num_steps)]  # in whole numbers: no rounding
    return np.array([0, *np.searchsorted(t, edges), len(t)], np.int64)


def count(events: Events, bounds: NDArray[np.int64], sensor_size: SensorSize) -> NDArray[np.int32]:
    """Counts [T, P, H, W] of the events between the bounds [T + 1]."""
    width, height, polarities = sensor_size
    frames = np.zeros((len(bounds) - 1, polarities, height, width), np.int32)
    outside = count_into(frames, bounds, events.x, events.y, events.p)
    if outside >= 0:
        x, y, p = int(events.x[outside]), int(events.y[outside]), int(events.p[outside])
        raise ValueError(
            f"event {outside} (in order of time) is at x = {x}, y = {y} with polarity {p}, outside a sensor of "
            f"{width} x {height} pixels and {polarities} polarities. Give the sensor_size that it was recorded with."
        )
    return frames


@compiled
def count_into(frames: Any, bounds: Any, x: Any, y: Any, p: Any) -> int:
    """Add the events to the frames; -1, or the first event outside of them."""
    _, polarities, height, width = frames.shape
    for step in range(len(bounds) - 1):
        frame = frames[step]
        for i in range(bounds[step], bounds[step + 1]):
            pol = p[i] if polarities > 1 else 0
            if x[i] < 0 or x[i] >= width or y[i] < 0 or y[i] >= height or pol >= polarities:
                return i
            frame[pol, y[i], x[i]] += 1
    return -1
