"""Order and augmentation depend on (seed, epoch, index) only; an interrupted run goes on where it stopped."""

import lightning as L
import numpy as np
import pytest
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.utils.data import TensorDataset

from datamodules.base import BaseDataModule
from datamodules.loading import EpochSampler, SeededDataset, collate

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # lightning 2.6 with torch 2.15
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty"),  # resuming in the same folder
]


class Noise(torch.nn.Module):
    """The strongest augmentation: adds a random number to each pixel."""

    def forward(self, x):
        return x + torch.rand(x.shape)


class Toy(BaseDataModule):
    """28 training images with 5 time steps, so 7 batches of 4; each image is its own index."""

    num_classes, in_chans, image_size = 3, 2, 4
    mean, std, label_names = (0.0, 0.0), (1.0, 1.0), ("a", "b", "c")
    augmentation = (Noise(),)

    def load(self):
        images = torch.arange(28.0)[:, None, None, None, None].expand(-1, 5, 2, 4, 4)
        part = TensorDataset(images, torch.arange(28) % 3)
        return {"train": part, "val": part, "test": part}


def epoch(loader, number):
    loader.sampler.set_epoch(number)
    return [(x.clone(), y.clone()) for x, y in loader]


def equal(a, b):
    return len(a) == len(b) and all(
        torch.equal(p, q) for s, t in zip(a, b, strict=True) for p, q in zip(s, t, strict=True)
    )


def make_loader(**kwargs):
    data = Toy(batch_size=4, **{"num_workers": 0, **kwargs})
    data.setup("fit")
    return data.train_dataloader()


def test_a_label_for_every_step_keeps_time_first():
    source = SeededDataset(TensorDataset(torch.zeros(3, 5, 2), torch.arange(15).view(3, 5)), torch.nn.Identity())
    x, y = collate([source[0], source[2]])
    assert x.shape == (5, 2, 2)
    assert y.tolist() == [[0, 10], [1, 11], [2, 12], [3, 13], [4, 14]]


def test_epochs_do_not_depend_on_workers_or_on_the_past():
    plain, workers = make_loader(), make_loader(num_workers=2)
    history = [epoch(plain, e) for e in range(4)]
    assert equal(epoch(make_loader(), 3), history[3])  # epoch 3 at once == epoch 3 after 0, 1, 2
    for e in (0, 3, 1):  # workers persist between these
        assert equal(epoch(workers, e), history[e])
    assert len({tuple(torch.cat([y for _, y in h]).tolist()) for h in history}) == 4
    assert not equal(epoch(make_loader(seed=1), 0), history[0])


def test_a_persistent_worker_survives_an_epoch_cut_short():
    loader = make_loader(num_workers=2)
    loader.sampler.set_epoch(0)
    next(iter(loader))
    assert equal(epoch(loader, 1), epoch(make_loader(), 1))


def test_every_sample_is_seen_once_and_augmented_anew_each_epoch():
    first, second = (torch.cat([x for x, _ in epoch(make_loader(), e)], dim=1) for e in (0, 1))
    assert sorted(first[0, :, 0, 0, 0].int().tolist()) == list(range(28))
    noise = [{float(v) for v in x.frac().flatten()} for x in (first, second)]
    assert len(noise[0] & noise[1]) < 50  # of 4480


