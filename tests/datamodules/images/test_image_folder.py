"""Real image files, written by the tests."""

import re
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ImageFolderDataModule
from datamodules.images.image_folder import ImageFiles

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def write(root, count=10, size=(48, 40)):
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for n in range(count):
            Image.new("RGB", size, colour).save(root / name / f"{n}.{'png' if n % 2 else 'jpg'}", quality=95)
    return root


def ready(root, **kwargs):
    data = ImageFolderDataModule(str(root), **{"num_workers": 0, "batch_size": 4, **kwargs})
    data.prepare_data()
    data.setup("fit")
    return data


def test_constants_come_from_the_data(tmp_path):
    data = ImageFolderDataModule(str(write(tmp_path)), image_size=24, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert (data.num_classes, data.in_chans) == (3, 3)  # known before setup: the model is built from them
    assert data.input_cfg == {
        "num_classes": 3,
        "in_chans": 3,
        "input_size": (3, 24, 24),
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
        "label_names": ["blue", "green", "red"],
        "sequence_ndim": 5,
    }


@pytest.mark.parametrize("augment", [False, True])
def test_images_and_labels(tmp_path, augment):
    data = ready(write(tmp_path), augment=augment)
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 18, "val": 6, "test": 6}
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for x, y in loader:
            assert x.shape[2:] == (3, 32, 32)
            assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
            channel = {0: 2, 1: 1, 2: 0}  # label (alphabetical) -> the channel that is 1 after normalisation
            for n, label in enumerate(y.tolist()):
                centre = x[0, n, :, 8:24, 8:24]  # the crop of the augmentation has a black border
                assert torch.allclose(centre[channel[label]], torch.ones(()), atol=0.05)


def test_grey(tmp_path):
    x, _ = next(iter(ready(write(tmp_path), in_chans=1, augment=False).test_dataloader()))
    assert x.shape == (1, 4, 1, 32, 32)
    assert ImageFolderDataModule(str(tmp_path), in_chans=1).input_cfg["mean"] == (0.5,)


def one(tmp_path, image, name="x.png", **save):
    """The pixels [C, 16, 16] that an image becomes."""
    image.save(tmp_path / name, **save)
    return ImageFiles([(tmp_path / name, "cat")], {"cat": 0}, in_chans=3, image_size=16)[0][0][0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_8_bit_mode_is_read(tmp_path, mode):
    white = Image.new("RGB", (20, 20), "white").convert(mode)
    assert one(tmp_path, white, "x.tif").min() > 250


def test_a_wide_image_is_cropped_to_its_centre(tmp_path):
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:, 16:32] = 200
    assert one(tmp_path, Image.fromarray(pixels)).float().mean() > 180


def test_a_photograph_is_turned_as_it_was_taken(tmp_path):
    pixels = np.zeros((16, 16), np.uint8)
    pixels[:8] = 255  # stored: bright above
    exif = Image.Exif()
    exif[0x0112] = 3  # held upside down
    sample = one(tmp_path, Image.fromarray(pixels), "x.jpg", exif=exif)
    assert sample[:, :8].float().mean() < 20 < 230 < sample[:, 8:].float().mean()


def test_a_large_photograph_is_decoded_small(tmp_path):
    sample = one(tmp_path, Image.linear_gradient("L").resize((2048, 2048)).convert("RGB"), "x.jpg", quality=95)
    assert torch.allclose(sample[0].float().mean(1), 16 * torch.arange(16.0) + 7.5, atol=3)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_more_than_8_bits(tmp_path, mode):
    file = write(tmp_path) / "red" / "deep.tiff"
    Image.fromarray(np.zeros((8, 8), {"I;16": "u2", "I": "i4", "F": "f4"}[mode])).save(file)
    with pytest.raises(ValueError, match=re.escape(f"{file}: has more than 8 bits per channel (mode {mode})")):
        ready(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_named_before_training(tmp_path, content):
    file = write(tmp_path) / "red" / "broken.png"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{file}: not an image that can be read"):
        ready(tmp_path)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_truncated_image_is_named_when_it_is_read(tmp_path, kind):
    file = write(tmp_path) / "red" / f"cut.{kind}"
    Image.effect_noise((64, 64), 50).save(file)
    file.write_bytes(file.read_bytes()[:-600])
    data = ready(tmp_path, batch_size=1)
    loaders = [data.val_dataloader(), data.test_dataloader(), data.train_dataloader()]
    with pytest.raises(ValueError, match=f"{file}: the image cannot be read .*truncated"):
        [list(loader) for loader in loaders]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"val_fraction": 0.0}, "val_fraction: expected between 0 and 1"),
        ({"test_fraction": 1.2}, "test_fraction: expected between 0 and 1 .* found 1.2"),
        ({"val_fraction": 0.6, "test_fraction": 0.4}, r"val_fraction \+ test_fraction: expected between 0 and 1"),
        ({"in_chans": 4}, r"in_chans: expected 3 \(colour\) or 1 \(grey\), found 4"),
        ({"image_size": 0}, "image_size: expected at least 1, found 0"),
        ({"mean": (0.5,)}, r"one value per channel \(3\)"),
        ({"in_chans": 1, "std": (0.5, 0.5, 0.5)}, r"one value per channel \(1\)"),
        ({"std": (0.5, 0.0, 0.5)}, "std positive"),
        ({"batch_size": 0}, "batch_size: expected at least 1"),
    ],
)
def test_arguments_out_of_range(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageFolderDataModule(str(tmp_path), **arguments)


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"root: there is no folder {tmp_path}/nowhere"):
        ImageFolderDataModule(str(tmp_path / "nowhere"))


