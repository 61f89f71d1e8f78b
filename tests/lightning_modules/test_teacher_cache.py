import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

import zoo
from cli import main
from datamodules import AlternatingFlip, DigitsDataModule, NMNISTDataModule, SquareCutout
from lightning_modules import DistillationModule
from lightning_modules.objectives import BKD, WSLD, CrossEntropy, FeatureMSE, LogitKD
from lightning_modules.rules.sltt import SLTT


@pytest.fixture
def teacher(tmp_path, blobs):
    model = zoo.create_model("test_resnet", num_classes=3, in_chans=1)
    model.pretrained_cfg.update(blobs.input_cfg | {"input_size": (1, 32, 32)})
    zoo.publish(model, tmp_path / "registry/test_resnet.blobs")
    return f"local-dir:{tmp_path}/registry/test_resnet.blobs"


def make(teacher, data_args, adam, objectives=None, cache=True, **changes):
    student = {"student": "spiking_vgg_tiny", "student_args": {"num_steps": 2}, "teacher": teacher}
    objectives = objectives or [CrossEntropy(), LogitKD(), WSLD()]
    return DistillationModule(
        **student, objectives=objectives, optimizer=adam, cache_teacher=cache, **data_args, **changes
    )


class Taught(Callback):
    """The teacher's logits in every training batch, the batches, and how many images the teacher read."""

    def __init__(self, stop_at=None):
        self.logits, self.batches, self.images, self.stop_at = [], [], 0, stop_at

    def on_fit_start(self, trainer, pl_module):
        reading, running = pl_module.read_teacher, pl_module.teacher.forward_intermediates

        def read_teacher(x):
            outputs = reading(x)
            if pl_module.training:
                self.logits.append(outputs.logits.clone())
                self.batches.append(x.clone())
            return outputs

        def forward_intermediates(x):
            self.images += x.shape[1] * pl_module.training
            return running(x)

        pl_module.read_teacher, pl_module.teacher.forward_intermediates = read_teacher, forward_intermediates

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.stop_at:
            raise KeyError("power cut")


def data(blobs, augmentation, **changes):
    return type(blobs)(**{"batch_size": 16, "augmentation": augmentation, **changes})


@pytest.mark.parametrize("augmentation", [[], [AlternatingFlip()]], ids=["none", "flips"])
@pytest.mark.parametrize("how", ["bptt", "sltt"])
def test_looked_up_logits_are_those_of_the_live_teacher(blobs, teacher, data_args, adam, trainer, augmentation, how):
    options = {"sltt": SLTT(), "objectives": [LogitKD(per_step=True)]} if how == "sltt" else {}
    module, taught = make(teacher, data_args, adam, **options), Taught()
    trainer(max_epochs=4, callbacks=[taught], limit_val_batches=0).fit(module, data(blobs, augmentation))
    assert len(taught.logits) == 24
    assert taught.images == 96 * (1 + len(augmentation)), "once for every image and side"
    with torch.no_grad():
        for n, (x, logits) in enumerate(zip(taught.batches, taught.logits, strict=True)):
            expected = zoo.model.read(module.teacher.eval(), x).logits
            torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
            assert n >= 6 * (1 + len(augmentation)) or torch.equal(logits, expected), "the same images in one batch"
    assert not torch.allclose(taught.logits[0][0, 0], taught.logits[0][0, 1]), "the test would see nothing"


