"""N-CARS: what an event camera behind the windscreen of a car sees, cut out: cars, and background."""

from pathlib import Path
from typing import Any

from .published import Layout, PublishedEventDataModule, class_splits, number, recordings
from .recordings import EventSample

CLASSES = ("background", "cars")
PARTS = ("n-cars_train", "n-cars_test")


class NCARSDataModule(PublishedEventDataModule):
    """24,029 recordings of 100 ms, at most 120 x 100 pixels, cut out of those of an ATIS camera (304 x 240).

    The cuts differ in size; each is placed at the left upper corner of a frame of 120 x 100 pixels.

    Splits: test = the official `n-cars_test` (8,607); validation = the last `val_fraction` of each class of
    `n-cars_train`, by number, as neighbours may come from one drive; training = the others.

    Files `root/Prophesee_Dataset_n_cars/{n-cars_train,n-cars_test}/{cars,background}/obj_<number>_td.dat`; a folder
    `train` or `test` in between, as the archives of the parts have it, is fine.

    Args:
        root: Folder that holds `Prophesee_Dataset_n_cars`, or `n-cars_train` and `n-cars_test`.
        val_fraction: Part of the training recordings for validation.
        kwargs: Arguments of `EventDataModule`.

    Source: A. Sironi et al. 2018, "HATS: Histograms of averaged time surfaces for robust event-based object
    classification".
    """

    title = "N-CARS"
    num_classes = 2
    sensor_size = (120, 100, 2)
    label_names = CLASSES
    home = "https://www.prophesee.ai/2018/03/13/dataset-n-cars"
    files = "Prophesee_Dataset_n_cars/{n-cars_train,n-cars_test}/{cars,background}/obj_<number>_td.dat"
    layouts = (Layout("Prophesee_Dataset_n_cars", PARTS), Layout(".", PARTS))

    def __init__(self, root: str = "data", val_fraction: float = 0.1, **kwargs: Any) -> None:
        super().__init__(root=root, val_fraction=val_fraction, **kwargs)

    def find(self) -> dict[str, list[EventSample]]:
        """The files, by class and number."""
        train, test = (inner(self.folder / name) for name in PARTS)
        classes = [(by_number(train / name), by_number(test / name)) for name in CLASSES]
        return class_splits(classes, self.val_fraction)


def by_number(folder: Path) -> list[Path]:
    """The recordings of a class."""
    return sorted(recordings(folder, (".dat",)), key=number)


def inner(folder: Path) -> Path:
    """The folder of the classes of a part."""
    nested = folder / folder.name.removeprefix("n-cars_")
    return nested if nested.is_dir() else folder