def test_split_file(tmp_path):
    write(tmp_path, 3)
    splits = {"0.jpg": "test", "1.png": "val", "2.jpg": "train"}
    rows = [f"{name}/{file},{name.upper()},{split}" for name in COLOURS for file, split in splits.items()]
    (tmp_path / "mine.csv").write_text("\n".join(["path,label,split", *rows]))
    data = ready(tmp_path, split_file=str(tmp_path / "mine.csv"))
    assert data.input_cfg["label_names"] == ["BLUE", "GREEN", "RED"]
    assert sorted(y for _, y in data.splits["test"]) == [0, 1, 2]


def test_flips_can_be_switched_off(tmp_path):
    write(tmp_path)
    for hflip, expected in ((True, ["RandomCrop", "RandomHorizontalFlip"]), (False, ["RandomCrop"])):
        data = ImageFolderDataModule(str(tmp_path), hflip=hflip)
        assert [type(step).__name__ for step in data.augmentation] == expected


def test_training_does_not_depend_on_workers(tmp_path):
    write(tmp_path)
    batches = [list(ready(tmp_path, num_workers=n).train_dataloader()) for n in (0, 2)]
    for (x, y), (other, z) in zip(*batches, strict=True):
        assert torch.equal(x, other)
        assert torch.equal(y, z)


def test_real_folder(tmp_path, real_data):
    with tarfile.open(real_data("new_classes") / "cifar100_10classes.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    data = ready(tmp_path / "cifar100_10classes")
    assert data.num_classes == 10
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 1700, "val": 300, "test": 1000}
    assert sum(len(y) for _, y in data.test_dataloader()) == 1000


@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize(("background", "rgb"), [("white", (255, 255, 255)), ("#336699", (0x33, 0x66, 0x99))])
@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "RGB with one colour", "L with one grey"])
def test_transparent_images_lie_on_the_background(tmp_path, kind, background, rgb, in_chans):
    """Black, all transparent: what is seen is the background."""
    file = tmp_path / "x.png"
    if kind in ("RGBA", "LA"):
        Image.new(kind, (20, 20), 0).save(file)
    elif kind == "palette":
        Image.new("P", (20, 20), 0).save(file, transparency=0)
    else:
        mode = kind.split()[0]
        Image.new(mode, (20, 20), 0).save(file, transparency=(0, 0, 0) if mode == "RGB" else 0)
    pixels = ImageFiles([(file, "x")], {"x": 0}, in_chans, 16, background)[0][0][0]
    red, green, blue = rgb
    grey = round(0.299 * red + 0.587 * green + 0.114 * blue)  # ITU-R 601-2
    expected = torch.tensor(rgb if in_chans == 3 else [grey])
    assert (pixels.int() - expected[:, None, None]).abs().max() <= 1


def test_half_transparent(tmp_path):
    pixels = one(tmp_path, Image.new("RGBA", (20, 20), (200, 0, 0, 128)))
    expected = torch.tensor([200, 0, 0]) * (128 / 255) + 255 * (127 / 255)
    assert (pixels - expected[:, None, None]).abs().max() <= 1


def test_unknown_background(tmp_path):
    with pytest.raises(ValueError, match="background: expected a colour such as white or #ffffff, found 'whit'"):
        ImageFolderDataModule(str(write(tmp_path)), background="whit")


def test_too_many_pixels_name_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # Pillow refuses twice as many: here 1,000; else 179 million
    write(tmp_path, size=(40, 40))
    with pytest.raises(ValueError, match=r"\.(png|jpg): expected at most 1,000 pixels, found more"):
        ready(tmp_path)
