"""The event twin of a dataset of images: the same pictures and splits, filmed by a moving event camera."""

import hashlib
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from ..base import BaseDataModule
from .arrays import Events
from .camera import EventCamera
from .pipeline import EventDataModule
from .recordings import EventSample, between


@dataclass(frozen=True)
class ImageClip(EventSample):
    """One sample: the recording of an image by a moving camera.

    Args:
        images: The split that holds the image.
        index: Its place there.
        number: Its place in the whole dataset: index of its noise.
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
class CameraReader:
    """ImageClip -> its events.

    Args:
        camera: What films.
    """

    camera: EventCamera

    def __call__(self, clip: ImageClip) -> Events:
        """The events of an image, or of a part of its film."""
        assert clip.images is not None
        sequence, _ = clip.images[clip.index]  # [T=1, C, H, W]
        return between(self.camera(sequence[0].numpy(), clip.number), clip.start, clip.stop)


class EventTwinDataModule(EventDataModule):
    """Event twin of any dataset of images: its images, filmed by a simulated camera, with its classes and splits.

    Images are those of the source without its augmentation and normalisation. Each is filmed once, then found in the
    cache; the same image at the same place gives the same events, in every run. At the start of a run all images are
    read, to know their labels and to notice a changed one.

    Args:
        source: The dataset of images; it gives the splits (its `val_fraction`), while the batch size, the seed of the
            order and the like are the arguments here.
        camera: What films; default: `EventCamera()`.
        kwargs: Arguments of `EventDataModule`, but for root and val_fraction.

    Raises:
        ValueError: If the source does not hold images.
    """

    def __init__(self, source: BaseDataModule, camera: EventCamera | None = None, **kwargs: Any) -> None:
        super().__init__(root=type(source).__name__, val_fraction=source.val_fraction, **kwargs)
        if source.sequence_ndim != 5 or isinstance(source, EventDataModule):
            raise ValueError(f"source: expected a dataset of images, found {type(source).__name__}.")
        self.source, self.camera = source, camera or EventCamera()
        self.num_classes, self.label_names = source.num_classes, source.label_names
        self.sensor_size = self.camera.sensor_size
        self.reader = CameraReader(self.camera)  # type: ignore[assignment]  # its samples are ImageClips

    def prepare_data(self) -> None:
        """Get the images, if the source does so."""
        self.source.prepare_data()

    def find(self) -> dict[str, list[EventSample]]:
        """The images of the source, in its order."""
        splits: dict[str, list[EventSample]] = {}
        number = 0
        for split, images in self.source.load().items():
            splits[split] = []
            for index in range(len(images)):  # type: ignore[arg-type]  # every source here has a length
                sequence, label = images[index]
                place = self.root / split / str(index)
                splits[split].append(ImageClip(place, int(label), None, None, images, index, number, digest(sequence)))
                number += 1
        return splits


def digest(sequence: Tensor) -> str:
    """Hash of an image [T=1, C, H, W]: its shape, type and values."""
    array = sequence.numpy()
    return hashlib.blake2b(f"{array.shape} {array.dtype}".encode() + array.tobytes(), digest_size=16).hexdigest()
