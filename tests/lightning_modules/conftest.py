"""A fast data set in memory, and modules on it."""

import functools
import signal
import subprocess

import pytest
import torch
from torch.utils.data import TensorDataset

from datamodules import BaseDataModule


class Blobs(BaseDataModule):
    """Images 8x8 of three classes: which of three bands is bright, in noise."""

    num_classes = 3
    in_chans = 1
    image_size = 8
    mean = (0.5,)
    std = (0.25,)
    label_names = ("top", "middle", "bottom")
    max_workers = 0

    def load(self):
        draw = torch.Generator().manual_seed(0)
        splits = {}
        for split, count in (("train", 96), ("val", 24), ("test", 24)):
            labels = torch.arange(count) % 3
            images = torch.rand(count, 1, 1, 8, 8, generator=draw) * 0.5
            for n, label in enumerate(labels.tolist()):
                images[n, ..., 3 * label : 3 * label + 2, :] += 0.5
            splits[split] = TensorDataset(images, labels)
        return splits


@pytest.fixture
def blobs():
    return Blobs(batch_size=16)


@pytest.fixture
def data_args(blobs):
    """What the CLI links from the data to a module."""
    return {"num_classes": 3, "in_chans": 1, "input_cfg": blobs.input_cfg}


@pytest.fixture
def adam():
    """An optimiser as LightningCLI gives it: a callable of parameter groups."""
    return lambda groups: torch.optim.AdamW(groups, lr=3e-3, weight_decay=0.05)


@pytest.fixture
def trainer(tmp_path):
    """A quiet trainer of two epochs."""
    from lightning import Trainer

    def make(**changes):
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
        choices = {
            "max_epochs": 2,
            "accelerator": "cpu",
            "default_root_dir": tmp_path,
            "logger": False,
            **quiet,
            **changes,
        }
        choices.setdefault("enable_checkpointing", False)
        return Trainer(**choices)

    return make


def hears_ctrl_c():
    """For a process of a test: what runs in the background of a script ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start():
    """Starts a command, as `subprocess.Popen` does, that hears Ctrl-C."""
    return functools.partial(subprocess.Popen, preexec_fn=hears_ctrl_c)
