"""The cache gives back what it was given, to any number of processes, and stays within its limit."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from datamodules import cache as cache_module
from datamodules.cache import Cache, default_folder, key_of

HOME = cache_module.home  # tests/conftest.py puts another one in its place


@pytest.fixture
def own_home(own_cache, monkeypatch):
    monkeypatch.setattr(cache_module, "home", HOME)


def files(folder):
    return [file for file in folder.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    "array",
    [
        np.array([[0, 1, 1], [1, 0, 1]], np.int32),
        np.array([0, 255]),
        np.array([0, 256], np.int32),
        np.array([70_000, 3], np.int64),
        np.array([2**40, 3], np.int64),
        np.array([-1, 3], np.int64),
        np.array([0.25, -1e9], np.float32),
        np.zeros((0, 3), np.int64),
        np.zeros((4, 2, 5, 5), np.int32),
        np.ones((3, 7), bool),
        np.arange(12).reshape(3, 4).T,
    ],
    ids=str,
)
def test_what_goes_in_comes_out(tmp_path, array):
    cache = Cache(tmp_path, 10**6)
    key = key_of("one")
    assert cache.get(key) is None
    cache.put(key, {"x": array, "y": array[:1]})
    found = cache.get(key)
    for name, expected in (("x", array), ("y", array[:1])):
        assert found[name].shape == expected.shape
        np.testing.assert_array_equal(found[name], expected)
        assert (found[name].dtype.kind == "f") == (expected.dtype.kind == "f")


def test_a_binary_sample_takes_a_bit_a_cell_and_counts_a_byte(tmp_path):
    draw = np.random.default_rng(0)
    sizes = []
    for highest in (2, 200, 60_000):
        Cache(tmp_path / str(highest), 10**8).put("abcdef", {"x": draw.integers(0, highest, (16, 2, 128, 128))})
        sizes.append(files(tmp_path / str(highest))[0].stat().st_size / (16 * 2 * 128 * 128))
    np.testing.assert_allclose(sizes, [1 / 8, 1, 2], rtol=0.01)


def test_recall_makes_a_sample_once(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"x": np.arange(3)}

    for _ in range(3):
        np.testing.assert_array_equal(Cache(tmp_path, 10**6).recall("abcd", make)["x"], [0, 1, 2])
    assert len(made) == 1


@pytest.mark.parametrize("damage", [b"", b"\0", b"\xff" * 100, None])
def test_a_damaged_file_is_made_anew(tmp_path, damage):
    cache = Cache(tmp_path, 10**6)
    cache.put("abcd", {"x": np.arange(1000)})
    file = cache.file("abcd")
    file.write_bytes(file.read_bytes()[:-1] if damage is None else damage)
    assert cache.get("abcd") is None
    cache.put("abcd", {"x": np.arange(7)})
    np.testing.assert_array_equal(cache.get("abcd")["x"], np.arange(7))


def test_keys_tell_everything_apart(monkeypatch):
    whats = [("a",), ("b",), ("a", "b"), ("ab",), (["a"], "b"), (1,), ("1",), (1.5,), (None,), ({"t": 1},), ({"t": 2},)]
    keys = {key_of(*what) for what in whats}
    assert len(keys) == len(whats)
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    old = key_of("a")
    monkeypatch.setattr(cache_module, "code", lambda: "changed")
    assert key_of("a") != old


def test_the_limit_holds_and_the_least_recently_used_goes(tmp_path):
    cache = Cache(tmp_path, 100_000)
    for number in range(30):
        cache.put(f"{number:04}", {"x": np.full(10_000, 200)})
        cache.get("0000")  # used again and again
        time.sleep(0.002)  # times of use in order
        assert sum(file.stat().st_size for file in files(tmp_path)) <= 105_000 + 10_200
    assert cache.get("0000") is not None
    assert cache.get("0029") is not None
    assert cache.get("0001") is None


def test_files_that_others_own_stay(tmp_path, monkeypatch):
    def forbidden(file, missing_ok=False):
        raise PermissionError(file)

    cache = Cache(tmp_path, 1000)
    monkeypatch.setattr(Path, "unlink", forbidden)
    for key in ("aaaa", "bbbb"):
        cache.put(key, {"x": np.random.default_rng(0).random(100)})
    assert cache.get("aaaa") is not None


def test_no_cache(tmp_path):
    cache = Cache(tmp_path / "none", 0)
    cache.put("abcd", {"x": np.arange(3)})
    assert not (tmp_path / "none").exists()
    assert cache.get("abcd") is None


def test_a_place_that_cannot_be_written_to_costs_time_only(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file", 10**6)
    np.testing.assert_array_equal(cache.recall("abcd", lambda: {"x": np.arange(3)})["x"], [0, 1, 2])


def write_and_read(folder, seed, rounds):
    """Write and read the same keys as everybody else; the value of a key is its number."""
    cache = Cache(folder, 300_000)
    draw = np.random.default_rng(seed)
    for number in draw.integers(0, 20, rounds):
        found = cache.recall(f"{number:04}", lambda n=number: {"x": np.full(20_000, n)})["x"]
        assert found.shape == (20_000,)
        assert (found == number).all()


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # pytest-xdist has a thread that does not matter
def test_many_processes_write_the_same_keys(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=write_and_read, args=(tmp_path, seed, 60)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert not [file for file in files(tmp_path) if file.suffix == ".part"]


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_killed_writer_leaves_nothing_wrong(tmp_path):
    context = multiprocessing.get_context("fork")
    for delay in (0.02, 0.05, 0.09):
        worker = context.Process(target=write_and_read, args=(tmp_path, 1, 100_000))
        worker.start()
        time.sleep(delay)
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        write_and_read(tmp_path, 2, 40)


def test_where_it_is(own_home, monkeypatch, tmp_path):
    monkeypatch.setenv("SNNZOO_CACHE", str(tmp_path))
    assert default_folder("events") == tmp_path / "events"
    monkeypatch.delenv("SNNZOO_CACHE")
    assert default_folder("events") == Path.home() / ".cache/snnzoo/events"
