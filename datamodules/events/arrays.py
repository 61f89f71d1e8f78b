"""`Events`, the one form in which recordings of event cameras pass through this package, and what changes them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

SensorSize = tuple[int, int, int]  # W, H, P, as in tonic


@dataclass(frozen=True, eq=False)
class Events:
    """n events of one recording, in the order of its file: usually, but not always, that of their times.

    `Events.of` makes them from whatever a file holds.

    Args:
        t: Times [n], int64, µs.
        x: Columns [n], int16, from the left.
        y: Rows [n], int16, from the top.
        p: Polarities [n], uint8: 1 = brighter (ON), 0 = darker (OFF).
        sensor_size: (W, H, P) of the camera, where the file says it.
    """

    t: NDArray[np.int64]
    x: NDArray[np.int16]
    y: NDArray[np.int16]
    p: NDArray[np.uint8]
    sensor_size: SensorSize | None = None

    @classmethod
    def of(
        cls, t: ArrayLike, x: ArrayLike, y: ArrayLike, p: ArrayLike, sensor_size: SensorSize | None = None
    ) -> "Events":
        """Events of arrays of any number type; polarity as bool, as 0 and 1, or as -1 and 1.

        Raises:
            ValueError: If the lengths differ, a time is not finite or beyond int64, a coordinate is negative, not
                whole or beyond int16, or a polarity is something else. Names the first such event.
        """
        arrays = {name: np.asarray(values) for name, values in (("t", t), ("x", x), ("y", y), ("p", p))}
        if len({values.shape for values in arrays.values()}) > 1 or arrays["t"].ndim != 1:
            shapes = ", ".join(f"{name} {values.shape}" for name, values in arrays.items())
            raise ValueError(f"t, x, y and p: expected rows of the same length, found {shapes}.")
        within("t", arrays["t"], -(2**62), 2**62, "µs")
        for name in ("x", "y"):
            within(name, arrays[name], 0, 2**15 - 1, "pixels")
        within("p", arrays["p"], -1, 1, "polarity: 0 and 1, or -1 and 1")
        for name in ("x", "y", "p"):
            if arrays[name].dtype.kind == "f" and (broken := arrays[name] % 1 != 0).any():
                first = int(broken.argmax())
                raise ValueError(f"event {first} has {name} = {arrays[name][first]}, which is no whole number.")
        signed = arrays["p"].dtype != bool and bool((arrays["p"] < 0).any())
        if signed and (zero := arrays["p"] == 0).any():
            raise ValueError(
                f"event {int(zero.argmax())} has p = 0 where others have -1; expected 0 and 1, or -1 and 1."
            )
        return cls(
            arrays["t"].astype(np.int64),
            arrays["x"].astype(np.int16),
            arrays["y"].astype(np.int16),
            (arrays["p"] > 0).astype(np.uint8),
            sensor_size,
        )

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, chosen: Any) -> "Events":
        """The events of a slice, a mask or indices."""
        if isinstance(chosen, np.ndarray) and chosen.dtype == np.bool_:
            chosen = np.flatnonzero(chosen)  # four arrays are taken by index ten times as fast as by mask
        return Events(self.t[chosen], self.x[chosen], self.y[chosen], self.p[chosen], self.sensor_size)

    def in_time(self) -> "Events":
        """Ordered by time; events of equal time keep their order."""
        if (self.t[1:] >= self.t[:-1]).all():
            return self
        return self[np.argsort(self.t, kind="stable")]

    @property
    def duration(self) -> int:
        """From the first to the last event, µs."""
        return int(self.t.max()) - int(self.t.min()) if len(self) else 0


class EventTransform(nn.Module, ABC):
    """Base class of filters and augmentations."""

    @abstractmethod
    def forward(self, events: Events) -> Events:
        """New events; the input stays as it is."""


def within(name: str, values: NDArray[Any], low: int, high: int, what: str) -> None:
    """Raise a ValueError that names the first of the values that is not in low..high, a NaN included."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected numbers, found {values.dtype}.")
    bad = ~((values >= low) & (values <= high))
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(f"event {first} has {name} = {values[first]}; expected {low} to {high} ({what}).")
