"""Events as points: clouds [P, D] of (x, y, t), what networks on points take instead of frames.

A recording has many more events than such a network reads, so some are drawn. Evaluation must not depend on chance, and
what is cached must not either: `Cloud` always draws the same ones. A new draw for every epoch is an augmentation,
`SampleEvents`, which comes after the cache and before the cloud.
Shapes: P points, D coordinates.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from .arrays import Events, EventTransform, SensorSize
from .frames import Representation, in_sensor


@dataclass(frozen=True)
class Cloud(Representation):
    r"""One cloud [T = 1, P, D] of a recording, float32 in [0, 1], in the order of time.

        ( x / (W - 1),  y / (H - 1),  (t - t_first) / (t_last - t_first) )

    Of more than P events, P are drawn, always the same ones; fewer are followed by rows of -1, the padding of
    `zoo.layers.cloud_encoder`. A coordinate without extent (one column, one moment) is 0.

    SpikePoint reads windows of 0.5 s, half of which overlap, and none of fewer than 100 events: `window_ms: 500`,
    `stride_ms: 250`, `min_events: 100` of the DataModule, and `augmentation: [SampleEvents(1024)]` for its random draw.
    A recording must have as many events as a group of the model has neighbours (24): `min_events` sees to it.

    Args:
        num_points: P.
        polarity: Whether p, 0 or 1, stands before t: D = 4. It is as far from one polarity to the other as across the
            sensor, so neighbours are of the same polarity. SpikePoint drops it: D = 3.

    Raises:
        ValueError: If num_points is not at least 1; in use, if an event lies outside the sensor.

    Source: SpikePoint, Ren et al. 2024, arXiv:2310.07189, section 3.1.

    Example:
        >>> events = Events.of(t=[100, 300], x=[0, 9], y=[19, 0], p=[1, 0])
        >>> Cloud(num_points=3)(events, (10, 20, 2)).tolist()
        [[[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [-1.0, -1.0, -1.0]]]
    """

    num_points: int = 1024
    polarity: bool = False
    sequence_ndim: ClassVar[int] = 4

    def __post_init__(self) -> None:
        check_num_points(self.num_points)

    def __call__(self, events: Events, sensor_size: SensorSize) -> NDArray[Any]:
        """Cloud [T = 1, P, D] of a recording."""
        events = in_sensor(events, sensor_size).in_time()
        if len(events) > self.num_points:
            events = events[np.sort(np.random.default_rng(0).choice(len(events), self.num_points, replace=False))]
        width, height, _ = sensor_size
        cloud = np.full((1, self.num_points, 4), -1, np.float32)
        if len(events):
            t = events.t - events.t[0]  # in whole numbers: times may be large, and their differences small
            columns = ((events.x, width - 1), (events.y, height - 1), (events.p, 1), (t, int(t[-1])))
            for column, (values, largest) in enumerate(columns):
                cloud[0, : len(events), column] = values / max(largest, 1)
        return cloud if self.polarity else cloud[..., [0, 1, 3]]

    def input_size(self, sensor_size: SensorSize) -> tuple[int, int, int]:
        """(D, P, 1): coordinates are what channels are to frames."""
        return 4 if self.polarity else 3, self.num_points, 1


class SampleEvents(EventTransform):
    """Draw events without replacement, from torch's generator; where there are fewer, all stay.

    Args:
        num_points: Events to draw.

    Raises:
        ValueError: If num_points is not at least 1.
    """

    def __init__(self, num_points: int = 1024) -> None:
        super().__init__()
        check_num_points(num_points)
        self.num_points = num_points

    def forward(self, events: Events) -> Events:
        """The events that were drawn, in their order."""
        return events[torch.randperm(len(events))[: self.num_points].sort().values.numpy()]


def check_num_points(num_points: int) -> None:
    """Raise a ValueError unless a cloud can have as many points."""
    if num_points < 1:
        raise ValueError(f"num_points: expected at least 1, found {num_points}.")
