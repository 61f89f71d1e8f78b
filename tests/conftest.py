"""What every test gets: fixed seeds that do not leak, no network; and a fast dataset in memory to train on."""

import functools
import ipaddress
import random
import signal
import socket
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch.utils.data import TensorDataset

from datamodules import BaseDataModule

# The same examples on every machine and in every run; no deadline, for machines are shared.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def seeds():
    """The same random numbers in every test, alone or among others; the generators go back where they were."""
    python, legacy_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        yield
    random.setstate(python)
    np.random.set_state(legacy_numpy)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Samples are cached where the test's files are, not among the user's."""
    monkeypatch.setattr("datamodules.cache.home", lambda: tmp_path_factory.getbasetemp() / "cache")


@pytest.fixture(autouse=True)
def no_network(request, monkeypatch):
    """Fail a test that looks up or connects to another machine, unless it is marked `network`.

    `pytest.fail` raises a BaseException, so that no `except Exception: work offline` hides the attempt.
    """
    if request.node.get_closest_marker("network"):
        return

    def guard(owner, function, host_of):
        original = getattr(owner, function)

        def guarded(*args, **kwargs):
            host = host_of(*args, **kwargs)
            if not is_loopback(host):
                pytest.fail(f"{function}({host!r}): a test that needs a network is marked @pytest.mark.network.")
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, function, guarded)

    def address_host(_, address):
        return address[0] if isinstance(address, tuple) else None  # a path is a Unix socket

    guard(socket.socket, "connect", address_host)
    guard(socket.socket, "connect_ex", address_host)
    guard(socket, "getaddrinfo", lambda host, *_, **__: host)


def is_loopback(host: str | bytes | None) -> bool:
    """Whether a host is this machine; None and "" are what a server binds to."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


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
