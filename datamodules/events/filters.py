"""Filters of noise: Events -> Events, in the order of time, with the events that stay.

They look at where and when, not at polarity. d(i, j) = |x_i - x_j| + |y_i - y_j| is the pixels between two events.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Events, EventTransform
from .compiled import compiled


class Denoise(EventTransform):
    """Drop lonely events: event i stays if one of the four neighbours of its pixel fired just before it.

        i stays  <=>  there is a j < i with d(i, j) = 1 and t_i - t_j < window

    Also known as background activity filter (Delbruck, 2008, "Frame-free dynamic digital vision"). tonic's `Denoise` is
    the same from the time `filter_time` on; before, it keeps nearly everything, as if all pixels had fired at time 0.

    Args:
        window_ms: The window, in ms.

    Raises:
        ValueError: If window_ms is not 0.001 to 1e12.

    Example:
        >>> events = Events.of(t=[0, 5000, 30000], x=[4, 5, 4], y=[2, 2, 2], p=[1, 0, 1])
        >>> Denoise(window_ms=10)(events).t.tolist()
        [5000]
    """

    def __init__(self, window_ms: float = 10.0) -> None:
        super().__init__()
        self.window_ms = positive("window_ms", window_ms)

    def forward(self, events: Events) -> Events:
        """The events that stay, in the order of time."""
        events = events.in_time()
        stays, memory = np.empty(len(events), np.bool_), pixels(events, margin=1)
        supported(stays, memory, ticks(events.t), events.x, events.y, np.uint64(round(1000 * self.window_ms)))
        return events[stays]

    def extra_repr(self) -> str:
        """The window, which is all there is to know."""
        return f"window_ms={self.window_ms}"


class Refractory(EventTransform):
    """Drop events that follow the one before them at their pixel too soon.

        i stays  <=>  t_i - t_j > period for the last j < i with d(i, j) = 0, or there is no such j

    j counts whether it stays or not, so a pixel that never pauses stays silent after its first event. tonic's
    `RefractoryPeriod` is the same, except that it drops a pixel's first event if it is at time 0 or before.

    Args:
        period_ms: The period, in ms.

    Raises:
        ValueError: If period_ms is not 0.001 to 1e12.

    Example:
        >>> events = Events.of(t=[0, 800, 1700, 2800], x=[4] * 4, y=[2] * 4, p=[1] * 4)
        >>> Refractory(period_ms=1)(events).t.tolist()
        [0, 2800]
    """

    def __init__(self, period_ms: float = 1.0) -> None:
        super().__init__()
        self.period_ms = positive("period_ms", period_ms)

    def forward(self, events: Events) -> Events:
        """The events that stay, in the order of time."""
        events = events.in_time()
        stays, memory = np.empty(len(events), np.bool_), pixels(events)
        rested(stays, memory, ticks(events.t), events.x, events.y, np.uint64(round(1000 * self.period_ms)))
        return events[stays]

    def extra_repr(self) -> str:
        """The period, which is all there is to know."""
        return f"period_ms={self.period_ms}"


class HotPixels(EventTransform):
    """Drop all events of pixels that fire too often: of n events in a recording of duration D, (n - 1) / D > max_rate.

    n - 1, because that many pauses lie between n events: a single one has no rate.

    Args:
        max_rate: Events of a pixel in a second, beyond which it is broken.

    Raises:
        ValueError: If max_rate is not 0.001 to 1e12.

    Example:
        >>> events = Events.of(t=[0, 1, 2, 1_000_000], x=[0, 3, 0, 0], y=[0, 3, 0, 0], p=[1] * 4)
        >>> HotPixels(max_rate=1)(events).x.tolist()
        [3]
    """

    def __init__(self, max_rate: float = 1000.0) -> None:
        super().__init__()
        self.max_rate = positive("max_rate", max_rate)

    def forward(self, events: Events) -> Events:
        """The events that stay, in the order of time."""
        events = events.in_time()
        if not len(events):
            return events
        duration = int(events.t[-1]) - int(events.t[0])  # µs
        pixel = events.y.astype(np.int64) * (int(events.x.max()) + 1) + events.x
        _, place, counts = np.unique(pixel, return_inverse=True, return_counts=True)
        return events[((counts - 1) * 1e6 <= self.max_rate * duration)[place]]

    def extra_repr(self) -> str:
        """The rate, which is all there is to know."""
        return f"max_rate={self.max_rate}"


def positive(name: str, value: float) -> float:
    """The value, if it can be one; a thousandth of a ms is the clock's tick."""
    if not 1e-3 <= value <= 1e12:
        raise ValueError(f"{name}: expected 0.001 to 1e12, found {value}.")
    return value


def ticks(t: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Times in order, counted from 1 at the first: 0 is left for "never", and no two differ by more than a uint64."""
    return (t - t[:1]).view(np.uint64) + np.uint64(1)


def pixels(events: Events, margin: int = 0) -> NDArray[np.uint64]:
    """When each pixel last fired, in ticks: never. Pages of zeros that no event touches take no memory."""
    if not len(events):
        return np.zeros((1, 1), np.uint64)
    for name, values in (("x", events.x), ("y", events.y)):
        if values.min() < 0:
            raise ValueError(
                f"event {values.argmin()} (in order of time) has {name} = {values.min()}, which is negative."
            )
    return np.zeros((int(events.y.max()) + 1 + 2 * margin, int(events.x.max()) + 1 + 2 * margin), np.uint64)


@compiled
def supported(stays: Any, last: Any, now: Any, x: Any, y: Any, window: Any) -> None:
    """The rule of `Denoise`; `last` [H + 2, W + 2] has a margin, so that every pixel has four neighbours."""
    for i in range(len(now)):
        column, row, t = x[i] + 1, y[i] + 1, now[i]
        last[row, column] = t
        newest = max(
            max(last[row, column - 1], last[row, column + 1]), max(last[row - 1, column], last[row + 1, column])
        )
        stays[i] = newest > 0 and t - newest < window


@compiled
def rested(stays: Any, last: Any, now: Any, x: Any, y: Any, period: Any) -> None:
    """The rule of `Refractory`; `last` [H, W]."""
    for i in range(len(now)):
        before = last[y[i], x[i]]
        stays[i] = before == 0 or now[i] - before > period
        last[y[i], x[i]] = now[i]
