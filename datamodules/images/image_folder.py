"""Your own images, in a folder."""

from pathlib import Path
from typing import Any

from PIL import Image, ImageColor, ImageOps
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2

from ..base import BaseDataModule
from ..class_folders import Files, class_names, find_splits, read_split_file
from ..splits import check_fraction


class ImageFolderDataModule(BaseDataModule):
    """Classification of your own images, in one of three layouts.

    1. `root/<class>/*.png`: validation and test images are taken out of each class, `val_fraction` and
       `test_fraction` of it (rounded, at least one of each).
    2. `root/train/<class>/*`, `root/test/<class>/*` and perhaps `root/val/<class>/*`: used as they are; without `val`,
       `val_fraction` of each class of `train` becomes the validation split.
    3. `split_file`: a CSV file with the header `path,label,split`, paths relative to `root`, splits train, val, test.

    Layouts 1 and 2 order the images of a class by the hash of their path below `root` and cut that order, so a split
    depends on the file names only, not on `seed`, machine or time. Counts are exact even for small classes, and a new
    image moves at most one old one across each cut. (A hash compared with a threshold would move none, but of 30 images
    it may well put 1 or 9 into a split that should get 4.)

    Images are scaled and cropped to a square of `image_size`. Augmentation: shifts by up to 1/8 and horizontal flips.

    Args:
        root: Folder of the images.
        image_size: Height and width in pixels.
        in_chans: 3 = colour, 1 = grey.
        mean: Of each channel, for normalisation; None = 0.5. To fine-tune a model, take those of its `config.json`.
        std: Of each channel; None = 0.5.
        split_file: CSV file of layout 3.
        val_fraction: Part of each class for validation, where the data do not say.
        test_fraction: Part of each class for the test, where the data do not say.
        hflip: Whether to augment by flips; switch off if left and right matter (text, arrows).
        augmentation: Transforms that replace shifts and flips; see `BaseDataModule`.
        background: Colour that transparent images are laid on, by name or as #rrggbb.
        kwargs: Arguments of `BaseDataModule`.

    Raises:
        FileNotFoundError: If `root`, `split_file` or an image it names does not exist.
        ValueError: If there are no images, fewer than two classes, a class without an image in some split, an error in
            `split_file`, an argument out of range; in `setup`, if a file is not an image of 8 bits per channel or has
            too many pixels; in loading, if an image is truncated.
    """

    def __init__(
        self,
        root: str,
        image_size: int = 32,
        in_chans: int = 3,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        split_file: str | None = None,
        val_fraction: float = 0.15,
        test_fraction: float = 0.15,
        hflip: bool = True,
        augmentation: list[nn.Module] | None = None,
        background: str = "white",
        **kwargs: Any,
    ) -> None:
        super().__init__(val_fraction=val_fraction, augmentation=augmentation, **kwargs)
        check_fraction("test_fraction", test_fraction)
        check_fraction("val_fraction + test_fraction", val_fraction + test_fraction)
        if in_chans not in (1, 3):
            raise ValueError(f"in_chans: expected 3 (colour) or 1 (grey), found {in_chans}.")
        if image_size < 1:
            raise ValueError(f"image_size: expected at least 1, found {image_size}.")
        try:
            ImageColor.getrgb(background)
        except ValueError as error:
            raise ValueError(
                f"background: expected a colour such as white or #ffffff, found {background!r}. Name another."
            ) from error
        self.in_chans, self.image_size, self.background = in_chans, image_size, background
        self.mean, self.std = (tuple(values or [0.5] * in_chans) for values in (mean, std))
        if not len(self.mean) == len(self.std) == in_chans or min(self.std) <= 0:
            raise ValueError(
                f"mean and std: expected one value per channel ({in_chans}), std positive, found {mean} and {std}."
            )
        if augmentation is None:
            shifts, flips = v2.RandomCrop(image_size, padding=image_size // 8), [v2.RandomHorizontalFlip()]
            self.augmentation = [shifts, *(flips if hflip else [])]

        if not Path(root).is_dir():
            raise FileNotFoundError(f"root: there is no folder {Path(root).absolute()}.")
        if split_file is None:
            self.files = find_splits(Path(root), IMG_EXTENSIONS, val_fraction, test_fraction)
        else:
            self.files = read_split_file(Path(split_file), Path(root))
        self.label_names = class_names(self.files)
        self.num_classes = len(self.label_names)

    def load(self) -> dict[str, Dataset[Any]]:
        """Open each file just far enough to know that it is an image; the pixels are read when they are needed."""
        for file, _ in (pair for files in self.files.values() for pair in files):
            open_image(file).close()
        labels = {name: label for label, name in enumerate(self.label_names)}
        how = (labels, self.in_chans, self.image_size, self.background)
        return {split: ImageFiles(files, *how) for split, files in self.files.items()}


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Images read from their files: sequences `[T=1, C, S, S]` uint8, and labels.

    Args:
        files: Image files and class names.
        labels: Class name -> label.
        in_chans: C, 3 = colour, 1 = grey.
        image_size: S, in pixels.
        background: Colour that transparent images are laid on.
    """

    def __init__(
        self, files: Files, labels: dict[str, int], in_chans: int, image_size: int, background: str = "white"
    ) -> None:
        self.files, self.labels, self.image_size, self.background = files, labels, image_size, background
        self.mode = "RGB" if in_chans == 3 else "L"
        self.fit = v2.Compose([v2.Resize(image_size), v2.CenterCrop(image_size), v2.PILToTensor()])

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        file, name = self.files[index]
        with open_image(file) as image:
            # A large JPEG is decoded at a fraction of its size, several times faster; other formats ignore this.
            image.draft(self.mode, (2 * self.image_size, 2 * self.image_size))
            try:
                upright = opaque(ImageOps.exif_transpose(image), self.background).convert(self.mode)
            except (OSError, SyntaxError, ValueError) as error:
                raise ValueError(f"{file}: the image cannot be read ({error}). Repair or remove it.") from error
        return self.fit(upright)[None], self.labels[name]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def targets(self) -> list[int]:
        """The class of every image."""
        return [self.labels[name] for _, name in self.files]


def opaque(image: Image.Image, background: str) -> Image.Image:
    """An image on a background; dropping the transparency would show the colours hidden under it, often black."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image)


def open_image(file: Path) -> Image.Image:
    """Open an image without reading its pixels.

    Raises:
        ValueError: If it is no image, has more than 8 bits per channel (converting it would clip it to white), or more
            pixels than Pillow opens.
    """
    try:
        image = Image.open(file)
    except OSError as error:
        raise ValueError(f"{file}: not an image that can be read ({error}). Repair or remove it.") from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ValueError(f"{file}: expected at most {most:,} pixels, found more ({error}). Scale it down.") from error
    if image.mode[0] in "IF":
        image.close()
        raise ValueError(f"{file}: has more than 8 bits per channel (mode {image.mode}). Convert it to 8 bits.")
    return image
