import lightning as L
import pytest
import torch

from lightning_modules.callbacks import BestCheckpoint, LastCheckpoint


class Scripted(L.LightningModule):
    """A module whose validation accuracy is given, one value for each epoch."""

    def __init__(self, accuracies=(0.5, 1.0, 1.0, 1.0, 1.0, 1.0)):
        super().__init__()
        self.layer, self.accuracies = torch.nn.Linear(1, 1), accuracies

    def training_step(self, batch):
        return self.layer(batch[0].mean().reshape(1))

    def validation_step(self, batch):
        self.log("val/acc", self.accuracies[self.current_epoch], batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def epoch(path):
    """The epoch of a checkpoint, the first being 0."""
    return torch.load(path, weights_only=True)["epoch"]


@pytest.fixture
def fit(tmp_path, trainer, blobs):
    """Trains six epochs of six batches with both checkpoints; returns their folder."""

    def run(minutes=10.0, **options):
        savers = [BestCheckpoint(tmp_path), LastCheckpoint(tmp_path, minutes)]
        trainer(max_epochs=6, callbacks=savers, enable_checkpointing=True, **options).fit(Scripted(), blobs)
        return tmp_path

    return run


def test_the_last_epoch_is_saved_when_validation_no_longer_improves(fit):
    folder = fit()
    assert epoch(folder / "best.ckpt") == 1
    assert epoch(folder / "last.ckpt") == 5
    assert {path.name for path in folder.glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}


@pytest.mark.parametrize(
    ("options", "best"),
    [({"limit_val_batches": 0}, None), ({"check_val_every_n_epoch": 4}, 3), ({"val_check_interval": 0.5}, 1)],
)
def test_the_last_epoch_is_saved_whatever_is_validated(fit, options, best):
    folder = fit(**options)
    assert epoch(folder / "last.ckpt") == 5
    assert (folder / "best.ckpt").exists() == (best is not None)
    assert best is None or epoch(folder / "best.ckpt") == best


def test_every_epoch_is_saved_when_it_ends(fit, monkeypatch):
    """A run that is killed in an epoch goes on from the one before."""
    seen = []

    def look(self, trainer, pl_module):
        path = self.path
        seen.append(epoch(path) if path.exists() else None)

    monkeypatch.setattr(LastCheckpoint, "on_train_epoch_start", look)
    fit()
    assert seen == [None, 0, 1, 2, 3, 4]


def test_long_epochs_are_saved_every_few_minutes(fit, monkeypatch):
    """A clock that goes on by a minute a batch: of six batches the fourth is saved, and the end of the epoch."""
    saved, now = [], [0.0]
    monkeypatch.setattr("lightning_modules.callbacks.last_checkpoint.time.monotonic", lambda: now[0])
    monkeypatch.setattr(Scripted, "on_train_batch_start", lambda *_: now.__setitem__(0, now[0] + 60))
    monkeypatch.setattr(LastCheckpoint, "save", spied(LastCheckpoint.save, saved))
    fit(minutes=4.0)
    assert saved[:4] == [(0, 4), (0, 6), (1, 10), (1, 12)]
    assert len(saved) == 12


def spied(save, saved):
    """The method, which notes epoch and step of every call."""

    def noted(self, trainer):
        saved.append((trainer.current_epoch, trainer.global_step))
        save(self, trainer)

    return noted


@pytest.mark.parametrize(
    ("options", "batches"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"accumulate_grad_batches": 2}, [2, 4, 6]),
        ({"val_check_interval": 2}, [1, 3, 5, 6]),
        ({"val_check_interval": 4, "check_val_every_n_epoch": None}, [1, 2, 3, 5, 6]),
    ],
)
def test_nothing_is_saved_within_a_step_or_before_its_validation(fit, monkeypatch, options, batches):
    """Batches of the first epoch after which the checkpoint is saved, if it is always time; the sixth is the last."""
    seen = []

    def look(self, trainer):
        seen.append((trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_progress.current.ready))

    monkeypatch.setattr(LastCheckpoint, "save", look)
    fit(minutes=0.0, **options)
    assert [batch for epoch, batch in seen if epoch == 0] == batches


def test_a_save_that_is_cut_off_leaves_the_one_before(fit, tmp_path, monkeypatch):
    whole = L.Trainer.save_checkpoint

    def cut_off(trainer, path, *args):
        whole(trainer, path, *args)
        if trainer.current_epoch == 3 and "best" not in str(path):
            path.write_bytes(path.read_bytes()[:100])
            raise KeyError("power cut")

    monkeypatch.setattr(L.Trainer, "save_checkpoint", cut_off)
    with pytest.raises(KeyError, match="power cut"):
        fit()
    assert epoch(tmp_path / "last.ckpt") == 2


def test_a_trial_leaves_no_checkpoint(fit):
    assert not list(fit(fast_dev_run=True).glob("*.ckpt"))


@pytest.mark.parametrize("minutes", [-1.0, float("nan")])
def test_minutes_are_a_time(tmp_path, minutes):
    with pytest.raises(ValueError, match=f"expected a number >= 0, found {minutes}"):
        LastCheckpoint(tmp_path, minutes)