def test_a_run_equals_one_of_the_live_teacher(blobs, teacher, data_args, adam, trainer):
    found = []
    for cache in (True, False):
        torch.manual_seed(0)
        module = make(teacher, data_args, adam, cache=cache)
        run = trainer(max_epochs=3)
        run.fit(module, data(blobs, [AlternatingFlip()]))
        found.append({key: value.item() for key, value in run.callback_metrics.items()})
    assert {"val/agreement", "train/LogitKD"} <= set(found[0])
    assert found[0] == pytest.approx(found[1], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("part", [v2.RandomCrop(8, padding=2), SquareCutout(4), v2.RandomErasing(1.0)], ids=repr)
def test_shifts_and_erased_parts_are_not_seen(blobs, teacher, data_args, adam, trainer, part):
    """The teacher answers to the images as they are, in the order of the epoch."""
    module, taught = make(teacher, data_args, adam), Taught()
    trainer(max_epochs=2, callbacks=[taught], limit_val_batches=0).fit(module, data(blobs, [part]))
    assert taught.images == 96
    plain = data(blobs, [])
    plain.setup("fit")
    loader = plain.train_dataloader()
    batches = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        batches += [x for x, _ in loader]
    assert not any(torch.equal(x, seen) for x, seen in zip(batches, taught.batches, strict=True))
    with torch.no_grad():
        for x, logits in zip(batches, taught.logits, strict=True):
            torch.testing.assert_close(logits, zoo.model.read(module.teacher.eval(), x).logits, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
@pytest.mark.parametrize("stop_at", [3, 8, 17])
def test_a_fit_resumed_in_the_middle_of_an_epoch_is_taught_the_same_to_the_bit(
    blobs, teacher, data_args, adam, trainer, tmp_path, stop_at
):
    def run(folder, taught):
        saver = ModelCheckpoint(tmp_path / folder, save_last=True, enable_version_counter=False, every_n_train_steps=2)
        return trainer(max_epochs=4, callbacks=[saver, taught], enable_checkpointing=True, limit_val_batches=0)

    def images():
        return data(blobs, [v2.RandomCrop(8, padding=1), AlternatingFlip()], batch_size=18)  # leaves 6 of 96 out

    run("whole", whole := Taught()).fit(make(teacher, data_args, adam), images())
    with pytest.raises(KeyError, match="power cut"):
        run("broken", Taught(stop_at)).fit(make(teacher, data_args, adam), images())
    again = Taught()
    run("broken", again).fit(make(teacher, data_args, adam), images(), ckpt_path=tmp_path / "broken/last.ckpt")
    assert len(whole.logits) == 4 * 5
    assert 0 < len(again.logits) <= 20
    for name in ("batches", "logits"):
        pairs = zip(getattr(again, name), getattr(whole, name)[-len(again.logits) :], strict=True)
        assert all(torch.equal(found, expected) for found, expected in pairs)


@pytest.mark.filterwarnings("ignore:You requested to overfit")
def test_overfitting_and_a_single_small_batch(blobs, teacher, data_args, adam, trainer):
    for options, images in (
        ({"overfit_batches": 2}, data(blobs, [AlternatingFlip()])),
        ({}, type(blobs)(batch_size=500)),
    ):
        module, taught = make(teacher, data_args, adam), Taught()
        trainer(**options, callbacks=[taught], limit_val_batches=1).fit(module, images)
        with torch.no_grad():
            for x, logits in zip(taught.batches, taught.logits, strict=True):
                expected = zoo.model.read(module.teacher.eval(), x).logits
                torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)


def test_nothing_of_it_is_saved(blobs, teacher, data_args, adam, trainer, tmp_path):
    saver = ModelCheckpoint(tmp_path / "run", filename="last")
    trainer(max_epochs=1, callbacks=[saver], enable_checkpointing=True).fit(make(teacher, data_args, adam), blobs)
    with_cache = set(torch.load(tmp_path / "run/last.ckpt", weights_only=True)["state_dict"])
    assert with_cache == {
        name for name in make(teacher, data_args, adam).state_dict() if not name.startswith("teacher.")
    }


def test_fast_dev_run(blobs, teacher, data_args, adam, trainer):
    trainer(fast_dev_run=2).fit(make(teacher, data_args, adam), blobs)


# Refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("term", [FeatureMSE(), BKD()], ids=lambda term: term.name)
def test_terms_that_read_features_are_refused(teacher, data_args, adam, term):
    with pytest.raises(ValueError, match=f"objectives that read the teacher's logits, found {term.name}"):
        make(teacher, data_args, adam, [LogitKD(), term])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augmentation": [v2.RandomHorizontalFlip()]}, "two views of an image, found RandomHorizontalFlip"),
        ({"augmentation": [v2.RandomAffine(10)]}, "expected an augmentation of AlternatingFlip, .* found RandomAffine"),
        ({"mixup": 0.2, "cutmix": 1.0}, "expected batches that are not mixed, found 2 of mixup and cutmix"),
    ],
)
def test_too_many_views_are_refused_before_training(blobs, teacher, data_args, adam, trainer, changes, message):
    module = make(teacher, data_args, adam)
    module.training_step = lambda *_: pytest.fail("it trained")
    with pytest.raises(ValueError, match=message):
        trainer().fit(module, type(blobs)(batch_size=16, **changes))
    trainer(fast_dev_run=1).fit(
        make(teacher, data_args, adam), type(blobs)(augment=False, augmentation=[v2.RandomAffine(10)])
    )


def test_sequences_are_refused_before_training(blobs, teacher, data_args, adam, trainer):
    class Film(type(blobs)):
        def load(self):
            part = TensorDataset(torch.rand(32, 3, 1, 8, 8), torch.arange(32) % 3)
            return {"train": part, "val": part, "test": part}

    with pytest.raises(ValueError, match="expected a dataset of still images, found Film"):
        trainer().fit(make(teacher, data_args, adam), Film(batch_size=16))


def test_events_are_no_still_images(monkeypatch):
    events = NMNISTDataModule()
    events.splits["train"] = TensorDataset(torch.rand(4, 1, 2, 8, 8), torch.zeros(4))
    with pytest.raises(ValueError, match="expected a dataset of still images, found NMNISTDataModule"):
        events.teacher_images()


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
def test_several_devices_and_other_data_are_refused(blobs, teacher, data_args, adam, trainer):
    module = make(teacher, data_args, adam)
    blobs.setup("fit")
    with pytest.raises(ValueError, match="expected a DataModule of this project"):
        trainer().fit(module, torch.utils.data.DataLoader(blobs.splits["train"], batch_size=16))
    module.trainer = trainer(devices=2, strategy="ddp")
    assert module.trainer.world_size == 2
    with pytest.raises(ValueError, match="expected one device, found 2"):
        module.on_fit_start()


def test_a_recipe_names_it(tmp_path):
    digits = DigitsDataModule()
    model = zoo.create_model("test_resnet", num_classes=10, in_chans=1)
    model.pretrained_cfg.update(digits.input_cfg | {"input_size": (1, 32, 32)})
    zoo.publish(model, tmp_path / "test_resnet.fake")
    options = {
        "model.teacher": f"local-dir:{tmp_path}/test_resnet.fake",
        "model.cache_teacher": "true",
        "model.objectives": '[{"class_path": "CrossEntropy"}, {"class_path": "LogitKD"}]',
        "data.augmentation": '[{"class_path": "AlternatingFlip"}]',
        "run": str(tmp_path / "run"),
        "trainer.fast_dev_run": "2",
    }
    main(["fit", "--config", "configs/digits/sew_resnet_bkd.yaml", *(f"--{key}={x}" for key, x in options.items())])
