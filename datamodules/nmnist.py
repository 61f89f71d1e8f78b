"""N-MNIST: the digits of MNIST, filmed by a moving event camera."""

from pathlib import Path
from typing import Any

from .class_folders import find_files
from .download import download, not_found
from .event_data import Clip, EventDataModule
from .splits import stratified_split


class NMNISTDataModule(EventDataModule):
    """70,000 recordings of handwritten digits, 34 x 34 pixels, 300 ms: three saccades of 100 ms over each of them.

    Splits, all fixed: test = the recordings in `Test`; validation = `val_fraction` of those in `Train`, stratified
    (5,000 of 60,000); training = the others. Files `root/NMNIST/{Train,Test}/<digit>/<number>.bin`, 5 bytes an event;
    fewer files, such as a part of the data set, are taken as they are. What is missing is downloaded by tonic.

    Args:
        root: Folder that holds (or receives) the folder `NMNIST`.
        val_fraction: Part of the training recordings for validation.
        kwargs: Arguments of `EventDataModule`.

    Source: G. Orchard et al. 2015, "Converting static image datasets to spiking neuromorphic datasets using saccades",
    CC BY-SA 4.0.
    """

    num_classes = 10
    sensor_size = (34, 34, 2)
    label_names = tuple("0123456789")
    home = "https://www.garrickorchard.com/datasets/n-mnist"

    def __init__(self, root: str = "data", val_fraction: float = 5_000 / 60_000, **kwargs: Any) -> None:
        super().__init__(root=root, val_fraction=val_fraction, **kwargs)

    def missing(self) -> list[Path]:
        """The folders of digits that are not there."""
        home = (self.root / "NMNIST").absolute()
        folders = [home / part / digit for part in ("Train", "Test") for digit in self.label_names]
        return [folder for folder in folders if not folder.is_dir()]

    def prepare_data(self) -> None:
        """Download what is missing."""
        from tonic.datasets import NMNIST

        download(
            "NMNIST", lambda: [NMNIST(str(self.root), train=part) for part in (True, False)], self.missing, self.home
        )

    def find(self) -> dict[str, list[Clip]]:
        """The files, by digit and number."""
        if missing := self.missing():
            raise not_found("NMNIST", missing, self.home, "`prepare_data` has not been called")
        train, test = (
            [Clip(file, int(digit)) for file, digit in find_files(self.root / "NMNIST" / part, (".bin",))]
            for part in ("Train", "Test")
        )
        kept, held_out = stratified_split([clip.label for clip in train], self.val_fraction)
        return {"train": [train[i] for i in kept], "val": [train[i] for i in held_out], "test": test}
