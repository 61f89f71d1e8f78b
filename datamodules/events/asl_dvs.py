"""ASL-DVS: letters of the American sign language, shown by hands in front of an event camera."""

from dataclasses import replace
from typing import Any

import numpy as np

from .arrays import Events
from .published import Layout, PublishedEventDataModule, class_splits, hold_out, number, recordings
from .recordings import EventSample, read_sample

CLASSES = tuple("abcdefghiklmnopqrstuvwxy")


class ASLDVSDataModule(PublishedEventDataModule):
    """100,800 recordings of 24 letters (j and z are movements) by five people, 240 x 180 pixels, about 100 ms each.

    There is no official split, and the files do not say who shows the letter; papers draw 20 % at random for the test,
    where neighbours, cut out of one long recording, stand on both sides. Here, of each letter in the order of the
    numbers: the last 20 % for the test, the last `val_fraction` of the others for validation, the first ones for
    training. (4,200 recordings of five people: if they stand one after another, the last 20 % are a person.) Expect a
    lower accuracy than that of a random split.

    Files `root/ASLDVS/<letter>/<letter>_<number>.mat`, with ts (µs), x, y (from below), pol; tonic downloads them.

    Args:
        root: Folder that holds (or receives) the folder `ASLDVS`, or the folder of the letters itself.
        val_fraction: Part of the training recordings for validation.
        kwargs: Arguments of `EventDataModule`.

    Source: Y. Bi et al. 2019, "Graph-based object classification for neuromorphic vision sensing".
    """

    title = "ASL-DVS"
    num_classes = 24
    sensor_size = (240, 180, 2)
    label_names = CLASSES
    home = "https://github.com/PIX2NVS/NVS2Graph"
    files = "ASLDVS/<letter>/<letter>_<number>.mat"
    layouts = (Layout("ASLDVS", CLASSES), Layout(".", CLASSES))

    def __init__(self, root: str = "data", val_fraction: float = 0.1, **kwargs: Any) -> None:
        super().__init__(root=root, val_fraction=val_fraction, **kwargs)
        self.reader = read_letter

    def fetch(self) -> None:
        """Download with tonic."""
        from tonic.datasets import ASLDVS

        ASLDVS(str(self.root))

    def find(self) -> dict[str, list[EventSample]]:
        """The files, by letter and number."""
        folder = self.folder
        classes = [hold_out(sorted(recordings(folder / name, (".mat",)), key=number), 0.2) for name in CLASSES]
        return class_splits(classes, self.val_fraction)


def read_letter(sample: EventSample) -> Events:
    """The events of a recording; its y counts from the bottom."""
    events = read_sample(sample)
    return replace(events, y=(179 - events.y).astype(np.int16), sensor_size=(240, 180, 2))
