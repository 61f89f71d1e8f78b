"""How fast do events become frames? Ours, tonic's and SpikingJelly's ways, interleaved in one run; medians.

    python benchmarks/event_framing.py --quick     # below a minute; the last line is JSON
    python benchmarks/event_framing.py             # more rounds, every size for every task, minutes

Everyone starts from events in memory, in the form that suits them, ordered by time: ours `Events`, tonic's structured
array, SpikingJelly's dictionary. A sensor of 128 x 128 pixels and 2 polarities, 16 steps. The floor is the least
memory traffic that framing can have: read the events once, write the frames once. SpikingJelly is skipped if it is not
installed: `pip install spikingjelly==2.0.0`. The allocator keeps its memory, as in a run of ours, for everyone alike.
Times are those of the processor, all threads together: other work on the machine moves them less than a clock on the
wall. Of ratios over sizes, the JSON has the smallest.
"""

import argparse
import importlib.util
import json
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tonic.functional as tonic
import torch

from commands.memory import keep_memory
from datamodules.cache import Cache
from datamodules.events.arrays import Events
from datamodules.events.filters import Denoise, Refractory
from datamodules.events.frames import Frames, TimeSurface, VoxelGrid

W, H, P, T = SENSOR = (128, 128, 2, 16)
SIZES = (20_000, 300_000, 1_000_000)
STEP_US = 62_500  # of 16 steps in a second
GOALS = ("frames by time", "denoise", "refractory")
Job = Callable[[], Any]


