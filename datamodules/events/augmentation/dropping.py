"""Augmentation that drops events."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ..arrays import Events
from .draws import choice, random_int, uniform
from .event_augmentation import EventAugmentation, check_part, checked_ratios
from .space import inside


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
        left, top = random_int(0, width - 1) - box_width // 2, random_int(0, height - 1) - box_height // 2
        return events[~inside(events, left, top, box_width, box_height)]


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
        length = round(choice(self.ratios) * ticks)
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
        ratio = choice(self.ratios)
        box_width, box_height = round(ratio * width), round(ratio * height)
        left, top = random_int(0, width - box_width), random_int(0, height - box_height)
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
        dropped = int(choice(self.ratios) * len(events))
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
        choice = random_int(0, len(self.choices))
        return events if choice == 0 else self.choices[choice - 1](events)
