"""Augmentation that moves events on the sensor."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..arrays import Events
from .draws import bernoulli, random_int, uniform
from .event_augmentation import EventAugmentation, check_part


class Flip(EventAugmentation):
    """Mirror the sensor: x -> W - 1 - x, y -> H - 1 - y, p -> 1 - p; each with its own chance.

    Mirrored digits, letters and gestures of one hand are other classes, or none: use it for objects.

    Args:
        horizontal: Chance of left-right.
        vertical: Chance of up-down.
        polarity: Chance of exchanging ON and OFF. A sensor of one polarity has nothing to exchange.

    Raises:
        ValueError: If a chance is not in 0..1.
    """

    def __init__(self, horizontal: float = 0.5, vertical: float = 0.0, polarity: float = 0.0) -> None:
        super().__init__()
        for name, value in (("horizontal", horizontal), ("vertical", vertical), ("polarity", polarity)):
            check_part(name, value)
        self.horizontal, self.vertical, self.polarity = horizontal, vertical, polarity

    def change(self, events: Events, width: int, height: int) -> Events:
        """All events, at their mirrored places."""
        if bernoulli(self.horizontal):
            events = replace(events, x=(width - 1 - events.x).astype(np.int16))
        if bernoulli(self.vertical):
            events = replace(events, y=(height - 1 - events.y).astype(np.int16))
        return replace(events, p=opposite(events)) if bernoulli(self.polarity) else events


class Roll(EventAugmentation):
    """Shift by whole pixels; what leaves on one side comes in on the other, so no event is lost.

        x -> (x + s_x) mod W,  s_x one of -round(shift W) ... round(shift W);  y alike

    `Crop` shifts without coming in again.

    Args:
        shift: Largest shift, part of each side of the sensor.

    Raises:
        ValueError: If shift is not in 0..1.
    """

    def __init__(self, shift: float = 0.1) -> None:
        super().__init__()
        check_part("shift", shift)
        self.shift = shift

    def change(self, events: Events, width: int, height: int) -> Events:
        """All events, shifted."""
        furthest_x, furthest_y = round(self.shift * width), round(self.shift * height)
        x = shifted(events.x, random_int(-furthest_x, furthest_x)) % width
        y = shifted(events.y, random_int(-furthest_y, furthest_y)) % height
        return replace(events, x=x.astype(np.int16), y=y.astype(np.int16))


class Crop(EventAugmentation):
    """Keep what is seen through a window at a random place, and move the window to the middle; nothing is resized.

    The window has `scale` of the sensor's sides and may stick out by `padding`. With scale = 1 it is the crop with
    padding that is usual for images: a shift whose other side comes in empty. With padding = 0 it is a crop to a
    smaller field of view in a frame that stays as large as the sensor.

    Args:
        scale: Width and height of the window, part of the sensor's.
        padding: How far it may stick out, part of each side of the sensor.

    Raises:
        ValueError: If scale is not in 0..1 and above 0, or padding is not in 0..1.
    """

    def __init__(self, scale: float = 1.0, padding: float = 0.1) -> None:
        super().__init__()
        check_part("scale", scale)
        check_part("padding", padding)
        if scale == 0:
            raise ValueError("scale: expected above 0, found 0: a window without width has no events.")
        self.scale, self.padding = scale, padding

    def change(self, events: Events, width: int, height: int) -> Events:
        """The events in the window, moved."""
        left, new_width = self.window(width)
        top, new_height = self.window(height)
        seen = events[inside(events, left, top, new_width, new_height)]
        x, y = shifted(seen.x, (width - new_width) // 2 - left), shifted(seen.y, (height - new_height) // 2 - top)
        return replace(seen, x=x.astype(np.int16), y=y.astype(np.int16))

    def window(self, side: int) -> tuple[int, int]:
        """Random start, and length, on one side of the sensor."""
        length, padding = max(1, round(self.scale * side)), round(self.padding * side)
        return random_int(-padding, side - length + padding), length


class Rotate(EventAugmentation):
    """Turn about the centre of the sensor ((W - 1) / 2, (H - 1) / 2), to the nearest pixel.

        x - c_x -> cos(a) (x - c_x) + sin(a) (y - c_y)
        y - c_y -> cos(a) (y - c_y) - sin(a) (x - c_x),   a uniform in -degrees..degrees, counter-clockwise as seen

    Two pixels may meet in one and a pixel between them stay empty; every event moves on its own.

    Args:
        degrees: Largest angle.

    Raises:
        ValueError: If degrees is not in 0..180.
    """

    def __init__(self, degrees: float = 15.0) -> None:
        super().__init__()
        check_degrees(degrees, 180)
        self.degrees = degrees

    def change(self, events: Events, width: int, height: int) -> Events:
        """The events that stay on the sensor."""
        angle = np.deg2rad(uniform(-self.degrees, self.degrees))
        right, down = from_centre(width, height)
        x = np.cos(angle) * right + np.sin(angle) * down  # [H, W]
        y = np.cos(angle) * down - np.sin(angle) * right
        return moved(events, x, y)


class Shear(EventAugmentation):
    """Lean to a side, about the middle row, to the nearest pixel.

        x -> x + tan(a) (y - (H - 1) / 2),   a uniform in -degrees..degrees

    Args:
        degrees: Largest angle.

    Raises:
        ValueError: If degrees is not in 0..80.
    """

    def __init__(self, degrees: float = 15.0) -> None:
        super().__init__()
        check_degrees(degrees, 80)
        self.degrees = degrees

    def change(self, events: Events, width: int, height: int) -> Events:
        """The events that stay on the sensor."""
        slope = np.tan(np.deg2rad(uniform(-self.degrees, self.degrees)))
        right, down = from_centre(width, height)
        return moved(events, right + slope * down, down)


def opposite(events: Events) -> NDArray[np.uint8]:
    """Polarities, ON and OFF exchanged, if the sensor has both."""
    return events.p if events.sensor_size is not None and events.sensor_size[2] == 1 else 1 - events.p


def shifted(coordinate: NDArray[np.int16], by: int) -> NDArray[np.int32]:
    """Coordinates moved by some pixels, in numbers that hold them wherever they go."""
    return coordinate.astype(np.int32) + np.int32(by)


def inside(events: Events, left: int, top: int, width: int, height: int) -> NDArray[np.bool_]:
    """Which events lie in a rectangle, which may stick out of the sensor."""
    return between(events.x, left, left + width) & between(events.y, top, top + height)


def between(values: NDArray, low: int, high: int) -> NDArray[np.bool_]:
    """Which values are in low..high - 1."""
    return (values >= low) & (values < high)


def from_centre(width: int, height: int) -> tuple[NDArray, NDArray]:
    """How far each column [1, W] is to the right of the centre of the sensor, and each row [H, 1] below it."""
    return np.arange(width)[None] - (width - 1) / 2, np.arange(height)[:, None] - (height - 1) / 2


def moved(events: Events, right: NDArray, down: NDArray) -> Events:
    """The events where their pixels go, [H, W] from the centre, rounded; without those that leave the sensor.

    A recording has more events than pixels, so places are worked out for pixels.
    """
    height, width = np.broadcast_shapes(right.shape, down.shape)
    x, y = np.broadcast_arrays(np.rint(right + (width - 1) / 2), np.rint(down + (height - 1) / 2))
    pixel = events.y.astype(np.int64) * width + events.x
    stay = np.flatnonzero((between(x, 0, width) & between(y, 0, height)).ravel()[pixel])
    new_x, new_y = (places.ravel()[pixel[stay]].astype(np.int16) for places in (x, y))
    return replace(events[stay], x=new_x, y=new_y)


def check_degrees(degrees: float, highest: float) -> None:
    """Refuse an angle that is out of range."""
    if not 0 <= degrees <= highest:
        raise ValueError(f"degrees: expected 0..{highest}, found {degrees}.")
