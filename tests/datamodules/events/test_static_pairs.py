"""Pairs of images and recordings that name themselves: every pixel of a sample says which one it is."""

import colorsys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning import Callback, LightningModule, Trainer
from PIL import Image
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

from datamodules import BaseDataModule, DigitsDataModule, EventTwinDataModule, StaticEventPairsDataModule
from datamodules.events.static_pairs import Value, progress

N = 90  # training images and recordings


class Named(BaseDataModule):
    """Sequences whose pixels are all the sample's own number; the class is that number modulo 3."""

    num_classes, in_chans, image_size, mean, std, max_workers = 3, 1, 6, (0.0,), (1.0,), 0
    label_names = ("bird", "cat", "dog")
    steps = 1
    first = 0
    scale = 1000.0

    def load(self):
        splits = {}
        for split, start in (("train", self.first), ("val", self.first + 100), ("test", self.first + 200)):
            numbers = torch.arange(start, start + N)
            x = (numbers / self.scale).view(-1, 1, 1, 1, 1).expand(-1, self.steps, self.in_chans, self.image_size, 6)
            splits[split] = TensorDataset(x.contiguous(), numbers % 3)
        return splits


class Images(Named):
    """Images 0 to 0.089 (validation 0.1.., test 0.2..), of the same classes in another order, and one class more."""

    in_chans, mean, std, num_classes = 3, (0.5,) * 3, (0.5,) * 3, 4
    label_names = ("dog", "bird", "cat", "unicorn")


class Recorded(Named):
    """Recordings 0.3 to 0.389 of 4 steps, 2 channels and 9 x 6 pixels."""

    in_chans, image_size, mean, std, steps, first = 2, 9, (0.0,) * 2, (1.0,) * 2, 4, 300

    @property
    def input_cfg(self):
        return super().input_cfg | {"input_size": (2, 9, 6)}


class Loose(Recorded):
    """A class that has no images, and three that have no recordings."""

    label_names = ("bird", "cat", "wolf")


def ready(events=None, images=None, **kwargs):
    data = StaticEventPairsDataModule(events or Recorded(), images or Images(), num_workers=0, **kwargs)
    data.setup("fit")
    return data


def training(data, epoch=0, batch=0, rank=0, length=10, epochs=4, max_steps=-1):
    """Give the DataModule the part of a trainer that it reads."""
    done = SimpleNamespace(current=SimpleNamespace(ready=batch))
    data.trainer = SimpleNamespace(
        training=True,
        current_epoch=epoch,
        global_rank=rank,
        world_size=1,
        num_training_batches=length,
        max_epochs=epochs,
        max_steps=max_steps,
        accumulate_grad_batches=1,
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=done)),
        train_dataloader=None,
    )
    return data


def epoch_of(data, number=0):
    """The numbers [n, 2] of image and recording of every pair of an epoch, and their classes [n]."""
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    numbers, classes = [], []
    for x, y in loader:
        assert (x == x[:1, :, :1, :1, :1]).all()  # replicated over steps and channels; a constant is resized to itself
        numbers.append((1000 * x[0, :, 0, 0, 0]).round().long().view(2, -1).T)
        classes.append(y.view(2, -1).T)
    return torch.cat(numbers), torch.cat(classes)


def test_a_training_batch_is_images_then_recordings():
    data = ready(batch_size=8)
    x, y = next(iter(data.train_dataloader()))
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((4, 16, 2, 9, 6), torch.float32, (16,), torch.int64)
    assert torch.equal(*y.chunk(2))
    assert (x[:, :8] < 0.3).all()
    assert (x[:, 8:] >= 0.3).all()


def test_evaluation_sees_recordings_only():
    data, events = ready(batch_size=8), Recorded(batch_size=8)
    events.setup("fit")
    for name in ("val_dataloader", "test_dataloader", "predict_dataloader"):
        for (x, y), (expected, labels) in zip(getattr(data, name)(), getattr(events, name)(), strict=True):
            assert torch.equal(x, expected)
            assert torch.equal(y, labels)
    assert data.input_cfg == events.input_cfg