def recording(n: int) -> tuple[Events, np.ndarray]:
    """A second of n events, for us and for tonic: half of them on a bar that moves, as edges do, half anywhere."""
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(20_000, 1_020_000, n))
    x = np.where(rng.random(n) < 0.5, t // 8_000 % W, rng.integers(0, W, n))
    events = Events.of(t, x, rng.integers(0, H, n), rng.random(n) < 0.5)
    theirs = np.zeros(n, [("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.int8)])
    for name in "xytp":
        theirs[name] = getattr(events, name)
    return events, theirs


def jelly(theirs: np.ndarray) -> dict[str, Job]:
    """SpikingJelly's ways; of its file alone, for its folder imports torchaudio, which wants a torch of its own."""
    package = importlib.util.find_spec("spikingjelly")
    if package is None or package.origin is None:
        return {}
    file = Path(package.origin).parent / "datasets" / "utils.py"
    spec = importlib.util.spec_from_file_location("spikingjelly.datasets.utils", file)
    assert spec is not None
    assert spec.loader is not None
    utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    events = {name: theirs[name].copy() for name in "xytp"}
    fixed = utils.integrate_events_by_fixed_frames_number
    return {
        "time": lambda: fixed(events, "time", T, H, W),
        "count": lambda: fixed(events, "number", T, H, W),
        "window": lambda: utils.integrate_events_by_fixed_duration(events, STEP_US, H, W),
    }


def floor(events: Events) -> Job:
    """Read the events once, write the frames once."""

    def touch() -> Any:
        for array in (events.t, events.x, events.y, events.p):
            array.max()
        return np.ones((T, P, H, W), np.int32)

    return touch


def tasks(n: int) -> dict[str, dict[str, Job]]:
    """Who does what, by task."""
    events, theirs = recording(n)
    size, signed = (W, H, P), theirs.copy()  # tonic writes -1 for 0 into the recording
    frame, peer = tonic.to_frame_numpy, jelly(theirs)
    found: dict[str, dict[str, Job]] = {
        "frames by time": {
            "ours": lambda: Frames(T)(events, size),
            "ours in torch": lambda: Frames(T).batch([events], size),
            "tonic": lambda: frame(theirs, size, n_time_bins=T),
            "spikingjelly": peer.get("time"),
            "floor": floor(events),
        },
        "frames by count": {
            "ours": lambda: Frames(T, by="count")(events, size),
            "tonic": lambda: frame(theirs, size, n_event_bins=T),
            "spikingjelly": peer.get("count"),
            "floor": floor(events),
        },
        "frames by window": {
            "ours": lambda: Frames(window_ms=STEP_US / 1000)(events, size),
            "tonic": lambda: frame(theirs, size, time_window=STEP_US, include_incomplete=True),
            "spikingjelly": peer.get("window"),
            "floor": floor(events),
        },
        "voxel grid": {
            "ours": lambda: VoxelGrid(T)(events, size),
            "tonic": lambda: tonic.to_voxel_grid_numpy(signed, size, n_time_bins=T),
        },
        "time surface": {
            "ours": lambda: TimeSurface(window_ms=STEP_US / 1000)(events, size),
            "tonic": lambda: tonic.to_timesurface_numpy(theirs, size, dt=STEP_US, tau=50_000),
        },
        "denoise": {
            "ours": lambda: Denoise(1.0)(events),
            "tonic": lambda: tonic.denoise_numpy(theirs, filter_time=1_000),
        },
        "refractory": {
            "ours": lambda: Refractory(1.0)(events),
            "tonic": lambda: tonic.refractory_period_numpy(theirs, refractory_period=1_000),
        },
    }
    return {task: {name: job for name, job in jobs.items() if job is not None} for task, jobs in found.items()}


def measure(jobs: dict[str, Job], rounds: int, seconds: float) -> dict[str, float]:
    """Median processor seconds by name, interleaved; up to so many rounds, at least three, in about so many seconds.

    Before every timed call there is one that is not timed, unless it takes long: a loading process does the same thing
    again and again, and does not find caches and heap as the others left them.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()  # compiles and warms up
    end = time.perf_counter() + seconds
    for index in range(rounds):
        if index >= 3 and time.perf_counter() > end:
            break
        for name, job in jobs.items():
            if not times[name] or times[name][-1] < 0.1:
                job()
            start = time.process_time()
            job()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(passed) for name, passed in times.items()}


def kept_alike(jobs: dict[str, Job]) -> bool:
    """Whether two filters keep the same events."""
    ours, theirs = jobs["ours"](), jobs["tonic"]()
    return len(ours) == len(theirs) and all((getattr(ours, name) == theirs[name]).all() for name in "txyp")


def cache_read(rounds: int) -> float:
    """Median seconds to get a sample of 300k events from the cache."""
    frames = Frames(T)(recording(300_000)[0], (W, H, P))
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder), 10**9)
        cache.put("0" * 40, {"x": frames})
        found = cache.get("0" * 40)
        assert found is not None
        assert (found["x"] == frames).all()
        return measure({"get": lambda: torch.from_numpy(cache.get("0" * 40)["x"])}, rounds, 5)["get"]  # type: ignore


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="below a minute")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")  # those of the peers
    kept = keep_memory()
    rounds, seconds = (30, 1.0) if args.quick else (100, 10.0)
    if importlib.util.find_spec("spikingjelly") is None:
        print("spikingjelly is skipped: it is not installed")
    print(f"numpy {np.__version__}, torch {torch.__version__}, {platform.machine()}, memory kept: {kept}")
    print(f"{'task':18} {'events':>8}  {'by':14} {'ms':>9} {'Mevents/s':>10} {'/ ours':>8}")
    ratios: dict[str, list[float]] = {}
    for n in SIZES:
        for task, jobs in tasks(n).items():
            if args.quick and ((n != SIZES[1] and task not in GOALS) or (n == SIZES[2] and task in GOALS[1:])):
                continue
            times = measure(jobs, rounds, seconds)
            ratios.setdefault(task, []).append(times["tonic"] / times["ours"])
            for name, passed in times.items():
                speed = f"{n / passed / 1e6:10.1f} {passed / times['ours']:8.2f}"
                print(f"{task:18} {n:8}  {name:14} {1e3 * passed:9.3f} {speed}", flush=True)
            if task in GOALS[1:] and not kept_alike(jobs):
                raise SystemExit(f"{task}: ours and tonic's differ.")
    names = ("framing_vs_tonic", "denoise_vs_tonic", "refractory_vs_tonic")
    result = {name: min(ratios[task]) for name, task in zip(names, GOALS, strict=True)}
    result["cache_read_ms"] = 1e3 * cache_read(300)
    print(json.dumps({name: round(value, 3 if name == "cache_read_ms" else 1) for name, value in result.items()}))


if __name__ == "__main__":
    main()
