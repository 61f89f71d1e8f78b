"""Handwritten digits of 8 x 8 pixels that come with scikit-learn: a real dataset without a download."""

from typing import Any

import torch
from torch.utils.data import Dataset, TensorDataset
from torchvision.transforms import v2

from ..base import BaseDataModule
from ..splits import stratified_split


class DigitsDataModule(BaseDataModule):
    """1,797 grey images of the digits 0-9, 8 x 8 pixels with values 0..16, scaled to 0..1; held in memory.

    Splits, all fixed and stratified: test 359 (20 %), validation `val_fraction` of the rest (144), training the rest
    (1,294). Augmentation: small shifts and rotations.

    Source: E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI, 1998 (its test part), CC BY 4.0.
    """

    num_classes = 10
    in_chans = 1
    image_size = 8
    mean = (0.3058,)  # of the training split
    std = (0.3762,)
    label_names = tuple("0123456789")
    augmentation = (v2.RandomAffine(degrees=10, translate=(1 / 8, 1 / 8), interpolation=v2.InterpolationMode.BILINEAR),)
    max_workers = 0

    def load(self) -> dict[str, Dataset[Any]]:
        """Read the images from scikit-learn and split them."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images).float()[:, None, None] / 16  # [n, T=1, C=1, 8, 8]
        labels = torch.from_numpy(digits.target)
        rest, test = stratified_split(labels, 0.2)
        train, val = stratified_split(labels[rest], self.val_fraction)
        splits = {"train": rest[train], "val": rest[val], "test": test}
        return {name: TensorDataset(images[index], labels[index]) for name, index in splits.items()}