def test_pairs_are_of_one_class_by_name_and_from_the_training_split():
    names = {number: Images.label_names[number % 3] for number in range(N)}
    seen = set()
    data = ready(batch_size=10)
    for number in range(20):
        numbers, classes = epoch_of(data, number)
        assert sorted(numbers[:, 1].tolist()) == list(range(300, 300 + N))  # every recording once
        for (still, recording), (first, second) in zip(numbers.tolist(), classes.tolist(), strict=True):
            assert still < N  # 100 and more would be of validation and test
            assert names[still] == Recorded.label_names[recording % 3]
            assert first == second == recording % 3
            seen.add(still)
    assert seen == set(range(N))  # a label that is drawn from has 30 images: all are met in 600 draws


def test_draws_depend_on_seed_epoch_and_index_only():
    def drawn(number=0, seed=0, **kwargs):
        pairs, _ = epoch_of(ready(seed=seed, **kwargs), number)
        return {recording: still for still, recording in pairs.tolist()}

    state = torch.get_rng_state()
    first = drawn(batch_size=10)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    np.random.seed(99)
    assert drawn(batch_size=30) == first  # also in other batches
    for other in (drawn(1, batch_size=10), drawn(seed=1, batch_size=10)):
        alike = sum(other[recording] == still for recording, still in first.items())
        assert alike < 15  # of 90, 3 are expected by chance


@pytest.mark.parametrize("exponent", [1.0, 3.0])
def test_progress_is_that_of_the_equation(exponent):
    epochs, length = 4, 10
    for epoch in range(epochs):
        for batch in range(length):
            trainer = training(SimpleNamespace(), epoch, batch, length=length, epochs=epochs).trainer
            expected = ((batch + epoch * length) / (epochs * length)) ** exponent
            assert progress(trainer) ** exponent == pytest.approx(expected)
    assert progress(training(SimpleNamespace(), 4, 3).trainer) == 1  # a fit that went on
    assert progress(training(SimpleNamespace(), 2, 5, epochs=-1).trainer) == 0  # one without an end
    assert progress(training(SimpleNamespace(), 2, 5, epochs=-1, max_steps=50).trainer) == 0.5
    assert progress(training(SimpleNamespace(), 1, 0, epochs=10, max_steps=20).trainer) == 0.5


@pytest.mark.parametrize(("exponent", "epoch", "batch"), [(3.0, 0, 0), (3.0, 2, 0), (3.0, 3, 5), (1.0, 1, 0)])
def test_as_many_images_are_replaced_as_the_probability_says(exponent, epoch, batch):
    n, p = 20_000, ((10 * epoch + batch) / 40) ** exponent
    data = training(StaticEventPairsDataModule(Recorded(), Images(), exponent=exponent), epoch, batch)
    x, y = torch.arange(2.0 * n).view(1, -1, 1, 1, 1), torch.arange(n).repeat(2)
    after, target = data.on_after_batch_transfer((x, y), 0)
    stills, frames = after.chunk(2, 1)
    assert target is y
    assert torch.equal(frames, x[:, n:])
    replaced = stills == frames
    assert torch.equal(stills[~replaced], x[:, :n][~replaced])
    assert abs(replaced.float().mean().item() - p) <= 4 * (p * (1 - p) / n) ** 0.5


@pytest.mark.parametrize(("exponent", "batch", "all_replaced"), [(0.0, 0, True), (float("inf"), 39, False)])
def test_the_ends_of_the_exponent(exponent, batch, all_replaced):
    data = training(ready(exponent=exponent, batch_size=8), epoch=0, batch=batch, length=40, epochs=1)
    stills, frames = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)[0].chunk(2, 1)
    assert torch.equal(stills, frames) == all_replaced


