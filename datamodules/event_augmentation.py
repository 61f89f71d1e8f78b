"""Augmentation of recordings of event cameras, and mixing of batches of their frames.

Every module maps `Events` to new `Events` and draws from torch's global CPU generator only, which `SeededDataset` seeds
anew for every sample: what comes out depends on (seed, epoch, index), not on processes. Places are relative to the
sensor, so `events.sensor_size` must be set (the DataModules do). Lengths, shifts and ratios are parts of the sensor's
sides or of the recording's duration; so a setting means the same for 34 x 34 and for 640 x 480 pixels.

Events that leave the sensor are dropped, unless it says otherwise. A change that would drop every event of a recording
is not made: an empty recording teaches nothing. So n events become 1 to n events, none none.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .events import Events, within

LONGEST_JITTER = 10**9  # µs: with it a time within 2^62 cannot leave int64
TINY = 1e-12


class EventAugmentation(nn.Module, ABC):
    """A random change of a recording; a subclass implements `change`."""

    def forward(self, events: Events) -> Events:
        """Changed events, ordered by time if the input is; the input stays as it is.

        Raises:
            ValueError: If the sensor's size is not known, or an event lies outside of it.
        """
        if events.sensor_size is None:
            raise ValueError(
                f"{type(self).__name__} must know the sensor, and events.sensor_size is None. Give (W, H, P): "
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
        if happens(self.horizontal):
            events = replace(events, x=(width - 1 - events.x).astype(np.int16))
        if happens(self.vertical):
            events = replace(events, y=(height - 1 - events.y).astype(np.int16))
        return replace(events, p=opposite(events)) if happens(self.polarity) else events


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
        x = shifted(events.x, whole(-furthest_x, furthest_x)) % width
        y = shifted(events.y, whole(-furthest_y, furthest_y)) % height
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
            raise ValueError("scale must be above 0: a window of no width shows no event.")
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
        return whole(-padding, side - length + padding), length


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


class Cutout(EventAugmentation):
    """Drop the events of a rectangle whose centre is anywhere on the sensor; beyond the edge it drops nothing.

    Args:
        length: Its width and height, part of the sensor's.

    Raises:
        ValueError: If length is not in 0..1.

    Source:
        DeVries, Taylor: Improved Regularization of Convolutional Neural Networks with Cutout, arXiv:1708.04552.
    """

    def __init__(self, length: float = 0.2) -> None:
        super().__init__()
        check_part("length", length)
        self.length = length

    def change(self, events: Events, width: int, height: int) -> Events:
        """The events outside of the rectangle."""
        box_width, box_height = round(self.length * width), round(self.length * height)
        left, top = whole(0, width - 1) - box_width // 2, whole(0, height - 1) - box_height // 2
        return events[~inside(events, left, top, box_width, box_height)]


class TimeJitter(EventAugmentation):
    """Move each event in time, t -> t + round(N(0, std)), and order them anew.

    The recording keeps its first and last time: what would leave it stays at its border. So no time overflows, whatever
    it counts from, and frames of equal duration keep their borders.

    Args:
        std: Standard deviation, µs.

    Raises:
        ValueError: If std is not in 0..10^9.
    """

    def __init__(self, std: float = 1000.0) -> None:
        super().__init__()
        if not 0 <= std <= LONGEST_JITTER:
            raise ValueError(f"std of TimeJitter is in µs and must be 0 to {LONGEST_JITTER}, found {std}.")
        self.std = std

    def change(self, events: Events, width: int, height: int) -> Events:
        """All events, ordered by time."""
        shift = torch.randn(len(events)).double().mul_(self.std).round_().long().numpy()
        t = (events.t + shift).clip(events.t.min(), events.t.max())
        order = torch.from_numpy(t).sort(stable=True).indices.numpy()  # six times as fast as numpy's stable sort
        return replace(events, t=t)[order]


class TimeReversal(EventAugmentation):
    """Play backwards, t -> t_first + t_last - t and p -> 1 - p: what grew brighter grows darker.

    Where the direction of a movement is the class, as in gestures, it changes the class.

    Args:
        chance: Of playing backwards.

    Raises:
        ValueError: If chance is not in 0..1.
    """

    def __init__(self, chance: float = 0.5) -> None:
        super().__init__()
        check_part("chance", chance)
        self.chance = chance

    def change(self, events: Events, width: int, height: int) -> Events:
        """All events, ordered by time."""
        if not happens(self.chance):
            return events
        events = events.in_time()
        backwards = replace(events, t=events.t[0] - events.t + events.t[-1], p=opposite(events))  # exact modulo 2^64
        return backwards[np.arange(len(events))[::-1]]


class DropByTime(EventAugmentation):
    """Drop the events of a random interval of the recording, which lies wholly inside of it.

    Args:
        ratios: Its length, part of the duration; one of them is drawn. Those of EventDrop.

    Raises:
        ValueError: If there is no ratio, or one is not in 0..1.
    """

    def __init__(self, ratios: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)) -> None:
        super().__init__()
        self.ratios = checked_ratios(ratios)

    def change(self, events: Events, width: int, height: int) -> Events:
        """The events before and after the interval."""
        ticks = events.duration + 1
        length = round(one_of(self.ratios) * ticks)
        start = int(events.t.min()) + min(int(uniform(0, ticks - length + 1)), ticks - length)
        return events[(events.t < start) | (events.t > start + length - 1)]


class DropByArea(EventAugmentation):
    """Drop the events of a random rectangle, which lies wholly on the sensor.

    Args:
        ratios: Its width and height, part of the sensor's; one of them is drawn, for both. A ratio r drops the events
            of r^2 of the pixels. Those of EventDrop.

    Raises:
        ValueError: If there is no ratio, or one is not in 0..1.
    """

    def __init__(self, ratios: Sequence[float] = (0.05, 0.1, 0.15, 0.2, 0.25)) -> None:
        super().__init__()
        self.ratios = checked_ratios(ratios)

    def change(self, events: Events, width: int, height: int) -> Events:
        """The events outside of the rectangle."""
        ratio = one_of(self.ratios)
        box_width, box_height = round(ratio * width), round(ratio * height)
        left, top = whole(0, width - box_width), whole(0, height - box_height)
        return events[~inside(events, left, top, box_width, box_height)]


class DropEvents(EventAugmentation):
    """Drop floor(ratio n) of n events, all sets of that many with equal chance.

    Args:
        ratios: One of them is drawn. Those of EventDrop.

    Raises:
        ValueError: If there is no ratio, or one is not in 0..1.
    """

    def __init__(self, ratios: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)) -> None:
        super().__init__()
        self.ratios = checked_ratios(ratios)

    def change(self, events: Events, width: int, height: int) -> Events:
        """The other events, in their order."""
        dropped = int(one_of(self.ratios) * len(events))
        kept = np.ones(len(events), bool)
        kept[torch.randperm(len(events))[:dropped].numpy()] = False
        return events[kept]


class EventDrop(EventAugmentation):
    """One of four, with equal chance: nothing, `DropByTime`, `DropByArea`, `DropEvents`, with the published ratios.

    The paper describes an interval and a rectangle; the released code lets the interval stick out of the end of the
    recording and drops whole columns and rows, a cross. This follows the paper, so a ratio is what is dropped.

    Source:
        Gu et al., EventDrop: Data Augmentation for Event-based Learning, IJCAI 2021, arXiv:2106.05836; the ratios are
        those of the released code, github.com/fuqianggu/EventDrop.
    """

    def __init__(self) -> None:
        super().__init__()
        self.choices = nn.ModuleList([DropByTime(), DropByArea(), DropEvents()])

    def change(self, events: Events, width: int, height: int) -> Events:
        """What the drawn one leaves."""
        choice = whole(0, len(self.choices))
        return events if choice == 0 else self.choices[choice - 1](events)


class NDA(EventAugmentation):
    """Neuromorphic data augmentation: a horizontal flip by chance, then some of `Roll`, `Rotate`, `Cutout`, `Shear`.

    The magnitudes are for frames of 48 x 48 pixels, so 3 pixels are 3/48 of a side here:

        magnitude   shift    rotation   length of the cutout   shear
        1           3/48     15°         8/48                  15°
        2           5/48     30°        16/48                  30°
        3           7/48     45°        24/48                  45°

    Args:
        magnitude: M, 1 to 3: how far each of them may go.
        number: N, 1 to 4: how many different ones are drawn, applied in the drawn order.
        flip: Chance of the horizontal flip; 0 for digits, letters and gestures of one hand.

    Raises:
        ValueError: If an argument is out of its range.

    Source:
        Li et al., Neuromorphic Data Augmentation for Training Spiking Neural Networks, ECCV 2022, arXiv:2203.06145.
        Shift, rotation and shear of magnitudes 1 and 2 are those of the released code for N-Caltech101 and CIFAR10-DVS
        (github.com/Intelligent-Computing-Lab-Yale/NDA_SNN), which uses neither magnitude 3 nor the cutout: those
        continue the row. There, too, what rolls out on one side comes in on the other.
    """

    def __init__(self, magnitude: int = 1, number: int = 1, flip: float = 0.5) -> None:
        super().__init__()
        for name, value, highest in (("magnitude", magnitude, 3), ("number", number, 4)):
            if value not in range(1, highest + 1):
                raise ValueError(f"{name} of NDA must be a whole number from 1 to {highest}, found {value}.")
        self.flip, self.number = Flip(horizontal=flip), number
        self.choices = nn.ModuleList(
            [
                Roll((1 + 2 * magnitude) / 48),
                Rotate(15 * magnitude),
                Cutout(8 * magnitude / 48),
                Shear(15 * magnitude),
            ]
        )

    def change(self, events: Events, width: int, height: int) -> Events:
        """What flip and the drawn ones leave."""
        events = self.flip(events)
        for choice in torch.randperm(len(self.choices))[: self.number].tolist():
            events = self.choices[choice](events)
        return events


class EventMix(nn.Module):
    r"""Put a randomly shaped region of space and time of one sample into another, for a batch of frames.

    The region of a sample is where a mixture of 2 to 4 Gaussians over (t, y, x) is highest; it has the part 1 - lam of
    all cells, lam ~ Beta(alpha, alpha), drawn once for a batch. In units of the axes' lengths, each Gaussian has its
    mean uniform in 0..1, standard deviations max(u, 0.1) / 2 and a weight u, every u uniform in 0..1 on its own. The
    partner of a sample is the one before it in the batch, as in torchvision's MixUp. With s_a the share of its own
    events that a sample keeps and s_b the share of the partner's that it gets,

        target = (s_a onehot(y_a) + s_b onehot(y_b)) / (s_a + s_b)

    Shares, not numbers, so that a busy recording does not outweigh a quiet one of which as much is seen. If neither
    has an event left, the target counts cells.

    Args:
        alpha: Of the Beta distribution.
        num_classes: K.

    Raises:
        ValueError: If alpha is not above 0.

    Source:
        Shen et al., EventMix: An Efficient Data Augmentation Strategy for Event-Based Learning, Information Sciences
        2023, arXiv:2205.12054, with labels by the number of events; the constants are those of the released code
        (BrainCog, datasets/cut_mix.py). Its salt-and-pepper noise afterwards is left out.
    """

    def __init__(self, alpha: float, num_classes: int) -> None:
        super().__init__()
        if not alpha > 0:
            raise ValueError(f"alpha of EventMix must be above 0, found {alpha}. Leave EventMix out to switch it off.")
        self.beta, self.num_classes = torch.distributions.Beta(alpha, alpha), num_classes

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed frames and soft targets.

        Args:
            x: Frames [T, N, C, H, W], in which no event is zero: counts, or counts times a factor.
            y: Classes [N].

        Returns:
            The frames [T, N, C, H, W] and targets [N, K], float32.

        Raises:
            ValueError: If x are not frames.
        """
        if x.ndim != 5:
            raise ValueError(
                f"EventMix mixes frames [T, N, C, H, W], found {list(x.shape)}. Leave it out for other data."
            )
        steps, samples, _, height, width = x.shape
        density = self.density((steps, height, width), samples, x.device)  # [T, N, H, W]
        cells = density.transpose(0, 1).flatten(1)  # [N, T*H*W]
        kept = min(max(1, round(float(self.beta.sample()) * cells.shape[1])), cells.shape[1])
        lowest = cells.topk(kept, dim=1, largest=False, sorted=False).values  # unlike kthvalue, deterministic on GPUs
        taken = density > lowest.amax(1)[:, None, None]  # [T, N, H, W]
        number = x.abs().sum(2, dtype=torch.float32)  # of events, [T, N, H, W]
        own, others = share(number, ~taken), share(number.roll(1, dims=1), taken)  # [N]
        seen = own + others
        weight = torch.where(seen > 0, others / seen.clamp(min=TINY), taken.float().mean((0, 2, 3)))[:, None]
        target = F.one_hot(y, self.num_classes).float()  # [N, K]
        target = (1 - weight) * target + weight * target.roll(1, dims=0)
        return torch.where(taken[:, :, None], x.roll(1, dims=1), x), target

    def density(self, sides: tuple[int, int, int], samples: int, device: torch.device | None = None) -> Tensor:
        """A mixture of Gaussians for each sample, [T, N, H, W]; drawn on the CPU, computed on the device."""
        gaussians = whole(2, 4)
        curves = []
        for side in sides:
            mean, spread = torch.rand(2, samples, gaussians, 1).to(device)
            place = (torch.arange(side, device=device) + 0.5) / side
            curves.append((-0.5 * ((place - mean) / (0.5 * spread.clamp(min=0.1))) ** 2).exp())  # [N, k, side]
        return torch.einsum("nk,nkt,nkh,nkw->tnhw", torch.rand(samples, gaussians).to(device), *curves)


