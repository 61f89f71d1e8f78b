"""Events to tensors: frames by time, by count or by window, voxel grids, time surfaces. No event is ever lost.

T steps, P polarities, H rows, W columns; events are put in the order of their times first. A step k has the events with
edges[k] <= t < edges[k + 1], times in whole µs; `step_bounds` [T + 1] are the same as indices: bounds[k] to
bounds[k + 1]. A sensor of one polarity (P = 1) has none: p is not looked at.

A representation works in two stages, with the cache of recordings between them: `__call__` makes what is worth
keeping, whole counts where it can, and `to_float` makes of it what a network sees, of one sample or of a batch, on any
device.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .arrays import Events, SensorSize
from .compiled import compiled

MOST_STEPS = 100_000


class Representation(ABC):
    """What becomes of a recording. Final classes are frozen dataclasses: their fields are the key of the cache."""

    sequence_ndim: ClassVar[int] = 5  # axes of a batch: 5 for frames, 4 for clouds

    @abstractmethod
    def __call__(self, events: Events, sensor_size: SensorSize) -> NDArray[Any]:
        """Array [T, C, H, W] of a recording.

        Raises:
            ValueError: If an event lies outside the sensor; names the first.
        """

    def to_float(self, kept: Tensor) -> Tensor:
        """What a network sees of what `__call__` returned, [T, C, H, W] or a batch [T, N, C, H, W]; float32."""
        return kept.float()

    def input_size(self, sensor_size: SensorSize) -> tuple[int, int, int]:
        """(C, H, W) of what a sensor of (W, H, P) sees."""
        width, height, polarities = sensor_size
        return polarities, height, width


@dataclass(frozen=True)
class Frames(Representation):
    """Number of events n in every cell, [T, P, H, W].

    Args:
        num_steps: T. None: as many as `window_ms` needs.
        by: What the steps have in common. "time": their duration. "count": their number of events (to within one).
        window_ms: Duration of a step by time, in ms, to the nearest µs. None: that of the recording, from the first
            event to the last, over T. Given both, a short recording ends in empty steps, and the last step
            of a long one holds all its later events too: cut recordings first (`window_ms` of the DataModule)
            where that is too many.
        values: "count": n. "binary": 1 where n > 0. "log": log(1 + n). "maximum": n over the recording's largest.

    Raises:
        ValueError: If an argument is out of its range; when called, if a recording takes more than 100,000 windows.

    Example:
        >>> events = Events.of(t=[0, 10, 11, 40], x=[0, 1, 1, 0], y=[0, 0, 0, 0], p=[1, 0, 0, 1])
        >>> Frames(num_steps=2)(events, sensor_size=(2, 1, 2)).tolist()
        [[[[0, 2]], [[1, 0]]], [[[0, 0]], [[1, 0]]]]
        >>> Frames(window_ms=0.01)(events, sensor_size=(2, 1, 2)).shape
        (5, 2, 1, 2)
    """

    num_steps: int | None = None
    by: str = "time"
    window_ms: float | None = None
    values: str = "count"

    def __post_init__(self) -> None:
        check_steps(self.num_steps, self.window_ms)
        if self.by not in ("time", "count"):
            raise ValueError(f'by: expected "time" or "count", found {self.by!r}.')
        if self.by == "count" and (self.num_steps is None or self.window_ms is not None):
            raise ValueError('by="count" takes num_steps, and no window_ms: its steps have no fixed duration.')
        if self.values not in ("count", "binary", "log", "maximum"):
            raise ValueError(f'values: expected "count", "binary", "log" or "maximum", found {self.values!r}.')

    def __call__(self, events: Events, sensor_size: SensorSize) -> NDArray[Any]:
        """Counts [T, P, H, W], uint16, or uint32 if a step has more events than that holds; "binary": 0, 1, uint8."""
        events = in_sensor(events, sensor_size).in_time()
        bounds = self.bounds(events.t)
        kind = np.uint16 if np.diff(bounds).max() < 2**16 else np.uint32
        frames = np.zeros((len(bounds) - 1, *sensor_size[::-1]), kind)
        count_into(frames, bounds, events.x, events.y, events.p)
        return (frames > 0).view(np.uint8) if self.values == "binary" else frames

    def bounds(self, t: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bounds [T + 1] of the steps, of times in order."""
        if self.by == "count":
            return np.array([k * len(t) // self.num_steps for k in range(self.num_steps + 1)])  # type: ignore[operator]
        return step_bounds(t, step_edges(t, self.num_steps, self.window_ms))

    def to_float(self, kept: Tensor) -> Tensor:
        """The values, float32."""
        n = kept.float()
        if self.values == "log":
            return n.log1p()
        if self.values == "maximum":
            return n / n.amax(dim=(0, -3, -2, -1), keepdim=True).clamp(min=1)
        return n

    def batch(
        self, recordings: Sequence[Events], sensor_size: SensorSize, device: torch.device | str = "cpu"
    ) -> Tensor:
        """What `__call__`, `to_float` and padding with empty steps make of N recordings, counted on the device.

        5 bytes an event cross to the device instead of the frames.

        Args:
            recordings: At least one.
            sensor_size: Of all.
            device: Where x is made.

        Returns:
            x [T, N, P, H, W], float32.

        Raises:
            ValueError: If an event lies outside the sensor; names the first.
        """
        width, height, polarities = sensor_size
        ordered = [in_sensor(events, sensor_size).in_time() for events in recordings]
        bounds = [self.bounds(events.t) for events in ordered]
        shape = (max(map(len, bounds)) - 1, len(ordered), polarities, height, width)
        rows = [np.arange(len(of) - 1) * len(ordered) + n for n, of in enumerate(bounds)]  # step and recording

        def move(arrays: Sequence[NDArray[Any]]) -> Tensor:
            return torch.from_numpy(np.concatenate(arrays)).to(device)

        x, y, p = (move([getattr(events, name) for events in ordered]) for name in "xyp")
        cell = torch.repeat_interleave(move(rows), move([np.diff(of) for of in bounds])) * polarities
        cell = ((cell + p if polarities > 1 else cell) * height + y) * width + x
        frames = torch.bincount(cell, minlength=int(np.prod(shape))).view(shape)
        return self.to_float(frames.clamp(max=1) if self.values == "binary" else frames)


@dataclass(frozen=True)
class VoxelGrid(Representation):
    """Signed polarity s = ±1 (no polarity: 1), shared in time between the two nearest of T points, [T, 1, H, W].

        V_k(x, y) = sum over events at (x, y) of s max(0, 1 - |k - t*|)
        t* = (T - 1) (t - t_first) / (t_last - t_first)

    (Zhu et al., CVPR 2019, equations 1 and 2, bilinear in time only.) The sum of all cells is the sum of all s.
    Events of equal time, all of them, are in V_0.

    Args:
        num_steps: T.

    Raises:
        ValueError: If num_steps < 1.

    Example:
        >>> VoxelGrid(2)(Events.of(t=[0, 1, 4], x=[0, 0, 0], y=[0, 0, 0], p=[1, 0, 1]), (1, 1, 2)).flatten().tolist()
        [0.25, 0.75]
    """

    num_steps: int = 10

    def __post_init__(self) -> None:
        check_steps(self.num_steps, None)

    def __call__(self, events: Events, sensor_size: SensorSize) -> NDArray[Any]:
        """The grid, float32; summed in float64, so that many events in one cell all count."""
        width, height, polarities = sensor_size
        events = in_sensor(events, sensor_size).in_time()
        grid = np.zeros((self.num_steps, 1, height, width))
        if len(events):
            place = since_first(events.t)
            place *= (self.num_steps - 1) / max(place[-1], 1.0)
            share_into(grid[:, 0], place, events.x, events.y, events.p if polarities > 1 else np.ones_like(events.p))
        return grid.astype(np.float32)

    def input_size(self, sensor_size: SensorSize) -> tuple[int, int, int]:
        """(1, H, W): both polarities are in one channel."""
        return 1, sensor_size[1], sensor_size[0]


@dataclass(frozen=True)
class TimeSurface(Representation):
    """How long ago each pixel last fired, at the end t_k of every step, [T, P, H, W].

        S_k(p, x, y) = exp(-(t_k - t_last(p, x, y)) / tau),    0 where it never fired

    t_last is the pixel's last event before t_k in all of the recording, not in the step alone (Lagorce et al., TPAMI
    2017, equation 2, taken over the whole sensor).

    Args:
        num_steps: T. None: as many as `window_ms` needs.
        window_ms: Duration of a step in ms, as in `Frames`. None: that of the recording over T.
        tau_ms: Time constant tau, in ms.

    Raises:
        ValueError: If an argument is out of its range; when called, if a recording takes more than 100,000 windows.

    Example:
        >>> events = Events.of(t=[0, 999], x=[0, 1], y=[0, 0], p=[1, 1])
        >>> TimeSurface(num_steps=1, tau_ms=1.0)(events, (2, 1, 1)).round(2)
        array([[[[0.37, 1.  ]]]], dtype=float32)
    """

    num_steps: int | None = None
    window_ms: float | None = None
    tau_ms: float = 50.0

    def __post_init__(self) -> None:
        check_steps(self.num_steps, self.window_ms)
        if not self.tau_ms > 0:
            raise ValueError(f"tau_ms: expected more than 0, found {self.tau_ms}.")

    def __call__(self, events: Events, sensor_size: SensorSize) -> NDArray[Any]:
        """The surfaces, float32."""
        events = in_sensor(events, sensor_size).in_time()
        edges = step_edges(events.t, self.num_steps, self.window_ms)
        bounds = step_bounds(events.t, edges)
        polarity = events.p if sensor_size[2] > 1 else np.zeros_like(events.p)
        time, last = since_first(events.t), np.full(sensor_size[::-1], -np.inf)
        surfaces = np.empty((len(edges) - 1, *last.shape), np.float32)
        for k, surface in enumerate(surfaces):
            step = slice(bounds[k], bounds[k + 1])
            last[polarity[step], events.y[step], events.x[step]] = time[step]  # of equal cells the last one is kept
            surface[:] = (last - (edges[k + 1] - edges[0])) / (1000 * self.tau_ms)
        return np.exp(surfaces, out=surfaces)


def check_steps(num_steps: int | None, window_ms: float | None) -> None:
    """Raise a ValueError if they define no steps."""
    if num_steps is None and window_ms is None:
        raise ValueError("Give num_steps, the number of steps, or window_ms, the duration of each.")
    if num_steps is not None and num_steps < 1:
        raise ValueError(f"num_steps: expected at least 1, found {num_steps}.")
    if window_ms is not None and not 1e-3 <= window_ms <= 1e12:
        raise ValueError(f"window_ms: expected 0.001 (1 µs) to 1e12, found {window_ms}.")


def step_edges(t: NDArray[np.int64], num_steps: int | None, window_ms: float | None) -> list[int]:
    """Edges [T + 1] of the steps in µs, of times in order; see `Frames`. In whole numbers: nothing is rounded away.

    By time, t is in step floor(T (t - t_first) / (t_last - t_first + 1)); by window, in floor((t - t_first) / window).
    """
    first, duration = (int(t[0]), int(t[-1]) - int(t[0]) + 1) if len(t) else (0, 0)
    if window_ms is None:
        assert num_steps is not None
        return [first - (-k * duration // num_steps) for k in range(num_steps + 1)]
    window = round(1000 * window_ms)
    needed = max(-(-duration // window), 1)
    if num_steps is None and needed > MOST_STEPS:
        raise ValueError(
            f"a recording from {first} to {first + duration - 1} µs takes {needed} windows of {window_ms} ms, "
            f"expected up to {MOST_STEPS}. Look for wrong times in it, or give num_steps or a longer window_ms."
        )
    edges = [first + k * window for k in range((num_steps or needed) + 1)]
    return [*edges[:-1], max(edges[-1], first + duration)]


def step_bounds(t: NDArray[np.int64], edges: list[int]) -> NDArray[np.int64]:
    """Bounds [T + 1]: the number of times, in order, before each edge."""
    after = int(t[-1]) + 1 if len(t) else 0
    return np.searchsorted(t, np.array([min(edge, after) for edge in edges]))  # a far edge may be beyond int64


def since_first(t: NDArray[np.int64]) -> NDArray[np.float64]:
    """µs since the first of times in order; the difference of two int64 is a uint64."""
    return (t - t[:1]).view(np.uint64).astype(np.float64)


def in_sensor(events: Events, sensor_size: SensorSize) -> Events:
    """The same events.

    Raises:
        ValueError: If one lies outside the sensor; names the first.
    """
    width, height, polarities = sensor_size
    checked: list[tuple[NDArray[Any], int]] = [(events.x, width), (events.y, height)]
    if polarities > 1:
        checked.append((events.p, polarities))
    if len(events) and any(values.min() < 0 or values.max() >= size for values, size in checked):
        first = int(np.any([(values < 0) | (values >= size) for values, size in checked], axis=0).argmax())
        raise ValueError(
            f"event {first} is at x = {events.x[first]}, y = {events.y[first]} with polarity {events.p[first]}, "
            f"outside a sensor of {width} x {height} pixels and {polarities} polarities. Give the sensor_size that it "
            f"was recorded with."
        )
    return events


@compiled
def count_into(frames: Any, bounds: Any, x: Any, y: Any, p: Any) -> None:
    """Add the events to the frames [T, P, H, W]; without a check."""
    several = frames.shape[1] > 1
    for step in range(len(bounds) - 1):
        frame = frames[step]
        for i in range(bounds[step], bounds[step + 1]):
            frame[p[i] if several else 0, y[i], x[i]] += 1


@compiled
def share_into(grid: Any, place: Any, x: Any, y: Any, p: Any) -> None:
    """Share the events between the two nearest steps of the grid [T, H, W]; without a check."""
    last = len(grid) - 1
    for i in range(len(x)):
        step = min(int(place[i]), last)
        later = place[i] - step if step < last else 0.0  # rounding may place the last event just after its step
        sign = 2.0 * p[i] - 1.0
        grid[step, y[i], x[i]] += sign * (1.0 - later)
        grid[min(step + 1, last), y[i], x[i]] += sign * later