def test_replacements_depend_on_seed_epoch_batch_and_rank_only():
    batch = (torch.arange(400.0).view(1, -1, 1, 1, 1), torch.arange(200).repeat(2))

    def replaced(seed=0, **moment):
        moment = {"epoch": 8, "batch": 2, "epochs": 10} | moment
        data = StaticEventPairsDataModule(Recorded(), Images(), seed=seed)
        return training(data, **moment).on_after_batch_transfer(batch, 0)[0]

    first = replaced()
    torch.manual_seed(99)
    assert torch.equal(replaced(), first)
    for other in ({"seed": 1}, {"epoch": 7}, {"batch": 3}, {"rank": 1}):
        assert not torch.equal(replaced(**other), first), other


def test_nothing_is_replaced_outside_of_training():
    data = ready(exponent=0.0, batch_size=8)
    batch = next(iter(data.train_dataloader()))
    assert data.on_after_batch_transfer(batch, 0) is batch
    training(data).trainer.training = False
    assert data.on_after_batch_transfer(batch, 0) is batch


class Sees(LightningModule):
    """A module that notes what it is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, _):
        self.seen.append(batch[0].clone())
        return self.weight * batch[0].mean()

    def validation_step(self, batch, _):
        """Nothing."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Save(Callback):
    """Writes a checkpoint in the middle of an epoch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 4:
            trainer.save_checkpoint(trainer.default_root_dir + "/middle.ckpt")


def test_a_resumed_fit_sees_what_the_uninterrupted_one_saw(tmp_path):
    def fit(path=None, saving=()):
        module, data = Sees(), StaticEventPairsDataModule(Recorded(), Images(), batch_size=30, num_workers=0)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = Trainer(
            max_epochs=3,
            accelerator="cpu",
            default_root_dir=str(tmp_path),
            enable_model_summary=False,
            limit_val_batches=0,
            callbacks=list(saving),
            **quiet,
        )
        trainer.fit(module, data, ckpt_path=path, weights_only=False)
        return module.seen

    whole = fit(saving=[Save()])
    assert len(whole) == 9
    rest = fit(tmp_path / "middle.ckpt")
    assert len(rest) == 5
    assert all(torch.equal(one, other) for one, other in zip(whole[4:], rest, strict=True))
    shares = [(x[0, :30, 0, 0, 0] >= 0.3).float().mean().item() for x in whole]
    for step, share in enumerate(shares):
        assert abs(share - (step / 9) ** 3) <= 0.3  # 30 draws; the rate itself is tested above


def test_the_value_channel_is_that_of_hsv():
    rgb = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    value = Value()(torch.from_numpy(rgb).permute(2, 0, 1).float() / 255)
    pillow = np.asarray(Image.fromarray(rgb).convert("HSV"))[..., 2]
    assert np.array_equal((value[0] * 255).round().numpy(), pillow)
    expected = [colorsys.rgb_to_hsv(*pixel)[2] for pixel in (rgb.reshape(-1, 3) / 255).tolist()]
    assert value.flatten().tolist() == pytest.approx(expected)


class Colours(Images):
    """Random colours as bytes, half of them moved by the augmentation, normalised by the class (which pairs undo)."""

    def load(self):
        draw = torch.Generator().manual_seed(0)
        x = torch.randint(0, 256, (N, 1, self.in_chans, 12, 12), dtype=torch.uint8, generator=draw)
        return dict.fromkeys(("train", "val", "test"), TensorDataset(x, torch.arange(N) % 3))


class Greys(Colours):
    """The same of one channel."""

    in_chans, mean, std = 1, (0.5,), (0.5,)


@pytest.mark.parametrize(("images", "value"), [(Colours, True), (Colours, False), (Greys, True), (Greys, False)])
def test_images_are_resized_then_made_grey(images, value):
    data = ready(images=images(), value_channel=value)
    source = images().load()["train"]
    for index in (0, 7):
        still, _ = data.splits["train"].stills[index]
        raw = source[index][0][0].numpy()  # [C, 12, 12]
        bands = [
            np.asarray(Image.fromarray(band.astype(np.float32)).resize((6, 9), Image.Resampling.BILINEAR))
            for band in raw
        ]
        if len(bands) == 3:
            red, green, blue = bands
            expected = np.max(bands, 0) if value else 0.2989 * red + 0.587 * green + 0.114 * blue
        else:
            expected = bands[0]
        assert still.shape == (1, 1, 9, 6)
        assert np.allclose(255 * still[0, 0].numpy(), expected, atol=0.02)
        assert 0 <= still.min() <= still.max() <= 1


def test_images_are_augmented_if_they_ask_for_it():
    still = torch.rand(1, 3, 12, 12)
    images = Colours()
    images.augmentation = [v2.Lambda(lambda x: 0 * x)]
    assert not StaticEventPairsDataModule(Recorded(), images).still()(still).any()
    images.augment = False
    assert StaticEventPairsDataModule(Recorded(), images).still()(still).any()


def test_a_twin_is_paired_with_its_own_source(tmp_path):
    source = DigitsDataModule(val_fraction=0.3)
    twin = EventTwinDataModule(source, cache_dir=str(tmp_path))
    data = StaticEventPairsDataModule(twin)
    assert data.images is source
    with pytest.raises(ValueError, match="images: Recorded is no event twin, so say which still images"):
        StaticEventPairsDataModule(Recorded())


def test_classes_without_partners_are_named():
    with pytest.raises(
        ValueError, match=r"Recordings without images: wolf\. Images without recordings: dog, unicorn\."
    ):
        StaticEventPairsDataModule(Loose(), Images())


class Unborn(Recorded):
    """A class whose images have no training image."""

    num_classes, label_names = 4, (*Recorded.label_names, "unicorn")


def test_a_class_without_training_images_is_named():
    with pytest.raises(ValueError, match="no training image of the classes unicorn"):
        ready(events=Unborn())


class Spikes(Recorded):
    """No frames."""

    sequence_ndim = 3


@pytest.mark.parametrize(
    ("events", "images", "changes", "message"),
    [
        (Spikes(), Images(), {}, "events: expected frames .* found the sequences of Spikes"),
        (Recorded(), Spikes(), {}, "images: expected colour or grey images, found those of Spikes"),
        (Recorded(), Recorded(), {}, "images: expected colour or grey images, found those of Recorded"),
        (Recorded(mixup=0.2), Images(), {}, "events: mixup, cutmix and eventmix would take the class from a pair"),
        (Recorded(), Images(cutmix=1.0), {}, "images: mixup"),
        (Recorded(), Images(), {"exponent": -1.0}, "exponent: expected at least 0, found -1"),
        (Recorded(), Images(), {"exponent": float("nan")}, "exponent: expected at least 0, found nan"),
        (Recorded(), Images(), {"batch_size": 0}, "batch_size: expected at least 1, found 0"),
    ],
)
def test_what_cannot_be_paired(events, images, changes, message):
    with pytest.raises(ValueError, match=message):
        StaticEventPairsDataModule(events, images, **changes)


def test_the_command_line_nests_data_sets(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "data:\n"
        "  class_path: StaticEventPairsDataModule\n"
        "  init_args:\n"
        "    events: {class_path: NMNISTDataModule, init_args: {root: here, representation: {class_path: Frames,"
        " init_args: {num_steps: 3}}}}\n"
        "    images: {class_path: MNISTDataModule, init_args: {root: there}}\n"
        "    exponent: .inf\n"
    )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(BaseDataModule, "data")
    arguments = ["--config", str(tmp_path / "recipe.yaml"), "--data.seed=5", "--data.events.batch_size=7"]
    data = parser.instantiate_classes(parser.parse_args(arguments)).data
    assert (data.seed, data.exponent, str(data.events.root), data.images.root) == (5, float("inf"), "here", "there")
    assert (data.in_chans, data.num_classes, data.events.representation.num_steps) == (2, 10, 3)
