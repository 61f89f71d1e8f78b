import shutil

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_modules.callbacks import BestCheckpoint, LastCheckpoint

from .test_last_checkpoint import Scripted, epoch

# A resumed run, asked for; the command line leaves this warning out, too.
pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")


@pytest.fixture
def fit(trainer, blobs):
    """Trains with both checkpoints in a folder, and accuracies that get worse after the second epoch."""

    def run(folder, epochs, **how):
        module, savers = Scripted((0.5, 1.0, 0.7, 0.8)), [BestCheckpoint(folder), LastCheckpoint(folder)]
        trainer(max_epochs=epochs, callbacks=savers, enable_checkpointing=True).fit(module, blobs, **how)

    return run


def test_a_moved_run_keeps_its_best_epoch(tmp_path, fit):
    fit(tmp_path / "here", 2)
    shutil.move(tmp_path / "here", tmp_path / "there")
    fit(tmp_path / "there", 4, ckpt_path=tmp_path / "there/last.ckpt", weights_only=True)
    assert epoch(tmp_path / "there/best.ckpt") == 1
    assert epoch(tmp_path / "there/last.ckpt") == 3
    assert not (tmp_path / "here").exists()


def test_a_new_run_from_another_one_has_a_best_epoch_of_its_own(tmp_path, fit):
    """The best of the other run is not here, so the best of the epochs that follow is kept."""
    fit(tmp_path / "old", 2)
    fit(tmp_path / "new", 4, ckpt_path=tmp_path / "old/last.ckpt", weights_only=True)
    assert epoch(tmp_path / "new/best.ckpt") == 3


def test_a_run_of_an_earlier_version_keeps_its_best_epoch(tmp_path, trainer, blobs, fit):
    """It was saved by one callback for both jobs."""
    both = ModelCheckpoint(
        tmp_path, filename="best", monitor="val/acc", mode="max", save_last=True, enable_version_counter=False
    )
    run = trainer(max_epochs=2, callbacks=[both], enable_checkpointing=True)
    run.fit(Scripted((0.5, 1.0)), blobs)
    fit(tmp_path, 4, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert epoch(tmp_path / "best.ckpt") == 1
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 3
