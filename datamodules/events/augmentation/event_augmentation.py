"""Base class of random changes of recordings.

Every module maps `Events` to new `Events` and draws from torch's global CPU generator only, which `SeededDataset` seeds
anew for every sample: what comes out depends on (seed, epoch, index), not on processes. Places are relative to the
sensor, so `events.sensor_size` must be set (the DataModules do). Lengths, shifts and ratios are parts of the sensor's
sides or of the recording's duration; so a setting means the same for 34 x 34 and for 640 x 480 pixels.

Events that leave the sensor are dropped, unless it says otherwise. A change that would drop every event of a recording
is not made: an empty recording teaches nothing. So n events become 1 to n events, none none.
"""

from abc import abstractmethod
from collections.abc import Sequence

from ..arrays import Events, EventTransform, within


class EventAugmentation(EventTransform):
    """A random change of a recording; a subclass implements `change`."""

    def forward(self, events: Events) -> Events:
        """Changed events, ordered by time if the input is; the input stays as it is.

        Raises:
            ValueError: If the sensor's size is not known, or an event lies outside of it.
        """
        if events.sensor_size is None:
            raise ValueError(
                f"{type(self).__name__}: expected events with a sensor_size, found None. Give (W, H, P): "
                "Events.of(t, x, y, p, sensor_size) or dataclasses.replace(events, sensor_size=...)."
            )
        width, height, _ = events.sensor_size
        within("x", events.x, 0, width - 1, f"columns of a sensor of {width} x {height}")
        within("y", events.y, 0, height - 1, f"rows of a sensor of {width} x {height}")
        changed = self.change(events, width, height) if len(events) else events
        return changed if len(changed) else events

    @abstractmethod
    def change(self, events: Events, width: int, height: int) -> Events:
        """The new events, of one event or more inside a sensor of width x height pixels; possibly none."""


def check_part(name: str, value: float) -> None:
    """Refuse what is not in 0..1."""
    if not 0 <= value <= 1:  # so that nan is refused, too
        raise ValueError(f"{name}: expected 0..1, found {value}.")


def checked_ratios(ratios: Sequence[float]) -> tuple[float, ...]:
    """The ratios, each in 0..1."""
    if not ratios:
        raise ValueError("ratios: expected at least one ratio, found none.")
    for ratio in ratios:
        check_part("ratios", ratio)
    return tuple(ratios)
