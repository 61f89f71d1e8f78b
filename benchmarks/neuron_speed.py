"""How fast is a layer of LIF neurons? Ours and its peers, interleaved in one run; medians.

    python benchmarks/neuron_speed.py --quick      # below a minute; the last line is JSON
    python benchmarks/neuron_speed.py              # every size, number of steps, reset and surrogate

The floor is the least memory traffic that a layer can have, 2.5 copies of its input: read x and write the spikes, then
read their gradient and x and write the gradient of x. Peers that are not installed are skipped and named:
`pip install spikingjelly==2.0.0 snntorch==1.0.0 norse==1.1.0`. The allocator keeps its memory, as in a run of ours
(`commands/memory.py`), for everyone alike; `SNNZOO_KEEP_MEMORY=0` shows what that is worth.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from commands.memory import keep_memory
from zoo.neurons import LIF, fused

Layer = Callable[[Tensor], Tensor]
PEERS: dict[str, Callable[[str, str], Layer]] = {}
FLOOR = 2.5


def peer(name: str) -> Callable[[Callable[[str, str], Layer]], Callable[[str, str], Layer]]:
    """Register a maker of layers: (reset "hard" or "soft", surrogate "atan" or "sigmoid") -> layer."""

    def register(make: Callable[[str, str], Layer]) -> Callable[[str, str], Layer]:
        PEERS[name] = make
        return make

    return register


@peer("ours")
def ours(reset: str, surrogate: str) -> Layer:
    """Default settings."""
    return LIF(v_reset=0.0 if reset == "hard" else None, surrogate=surrogate)


@peer("loop")
def loop(reset: str, surrogate: str) -> Layer:
    """Our definition, step by step in PyTorch."""
    neuron = ours(reset, surrogate)

    def run(x: Tensor) -> Tensor:
        choose, fused.can_run = fused.can_run, lambda *_: False  # type: ignore[assignment]
        try:
            return neuron(x)
        finally:
            fused.can_run = choose

    return run


@peer("spikingjelly")
def spikingjelly(reset: str, surrogate: str) -> Layer:
    """Multi-step LIFNode."""
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based import surrogate as slopes

    slope = slopes.ATan() if surrogate == "atan" else slopes.Sigmoid()
    v_reset = 0.0 if reset == "hard" else None
    node = neuron.LIFNode(surrogate_function=slope, v_reset=v_reset, detach_reset=True, step_mode="m")

    def run(x: Tensor) -> Tensor:
        functional.reset_net(node)
        return node(x)

    return run


@peer("snntorch")
def snntorch(reset: str, surrogate: str) -> Layer:
    """A loop over Leaky, as its tutorials have it."""
    import snntorch as snn
    from snntorch import surrogate as slopes

    slope = slopes.atan() if surrogate == "atan" else slopes.sigmoid()
    mechanism = "zero" if reset == "hard" else "subtract"
    cell = snn.Leaky(beta=0.5, spike_grad=slope, reset_mechanism=mechanism)

    def run(x: Tensor) -> Tensor:
        memory, out = torch.zeros_like(x[0]), []
        for current in x:
            spikes, memory = cell(current, memory)
            out.append(spikes)
        return torch.stack(out)

    return run


@peer("norse")
def norse(reset: str, surrogate: str) -> Layer:
    """A loop over LIFBoxCell (SuperSpike: it has no atan)."""
    from norse.torch import LIFBoxCell

    cell = LIFBoxCell()

    def run(x: Tensor) -> Tensor:
        state, out = None, []
        for current in x:
            spikes, state = cell(current, state)
            out.append(spikes)
        return torch.stack(out)

    return run


def contenders(names: list[str], reset: str, surrogate: str) -> dict[str, Layer]:
    """The layers that can be had here; "<peer> compiled" is the peer under torch.compile."""
    found: dict[str, Layer] = {}
    for name in names:
        try:
            layer = PEERS[name.removesuffix(" compiled")](reset, surrogate)
        except ImportError as error:
            print(f"{name} is skipped: {error}")
            continue
        found[name] = torch.compile(layer) if name.endswith("compiled") else layer
    return found


def step(layer: Layer, x: Tensor, g: Tensor) -> None:
    """One forward and backward pass."""
    x.grad = None
    layer(x).backward(g)


def measure(layers: dict[str, Layer], x: Tensor, rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds of (forward, forward + backward), interleaved; "copy" is a copy of x.

    Before every timed step there is one that is not timed: it finds the heap as the others left it, as no step of a
    training does, and pays for it with page faults. For the same reason the heap is grown first.
    """
    torch.ones(8, *x.shape)  # freed at once; the pages stay
    x.requires_grad_()
    g, target = torch.randn_like(x), torch.empty_like(x)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ("copy", *layers)}
    for index in range(rounds + 1):  # the first compiles and warms up
        for name in times:
            if name == "copy":
                start = time.perf_counter()
                target.copy_(g)
                passed = (time.perf_counter() - start,) * 2
            else:
                step(layers[name], x, g)
                start = time.perf_counter()
                with torch.no_grad():
                    layers[name](x)
                forward = time.perf_counter()
                step(layers[name], x, g)
                passed = (forward - start, time.perf_counter() - forward)
            if index:
                times[name].append(passed)
    return {name: (median(t[0] for t in both), median(t[1] for t in both)) for name, both in times.items()}


