"""The event twin of a data set of images: the same pictures and splits, filmed by a moving event camera."""

import hashlib
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from .base import BaseDataModule
from .event_camera import EventCamera
from .event_data import Clip, EventDataModule, between
from .events import Events


@dataclass(frozen=True)
class Still(Clip):
    """One sample: a film of an image.

    Args:
        images: The split that holds the image.
        index: Its place there.
        number: Its place in the whole data set: index of its noise.
        digest: Hash of its pixels.
    """

    images: Dataset[Any] | None = None
    index: int = 0
    number: int = 0
    digest: str = ""

    def fingerprint(self) -> list[Any]:
        """The image, its number, and the part of the film."""
        return [self.digest, self.number, self.start, self.stop]


@dataclass(frozen=True)
class Film:
    """Still -> its events.

    Args:
        camera: What films.
    """

    camera: EventCamera

    def __call__(self, still: Still) -> Events:
        """The events of an image, or of a part of its film."""
        assert still.images is not None
        sequence, _ = still.images[still.index]  # [T=1, C, H, W]
        return between(self.camera(sequence[0].numpy(), still.number), still.start, still.stop)


class EventTwinDataModule(EventDataModule):
    """Event twin of any data set of images: its images, filmed by a simulated camera, with its classes and splits.

    Images are those of the source without its augmentation and normalisation. Each is filmed once, then found in the
    cache; the same image at the same place gives the same events, in every run. At the start of a run all images are
    read, to know their labels and to notice a changed one.

    Args:
        source: The data set of images; it gives the splits (its `val_fraction`), while the batch size, the seed of the
            order and the like are the arguments here.
        camera: What films; default: `EventCamera()`.
        kwargs: Arguments of `EventDataModule`, but for root and val_fraction.

    Raises:
        ValueError: If the source does not hold images.
    """

    def __init__(self, source: BaseDataModule, camera: EventCamera | None = None, **kwargs: Any) -> None:
        super().__init__(root=type(source).__name__, val_fraction=source.val_fraction, **kwargs)
        if source.sequence_ndim != 5 or isinstance(source, EventDataModule):
            raise ValueError(f"source must be a data set of images, {type(source).__name__} is not.")
        self.source, self.camera = source, camera or EventCamera()
        self.num_classes, self.label_names = source.num_classes, source.label_names
        self.sensor_size = self.camera.sensor_size
        self.reader = Film(self.camera)  # type: ignore[assignment]  # its clips are stills

    def prepare_data(self) -> None:
        """Get the images, if the source does so."""
        self.source.prepare_data()

    def find(self) -> dict[str, list[Clip]]:
        """The images of the source, in its order."""
        splits: dict[str, list[Clip]] = {}
        number = 0
        for split, images in self.source.load().items():
            splits[split] = []
            for index in range(len(images)):  # type: ignore[arg-type]  # every source here has a length
                sequence, label = images[index]
                place = self.root / split / str(index)
                splits[split].append(Still(place, int(label), None, None, images, index, number, digest(sequence)))
                number += 1
        return splits


def digest(sequence: Tensor) -> str:
    """Hash of an image [T=1, C, H, W]: its shape, type and values."""
    array = sequence.numpy()
    return hashlib.blake2b(f"{array.shape} {array.dtype}".encode() + array.tobytes(), digest_size=16).hexdigest()
