"""What do SLTT and lossless saving save, and at what price? Measured with saved-tensor accounting.

    python benchmarks/memory.py --quick      # below a minute; the last line is JSON
    python benchmarks/memory.py

Memory ("held") is the most that the autograd graph holds at any time, without parameters and buffers, in training mode,
for a batch of images of 32 x 32 pixels. For lossless saving (`save_memory`, the exact gradient) that would leave out
what the backward pass computes again, so it is compared by the most that all tensors take at any time ("alive"):
gradients and temporary results too, parameters and buffers not. Time is forward and backward, interleaved, medians. The
angle is the cosine between the gradients of SLTT and of backpropagation through time for the same loss (TET), at
initialisation, batch norm in evaluation mode after a calibration, so that both see one function.
"""

import argparse
import json
import statistics
import time
import weakref
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import zoo
from commands.memory import keep_memory
from lightning_modules.objectives import TET
from lightning_modules.rules.sltt import SLTT
from zoo.model import Network, Outputs, read
from zoo.sequence import to_sequence

MODELS = ("sew_resnet18_small", "spiking_vgg11")


class Graph:
    """Counts the bytes that autograd holds, in a `with` block."""

    def __init__(self, model: nn.Module) -> None:
        self.own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
        self.users: dict[int, int] = {}
        self.held = self.peak = 0

    def add(self, address: int, size: int, count: int) -> None:
        """Count a storage once, however many saved tensors share it."""
        before = self.users.get(address, 0)
        self.users[address] = before + count
        if not before or not before + count:
            self.held += count * size
        self.peak = max(self.peak, self.held)

    def __enter__(self) -> "Graph":
        graph = self

        class Saved:
            def __init__(self, tensor: Tensor) -> None:
                storage = tensor.untyped_storage()
                self.tensor, self.key = tensor, (storage.data_ptr(), storage.nbytes())
                self.counts = self.key[0] not in graph.own
                if self.counts:
                    graph.add(*self.key, 1)

            def __del__(self) -> None:
                if self.counts:
                    graph.add(*self.key, -1)

        self.hooks = torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor)
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.hooks.__exit__(*error)


class Alive(TorchDispatchMode):
    """Counts the bytes of all tensors but those of the model, in a `with` block; it does not look into kernels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.known = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}
        self.held = self.peak = 0

    def forget(self, key: int, size: int) -> None:
        """A storage was freed."""
        self.known.discard(key)
        self.held -= size

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage())._cdata not in self.known:
                self.known.add(storage._cdata)
                self.held += storage.nbytes()
                weakref.finalize(storage, self.forget, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.held)
        return out


def learner(model: Network) -> Any:
    """What `SLTT.learn` needs of a LightningModule."""
    loss = TET()

    def total(student: Outputs, teacher: Outputs | None, target: Tensor, stage: str) -> Tensor:
        return loss(student, teacher, target)

    return SimpleNamespace(model=model, read_teacher=lambda x: None, loss=total)


def ways(model: Network, batch: int) -> dict[str, Callable[[], None]]:
    """A backward pass of TET by name of the method."""
    x, target = to_sequence(torch.randn(batch, 3, 32, 32)), torch.randint(10, (batch,))

    def bptt() -> None:
        TET()(read(model, x), None, target).backward()

    def sltt(k: int | None = None) -> None:
        SLTT(k).learn(learner(model), x, target, 1.0)

    def lossless() -> None:
        model.set_grad_checkpointing()
        bptt()
        model.set_grad_checkpointing(False)

    half = partial(sltt, max(model.num_steps // 2, 1))
    return {"BPTT": bptt, "SLTT": sltt, "SLTT-K": half, "lossless": lossless}


def make(name: str, steps: int, tau: float = 2.0, decay_input: bool = True) -> Network:
    """A student in training mode, channels-last as in training."""
    torch.manual_seed(0)
    neuron = {"name": "lif", "tau": tau, "decay_input": decay_input}
    model = zoo.create_model(name, num_classes=10, num_steps=steps, neuron=neuron)
    return model.to(memory_format=torch.channels_last)


def peak(name: str, steps: int, way: str, batch: int) -> int:
    """Bytes held at the worst moment."""
    model = make(name, steps)
    with Graph(model) as graph:
        ways(model, batch)[way]()
    return graph.peak


def alive(name: str, steps: int, way: str, batch: int) -> int:
    """Bytes of all tensors at the worst moment."""
    model = make(name, steps)
    with Alive(model) as tensors:
        ways(model, batch)[way]()
    return tensors.peak


def seconds(name: str, steps: int, batch: int, rounds: int) -> dict[str, float]:
    """Median time of every way, interleaved."""
    every = ways(make(name, steps), batch)
    times: dict[str, list[float]] = {way: [] for way in every}
    for index in range(rounds + 1):
        for way, run in every.items():
            start = time.perf_counter()
            run()
            if index:
                times[way].append(time.perf_counter() - start)
    return {way: statistics.median(values) for way, values in times.items()}


def cosine(tau: float, decay_input: bool, steps: int = 6) -> float:
    """Between the gradients of SLTT and BPTT, all parameters together."""
    model = make("sew_resnet8", steps, tau, decay_input)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    every = ways(model, 64)
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(64, 3, 32, 32))  # calibrates the norms
    model.eval()
    gradients = []
    for way in ("BPTT", "SLTT"):
        model.zero_grad()
        every[way]()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    return torch.cosine_similarity(*gradients, dim=0).item()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one student, two taus")
    args = parser.parse_args()
    keep_memory()
    batch, models = 32, MODELS[1:] if args.quick else MODELS
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {batch}")
    for name in models:
        megabytes = {(way, t): peak(name, t, way, batch) / 1e6 for way in ("BPTT", "SLTT") for t in (2, 10, 32)}
        whole = {way: alive(name, 10, way, batch) / 1e6 for way in ("BPTT", "lossless")}
        times = seconds(name, 10, batch, 3)
        for (way, t), size in megabytes.items():
            end = f" {1e3 * times[way]:8.0f} ms" if t == 10 else ""
            print(f"{name:20} {way:8}  T = {t:2}  {size:9.1f} MB held {end}")
        print(f"{name:20} SLTT-K    T = 10, learning from 5 steps    {1e3 * times['SLTT-K']:8.0f} ms")
        for way, size in whole.items():
            print(f"{name:20} {way:8}  T = 10  {size:9.1f} MB alive {1e3 * times[way]:8.0f} ms")
        found = {
            "sltt_over_bptt_T10": megabytes["SLTT", 10] / megabytes["BPTT", 10],
            "sltt_T32_over_T2": megabytes["SLTT", 32] / megabytes["SLTT", 2],
            "sltt_time_over_bptt": times["SLTT"] / times["BPTT"],
            "sltt_k5_time_over_bptt": times["SLTT-K"] / times["BPTT"],
            "lossless_over_bptt": whole["lossless"] / whole["BPTT"],
            "lossless_time_over_bptt": times["lossless"] / times["BPTT"],
        }
    for tau in (1.1, 2.0) if args.quick else (1.1, 1.25, 1.5, 2.0, 4.0, 20.0):
        both = ", ".join(f"{cosine(tau, decay):.3f} (decay_input {decay})" for decay in (True, False))
        print(f"cosine of SLTT and BPTT, sew_resnet8, T = 6, tau = {tau:5}: {both}")
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


if __name__ == "__main__":
    main()