def median(values: Iterator[float]) -> float:
    """Of any iterable."""
    return statistics.median(list(values))


def peak(name: str, steps: int, numbers: int) -> float:
    """Peak memory of a first step beyond x and the gradient of the spikes, over the size of x, in this process."""
    x, g = torch.randn(steps, numbers // steps), torch.randn(steps, numbers // steps)
    layer = contenders([name], "hard", "atan")[name]
    small = torch.randn(steps, 1 << 18)  # loads and compiles what is needed
    step(layer, small.requires_grad_(), torch.ones_like(small))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
    before = memory("VmRSS")
    step(layer, x.requires_grad_(), g)
    return (memory("VmHWM") - before) / (4 * numbers)


def memory(field: str) -> int:
    """Bytes of this process, as the kernel counts them."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def fresh_peak(name: str, steps: int, numbers: int) -> float:
    """`peak` in a process of its own."""
    command = [sys.executable, __file__, "--peak", name, str(steps), str(numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def row(case: str, name: str, times: dict[str, tuple[float, float]]) -> str:
    """One line of the table."""
    forward, both = times[name]
    floor = FLOOR * times["copy"][1]
    ratios = f"{both / floor:8.2f} {both / times['ours'][1]:8.2f}"
    return f"{case:28} {name:22} {1e3 * forward:10.3f} {1e3 * both:10.3f} {ratios}"


HEADER = f"{'case':28} {'layer':22} {'forward ms':>10} {'both ms':>10} {'/ floor':>8} {'/ ours':>8}"
SIZES = {"64 kB": 1 << 14, "16 MB": 1 << 22, "67 MB": 1 << 24, "256 MB": 1 << 26}


def run_case(steps: int, reset: str, surrogate: str, size: str, names: list[str], rounds: int) -> dict[str, float]:
    """Measure and print one case; returns forward + backward seconds by name."""
    x = torch.randn(steps, SIZES[size] // steps)
    times = measure(contenders(names, reset, surrogate), x, rounds)
    for name in times:
        if name != "copy":
            print(row(f"T={steps} {reset} {surrogate} {size}", name, times), flush=True)
    torch.compiler.reset()
    return {name: both for name, (_, both) in times.items()}


def quick() -> None:
    """The sizes of the project's goals."""
    four = ["ours", "loop", "spikingjelly", "spikingjelly compiled", "snntorch compiled"]
    t4 = run_case(4, "hard", "atan", "67 MB", four, 7)
    t16 = run_case(16, "hard", "atan", "67 MB", ["ours"], 7)
    small = run_case(4, "hard", "atan", "64 kB", ["ours", "loop"], 50)
    ratios = {
        "floor_T4": t4["ours"] / (FLOOR * t4["copy"]),
        "floor_T16": t16["ours"] / (FLOOR * t16["copy"]),
        **{f"vs_{name.replace(' ', '_')}": t4[name] / t4["ours"] for name in four[1:] if name in t4},
        "small_vs_loop": small["loop"] / small["ours"],
        "peak_over_input": fresh_peak("ours", 4, SIZES["67 MB"]),
    }
    print(json.dumps({name: round(value, 2) for name, value in ratios.items()}))


def everything() -> None:
    """Every case; torch.compile unrolls the steps, so peers are compiled up to T = 16 and at one size only."""
    eager = ["ours", "loop", "spikingjelly", "snntorch", "norse"]
    compiled = ["spikingjelly compiled", "snntorch compiled", "norse compiled"]
    for size, steps, reset, surrogate in product(SIZES, (4, 16, 100), ("hard", "soft"), ("atan", "sigmoid")):
        if size == "256 MB" and (reset, surrogate) != ("hard", "atan"):
            continue
        extra = compiled if size == "67 MB" and steps <= 16 and (reset, surrogate) == ("hard", "atan") else []
        run_case(steps, reset, surrogate, size, eager + extra, 30 if size == "64 kB" else 3)
    for name in eager:
        print(f"peak over input, T=4, 67 MB: {name:14} {fresh_peak(name, 4, SIZES['67 MB']):.2f}", flush=True)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="below a minute")
    parser.add_argument("--peak", nargs=3, metavar=("LAYER", "STEPS", "NUMBERS"), help="one figure, for a new process")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")  # those of the peers
    if args.peak:
        print(peak(args.peak[0], int(args.peak[1]), int(args.peak[2])))
        return
    kept = keep_memory()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}, memory kept: {kept}")
    print(HEADER)
    quick() if args.quick else everything()


if __name__ == "__main__":
    main()