def share(number: Tensor, seen: Tensor) -> Tensor:
    """Part of the events [T, N, H, W] of each sample that lies in the seen cells, [N]; 0 if it has none."""
    return (number * seen).sum((0, 2, 3)) / number.sum((0, 2, 3)).clamp(min=TINY)


def uniform(low: float, high: float) -> float:
    """Uniform in [low, high)."""
    return low + (high - low) * float(torch.rand((), dtype=torch.float64))


def whole(low: int, high: int) -> int:
    """One of low, ..., high."""
    return int(torch.randint(low, high + 1, ()))


def happens(chance: float) -> bool:
    """True with the given chance."""
    return uniform(0, 1) < chance


def one_of(values: Sequence[float]) -> float:
    """One of the values."""
    return values[whole(0, len(values) - 1)]


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


def check_part(name: str, value: float) -> None:
    """Refuse what is not in 0..1."""
    if not 0 <= value <= 1:  # so that nan is refused, too
        raise ValueError(f"{name} must be in 0..1, found {value}.")


def check_degrees(degrees: float, highest: float) -> None:
    """Refuse an angle that is out of range."""
    if not 0 <= degrees <= highest:
        raise ValueError(f"degrees must be in 0..{highest}, found {degrees}.")


def checked_ratios(ratios: Sequence[float]) -> tuple[float, ...]:
    """The ratios, each in 0..1."""
    if not ratios:
        raise ValueError("ratios must name one ratio at least, found none.")
    for ratio in ratios:
        check_part("ratios", ratio)
    return tuple(ratios)
