"""N-MNIST: the digits of MNIST, filmed by a moving event camera."""

from typing import Any

from ..class_folders import find_files
from ..splits import stratified_split
from .published import Layout, PublishedEventDataModule
from .recordings import EventSample

DIGITS = tuple("0123456789")
PARTS = tuple(f"{part}/{digit}" for part in ("Train", "Test") for digit in DIGITS)


class NMNISTDataModule(PublishedEventDataModule):
    """70,000 recordings of handwritten digits, 34 x 34 pixels, 300 ms: three saccades of 100 ms over each of them.

    Splits, all fixed: test = the recordings in `Test`; validation = `val_fraction` of those in `Train`, stratified
    (5,000 of 60,000); training = the others. Files `root/NMNIST/{Train,Test}/<digit>/<number>.bin`, 5 bytes an event;
    fewer files, such as a part of the dataset, are taken as they are. What is missing is downloaded by tonic.

    Args:
        root: Folder that holds (or receives) the folder `NMNIST`.
        val_fraction: Part of the training recordings for validation.
        kwargs: Arguments of `EventDataModule`.

    Source: G. Orchard et al. 2015, "Converting static image datasets to spiking neuromorphic datasets using saccades",
    CC BY-SA 4.0.
    """

    title = "N-MNIST"
    num_classes = 10
    sensor_size = (34, 34, 2)
    label_names = DIGITS
    home = "https://www.garrickorchard.com/datasets/n-mnist"
    files = "NMNIST/{Train,Test}/<digit>/<number>.bin"
    layouts = (Layout("NMNIST", PARTS), Layout(".", PARTS))

    def __init__(self, root: str = "data", val_fraction: float = 5_000 / 60_000, **kwargs: Any) -> None:
        super().__init__(root=root, val_fraction=val_fraction, **kwargs)

    def fetch(self) -> None:
        """Download with tonic."""
        from tonic.datasets import NMNIST

        for train in (True, False):
            NMNIST(str(self.root), train=train)

    def find(self) -> dict[str, list[EventSample]]:
        """The files, by digit and number."""
        folder = self.folder
        train, test = (
            [EventSample(file, int(digit)) for file, digit in find_files(folder / part, (".bin",))]
            for part in ("Train", "Test")
        )
        kept, held_out = stratified_split([sample.label for sample in train], self.val_fraction)
        return {"train": [train[i] for i in kept], "val": [train[i] for i in held_out], "test": test}
