"""CIFAR-10 and CIFAR-100."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset, TensorDataset
from torchvision import datasets
from torchvision.datasets.utils import check_integrity
from torchvision.transforms import v2

from ..base import BaseDataModule
from ..download import download, not_found
from ..splits import stratified_split

LABELS = "airplane automobile bird cat deer dog frog horse ship truck"
FINE_LABELS = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""


class CIFAR10DataModule(BaseDataModule):
    """60,000 colour photographs of 10 classes, 32 x 32 pixels.

    Splits, all fixed: test = the official 10,000; validation = `val_fraction` of the official training images,
    stratified (5,000, 500 a class); training = the other 45,000. Augmentation: shifts by up to 4 pixels and horizontal
    flips, then what the arguments add.

    The "python version" is read from `root/cifar-10-batches-py`, and downloaded if a file is missing.

    Args:
        root: Folder that holds (or receives) the folder of the dataset.
        val_fraction: Part of the official training images for validation.
        randaugment: Whether to add RandAugment (2 random operations of magnitude 9).
        erasing: Probability of erasing a random rectangle of a training image.
        augmentation: Transforms that replace all of these; see `BaseDataModule`.
        kwargs: Arguments of `BaseDataModule`.

    Raises:
        FileNotFoundError: If a file is missing and cannot be downloaded (`prepare_data`, `setup`).
        ValueError: If a file does not have its official checksum (`setup`), `erasing` is not in 0..1, or
            `augmentation` meets `randaugment` or `erasing`.

    Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """

    num_classes = 10
    in_chans = 3
    image_size = 32
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, ...] = (0.2470, 0.2435, 0.2616)
    label_names: tuple[str, ...] = tuple(LABELS.split())
    dataset: Any = datasets.CIFAR10
    home = "https://www.cs.toronto.edu/~kriz/cifar.html (python version)"

    def __init__(
        self,
        root: str = "data",
        val_fraction: float = 0.1,
        randaugment: bool = False,
        erasing: float = 0.0,
        augmentation: list[nn.Module] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(val_fraction=val_fraction, augmentation=augmentation, **kwargs)
        if not 0 <= erasing <= 1:
            raise ValueError(f"erasing: expected a probability in 0..1, found {erasing}.")
        self.root = root
        if augmentation is not None:
            if randaugment or erasing:
                raise ValueError(
                    "augmentation replaces the transforms of the dataset: expected it without randaugment and "
                    f"erasing, found randaugment {randaugment} and erasing {erasing}. Add "
                    "torchvision.transforms.v2.RandAugment or RandomErasing to the list instead."
                )
            return
        self.augmentation = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()]
        if randaugment:
            self.augmentation += [v2.RandAugment()]
        if erasing:  # to the mean colour, which becomes 0
            self.augmentation += [v2.RandomErasing(erasing, value=[round(255 * mean) for mean in self.mean])]

    def files(self) -> dict[Path, str]:
        """The files of the dataset with their official md5 sums."""
        folder = Path(self.root, self.dataset.base_folder).absolute()
        meta = (self.dataset.meta["filename"], self.dataset.meta["md5"])
        return {folder / name: md5 for name, md5 in [*self.dataset.train_list, *self.dataset.test_list, meta]}

    def missing(self) -> list[Path]:
        """The files that are not there."""
        return [file for file in self.files() if not file.exists()]

    def prepare_data(self) -> None:
        """Download what is missing."""
        fetch = partial(self.dataset, self.root, download=True)
        download(self.dataset.__name__, fetch, self.missing, self.home)

    def load(self) -> dict[str, Dataset[Any]]:
        """Check and read the pickled batches, and split the training images."""
        if missing := self.missing():
            raise not_found(self.dataset.__name__, missing, self.home, "`prepare_data` has not been called")
        try:
            official, test = (self.dataset(self.root, train=train) for train in (True, False))
        except RuntimeError as error:
            bad = [str(file) for file, md5 in self.files().items() if not check_integrity(file, md5)]
            raise ValueError(
                f"{self.dataset.__name__}: not the official md5 sum, so truncated or corrupt: {', '.join(bad)}. "
                "Delete it; it is downloaded again."
            ) from error
        train, val = stratified_split(official.targets, self.val_fraction)
        return {"train": tensors(official, train), "val": tensors(official, val), "test": tensors(test)}


class CIFAR100DataModule(CIFAR10DataModule):
    """60,000 colour photographs of 100 classes (the fine labels), 32 x 32 pixels.

    Splits, arguments and errors as for CIFAR-10: 45,000 / 5,000 (50 a class) / 10,000.
    Files in `root/cifar-100-python`.
    """

    num_classes = 100
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    label_names = tuple(FINE_LABELS.split())
    dataset = datasets.CIFAR100


def tensors(dataset: Any, index: NDArray[np.int64] | slice = slice(None)) -> TensorDataset:
    """Images [n, T=1, C=3, 32, 32] uint8 and labels [n] int64 of a torchvision dataset."""
    images = torch.from_numpy(dataset.data[index]).permute(0, 3, 1, 2)[:, None]  # [n, H, W, C] -> [n, 1, C, H, W]
    return TensorDataset(images.contiguous(), torch.tensor(dataset.targets)[index])
