"""What every test gets: fixed seeds that do not leak, and no network."""

import ipaddress
import random
import socket

import numpy as np
import pytest
import torch
from hypothesis import settings

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
    monkeypatch.setattr("datamodules.disk_cache.home", lambda: tmp_path_factory.getbasetemp() / "cache")


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