def test_loading_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    epoch(make_loader(), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_plain_index_is_accepted_and_repeatable():  # Lightning's overfit_batches replaces the sampler
    data = SeededDataset(TensorDataset(torch.zeros(3, 1, 1, 2, 2), torch.arange(3)), Noise())
    assert torch.equal(data[1][0], data[1][0])
    assert not torch.equal(data[1][0], data[2][0])


def test_collate_puts_time_first():
    x, y = collate([(torch.full((5, 2, 3, 4), float(n)), n) for n in range(6)])
    assert x.shape == (5, 6, 2, 3, 4)
    assert y.tolist() == list(range(6))
    assert y.dtype == torch.int64
    assert x[0, :, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_order_and_seeds_are_those_of_earlier_versions():
    """Published results were trained with pairs (index, seed) that this plain loop drew; a turn came later."""
    for seed, number in ((0, 0), (0, 7), (5, 3)):
        sampler = EpochSampler(range(50), seed)
        sampler.set_epoch(number)
        rng = np.random.default_rng([seed, number])
        order = rng.permutation(50)
        seeds = rng.integers(2**63, size=50)
        assert [key[:2] for key in sampler] == [(index, seeds[index]) for index in order]


def test_two_devices_share_an_epoch():
    shares = [DistributedSamplerWrapper(EpochSampler(range(10), seed=0), num_replicas=2, rank=r) for r in (0, 1)]
    for share in shares:
        share.set_epoch(3)
    whole = EpochSampler(range(10), seed=0)
    whole.set_epoch(3)
    assert sorted([*shares[0], *shares[1]]) == sorted(whole)


class Spy(L.LightningModule):
    """Keeps every training batch it sees; fails in batch `fail_at` of the run."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.layer, self.seen, self.fail_at = torch.nn.Linear(1, 1), [], fail_at

    def training_step(self, batch):
        if len(self.seen) == self.fail_at:
            raise KeyError("power cut")
        self.seen.append((batch[0].clone(), batch[1].clone()))
        return self.layer(batch[0].mean().reshape(1))

    def validation_step(self, batch):
        self.log("loss", 0.0, batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


class SaveOnCrash(Callback):
    def __init__(self, path):
        self.path = path

    def on_exception(self, trainer, module, exception):
        trainer.save_checkpoint(self.path)


def fit(tmp_path, callbacks=(), spy=None, ckpt_path=None, workers=0, **kwargs):
    spy = spy or Spy()
    trainer = L.Trainer(
        **{"max_epochs": 3, **kwargs},
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(spy, datamodule=Toy(batch_size=4, num_workers=workers, mixup=0.4, cutmix=1.0), ckpt_path=ckpt_path)
    return spy.seen


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    seen = fit(tmp_path_factory.mktemp("whole"))
    assert len(seen) == 21
    return seen


def resume(tmp_path, name, how, first, second):
    """Train with a checkpoint callback, then again from the checkpoint `name`."""
    fit(tmp_path, [ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, **how)], **first)
    return fit(
        tmp_path, [ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, **how)], ckpt_path=tmp_path / name, **second
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_after_an_epoch(whole, tmp_path, workers):
    assert equal(resume(tmp_path, "step=7.ckpt", {}, {"max_epochs": 1}, {"workers": workers}), whole[7:])


def test_resume_after_the_validation_of_an_epoch(whole, tmp_path):
    how = {"monitor": "loss", "save_on_train_epoch_end": False}
    assert equal(resume(tmp_path, "step=14.ckpt", how, {"max_epochs": 2}, {"workers": 2}), whole[14:])


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_in_the_middle_of_an_epoch(whole, tmp_path, workers):
    how = {"every_n_train_steps": 10}
    assert equal(resume(tmp_path, "step=10.ckpt", how, {}, {"workers": workers}), whole[10:])


class Scheduled(Spy):
    """Asks for the length of the training, as a schedule does, before the progress of a checkpoint is restored."""

    def configure_optimizers(self):
        assert self.trainer.estimated_stepping_batches == 21
        return super().configure_optimizers()


def test_resume_in_the_middle_of_an_epoch_with_a_schedule(whole, tmp_path):
    how = {"every_n_train_steps": 10}
    assert equal(resume(tmp_path, "step=10.ckpt", how, {}, {"spy": Scheduled()}), whole[10:])


def test_resume_after_a_validation_in_the_middle_of_an_epoch(whole, tmp_path):
    how = {"monitor": "loss", "save_on_train_epoch_end": False}
    often = {"val_check_interval": 3}
    assert equal(resume(tmp_path, "step=10.ckpt", how, often, often), whole[10:])


def test_resume_after_a_crash(whole, tmp_path):
    with pytest.raises(KeyError, match="power cut"):
        fit(tmp_path, [SaveOnCrash(tmp_path / "crash.ckpt")], Spy(fail_at=9))
    assert equal(fit(tmp_path, ckpt_path=tmp_path / "crash.ckpt"), whole[9:])


def test_resume_with_limited_batches(whole, tmp_path):
    few = {"limit_train_batches": 5}
    assert equal(resume(tmp_path, "step=5.ckpt", {}, {"max_epochs": 1, **few}, few), whole[7:12] + whole[14:19])


class Look(Callback):
    """Makes a second training loader while training."""

    def on_train_batch_end(self, trainer, *_):
        self.batches = len(list(trainer.datamodule.train_dataloader()))


def test_a_second_loader_starts_at_the_beginning(tmp_path):
    fit(tmp_path, [look := Look()], max_epochs=1)
    assert look.batches == 7
