"""Augmentation of images that torchvision lacks; for the list `augmentation` of a dataset of images.

Every module maps an image [T=1, C, H, W] to an image of the same shape and draws from torch's CPU generator only, which
`SeededDataset` seeds anew for every sample: what comes out depends on (seed, epoch, index), not on processes.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from ..loading import current_turn


class ImageAugmentation(nn.Module):
    """Base class: a change of images [..., C, H, W]."""

    after_normalisation: ClassVar[bool] = False
    """Whether it runs after the image was normalised, wherever it stands in the list."""


class AlternatingFlip(ImageAugmentation):
    """Mirrors every image left to right in every other epoch.

    A fixed random half of the images is mirrored in the epochs 0, 2, ..., the other half in the epochs 1, 3, ...; which
    half an image is in depends on (seed, index). Two consecutive epochs show every image once mirrored and once as it
    is, where independent flips show half of the images twice from the same side.

    Leave it out where left and right matter, as in digits and text. An image that is not loaded by `EpochSampler`
    (Lightning's `overfit_batches` replaces it) is not mirrored.

    Source: K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv:2404.00498, section 3.6 (airbench).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Mirrored or not, [..., C, H, W]."""
        return x.flip(-1) if current_turn.get() % 2 else x


class SquareCutout(ImageAugmentation):
    """Erases one square of every image, to the mean colour of the dataset.

    The square's centre is a uniformly random pixel of the image, so the square may be cut off at a border, and fewer
    than size x size pixels are erased. It runs after normalisation, wherever it stands in the list, and writes zeros:
    the mean of the dataset.

    Args:
        size: Side of the square, in pixels.

    Raises:
        ValueError: If size is not positive.

    Source: T. DeVries and G. W. Taylor, "Improved regularization of convolutional neural networks with cutout",
    arXiv:1708.04552; airbench places its squares inside the image instead.
    """

    after_normalisation = True

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size of SquareCutout: expected a side in pixels >= 1, found {size}.")
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """A copy of x [..., C, H, W] with a square of zeros."""
        height, width = x.shape[-2:]
        top = int(torch.randint(height, ())) - self.size // 2
        left = int(torch.randint(width, ())) - self.size // 2
        x = x.clone()
        x[..., max(top, 0) : max(top + self.size, 0), max(left, 0) : max(left + self.size, 0)] = 0
        return x


def without_shifts(augmentation: Sequence[nn.Module]) -> list[nn.Module]:
    """What a cached teacher sees of an augmentation: `AlternatingFlip` alone, which has two views of an image.

    Translations (`RandomCrop` with padding) and erased parts are left out, because each epoch would have another view.

    Raises:
        ValueError: If a transform is neither; a teacher that never sees it would teach something else.
    """
    left_out = (v2.RandomCrop, v2.RandomErasing, SquareCutout)
    for part in augmentation:
        if isinstance(part, v2.RandomHorizontalFlip):
            raise ValueError(
                "cache_teacher: expected two views of an image, found RandomHorizontalFlip, which mirrors at random. "
                "Use AlternatingFlip."
            )
        if not isinstance(part, (AlternatingFlip, *left_out)):
            allowed = ", ".join(kind.__name__ for kind in (AlternatingFlip, *left_out))
            raise ValueError(
                f"cache_teacher: expected an augmentation of {allowed} only, found {type(part).__name__}, whose images "
                "a cached teacher never sees. Leave it out, or set cache_teacher: false."
            )
    return [part for part in augmentation if isinstance(part, AlternatingFlip)]
