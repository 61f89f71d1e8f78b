"""The compiled kernels of `functional.py`: how they are compiled, when they are used, and their gradients.

`kernels.cpp` runs a block of neurons through all T steps while their state stays in the cache. Nothing is saved for the
backward pass but the input, from which it computes the potentials again: that is cheaper than to write and read them.

They run for currents on the CPU in fp32, bf16 or fp16 under one of our surrogates. They are compiled once for a machine
(seconds) with the compiler that the machine has, and kept in `$SNNZOO_CACHE` (default: `~/.cache/snnzoo`). A small
tensor never waits for that. Without a compiler, or with SNNZOO_KERNELS=0, the plain loops run: the same spikes to the
bit, the same gradients to rounding, more slowly.
"""

import ctypes
import hashlib
import logging
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .surrogate import ATan, Gaussian, Rectangle, Sigmoid, Surrogate, Triangle

logger = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = [
    *("-std=c++17", "-O3", "-march=native", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"),
    *("-fopenmp", "-shared", "-fPIC"),
]
SLOPES: tuple[type[Surrogate], ...] = (ATan, Sigmoid, Triangle, Rectangle, Gaussian)  # in the order of kernels.cpp
TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
NONE, HARD, SOFT = range(3)
WORTH_COMPILING = 1 << 20
"""Numbers in a tensor for which the kernels are compiled if this machine has none yet."""


# Building ------------------------------------------------------------------------------------------------------------


def library_path(compiler: str) -> Path:
    """Where the kernels of this source, compiler and processor are kept."""
    processor = Path("/proc/cpuinfo")  # -march=native: another processor needs another library
    lines = processor.read_text().splitlines() if processor.exists() else []
    flags = [line for line in lines if line.startswith(("flags", "Features"))][:1]
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    key = "\n".join([SOURCE.read_text(), compiler, version, *FLAGS, platform.machine(), *flags])
    folder = Path(os.environ.get("SNNZOO_CACHE") or Path.home() / ".cache/snnzoo")
    return folder / f"kernels-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"


class Library:
    """The kernels, loaded or compiled when first asked for, once."""

    def __init__(self) -> None:
        self.kernels: ctypes.CDLL | None = None
        self.tried: set[bool] = set()  # with and without compiling

    def get(self, compile_it: bool) -> ctypes.CDLL | None:
        """The kernels, compiled first if asked and necessary; None if they cannot be had."""
        if self.kernels is None and compile_it not in self.tried:
            self.tried.add(compile_it)
            self.kernels = self.load(compile_it)
        return self.kernels

    def load(self, compile_it: bool) -> ctypes.CDLL | None:
        """Find the file of the kernels, or make it."""
        if os.environ.get("SNNZOO_KERNELS") == "0":
            return None
        try:
            compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
            if compiler is None:
                raise OSError("no C++ compiler (g++ or clang++) found")
            path = library_path(compiler)
            if not path.exists():
                if not compile_it:
                    return None
                compile_kernels(compiler, path)
            return declare(ctypes.CDLL(str(path)))
        except (OSError, subprocess.SubprocessError) as error:
            if compile_it:
                reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
                logger.warning("Neurons run as plain loops, slower and with equal results: %s.", reason)
            return None


LIBRARY = Library()


def compile_kernels(compiler: str, path: Path) -> None:
    """Compile to a temporary name, then rename: processes that start together do not disturb each other.

    A line on stderr comes first, because seconds of silence look like a hang.

    Raises:
        OSError: If the folder cannot be written.
        subprocess.CalledProcessError: If the compiler fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    print("Compiling the neuron kernels, once per machine (seconds) ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(part)], capture_output=True, text=True, check=True)
        part.replace(path)


def declare(kernels: ctypes.CDLL) -> ctypes.CDLL:
    """Name the types of arguments and results, as in kernels.cpp."""
    kinds = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "f": ctypes.c_float}
    for name, arguments in {
        "leaky_forward": "pipppiipii",
        "leaky_backward": "pippppppiipiiiff",
        "leaky_blocks": "ii",
        "adaptive_forward": "ppppiipiifi",
        "adaptive_backward": "pppppppiipiifiiff",
    }.items():
        function = getattr(kernels, name)
        function.argtypes, function.restype = [kinds[kind] for kind in arguments], None
    kernels.leaky_blocks.restype = ctypes.c_int64
    return kernels


# Choosing ------------------------------------------------------------------------------------------------------------


def can_run(x: Tensor, surrogate: Surrogate | None) -> bool:
    """Whether the kernels take these currents; compiles them if they are many and it was not done yet."""
    known = surrogate is None or type(surrogate) in SLOPES
    if not known or x.device.type != "cpu" or x.dtype not in TYPES or x.numel() == 0:
        return False
    if torch.compiler.is_exporting():  # an exported program shall run where this code is not
        return False
    return available(False) or (x.numel() >= WORTH_COMPILING and available(True))


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def available(compile_it: bool) -> bool:
    """Whether there are kernels; `torch.compile` asks once."""
    return LIBRARY.get(compile_it) is not None


def leaky(
    x: Tensor,
    v: Tensor | None,
    numbers: Sequence[float | Tensor],
    v_reset: float | None,
    detach_reset: bool,
    surrogate: Surrogate | None,
    final: bool,
    v_start: float,
) -> tuple[Tensor, Tensor]:
    """See `functional.leaky`; `numbers` are decay, gain, shift and threshold."""
    reset = NONE if surrogate is None else SOFT if v_reset is None else HARD
    slope, number = which_slope(surrogate)
    v = None if v is None else v.float()
    settings = (v_reset or 0.0, v_start, reset, detach_reset, slope, number, final)
    if torch.is_grad_enabled() and any(isinstance(n, Tensor) and n.requires_grad for n in numbers):
        learned = torch.stack([torch.as_tensor(n, dtype=torch.float32).reshape(()) for n in numbers])
        out, end = torch.ops.snnzoo.leaky(x, v, learned, [], *settings)
    else:
        out, end = torch.ops.snnzoo.leaky(x, v, None, [float(n) for n in numbers], *settings)
    return out, end


def adaptive(
    x: Tensor,
    state: Sequence[Tensor] | None,
    numbers: Sequence[Tensor],
    threshold: float,
    detach_reset: bool,
    surrogate: Surrogate,
    final: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """See `functional.adaptive`; `numbers` are alpha, beta, a and b."""
    slope, number = which_slope(surrogate)
    shape, repeat = units_of(numbers, x.shape[1:])
    of_units = torch.stack([n.float().expand(shape).flatten() for n in numbers])  # [4, units]
    start = None if state is None else torch.stack([s.float() for s in state])  # [3, ...]
    out, end = torch.ops.snnzoo.adaptive(x, start, of_units, repeat, threshold, detach_reset, slope, number, final)
    return out, tuple(end) if final else ()


def units_of(numbers: Sequence[Tensor], step: torch.Size) -> tuple[torch.Size, int]:
    """The shape in which numbers differ from unit to unit, and how many columns of a step in a row are of one unit.

    Units are one axis of the step; numbers that differ along several make every column a unit.

    Raises:
        ValueError: If the numbers do not broadcast over the step.
    """
    shape = torch.broadcast_shapes(*(n.shape for n in numbers))
    if torch.broadcast_shapes(shape, step) != step:
        raise ValueError(f"Numbers of shape {tuple(shape)} do not broadcast over one step {tuple(step)}.")
    axes = [axis for axis in range(-len(shape), 0) if shape[axis] != 1]
    if len(axes) > 1:
        return step, 1
    return shape, math.prod(step[axes[0] + 1 :]) if axes and axes[0] < -1 else 1


def which_slope(surrogate: Surrogate | None) -> tuple[int, float]:
    """Number of the surrogate in kernels.cpp, and its own number."""
    if surrogate is None:
        return 0, 1.0
    (number,) = vars(surrogate).values()
    return SLOPES.index(type(surrogate)), number


# Operators -----------------------------------------------------------------------------------------------------------
#
# As torch operators they need no graph break in `torch.compile`. The forward of each returns (out, state after step T).


@torch.library.custom_op("snnzoo::leaky", mutates_args=())
def leaky_op(
    x: Tensor,
    v: Tensor | None,
    learned: Tensor | None,
    numbers: list[float],
    v_reset: float,
    v_start: float,
    reset: int,
    detach_reset: bool,
    slope: int,
    number: float,
    final: bool,
) -> tuple[Tensor, Tensor]:
    """Spikes (or potentials) and the potential after step T; the numbers are in `learned` [4] or in `numbers`."""
    x = in_rows(x)
    v = None if v is None else laid_out_as(x[:1], v[None], torch.float32)
    out, end = like(x), like(x[:1], torch.float32)[0] if final else torch.empty(0)
    kernels().leaky_forward(
        *(address(x), x.stride(0), address(v), address(out), address(end) if final else None),
        *(len(x), x[0].numel(), leaky_struct(learned, numbers, v_reset, v_start), reset, TYPES[x.dtype]),
    )
    return out, end


@leaky_op.register_fake
def _(x: Tensor, v: Any, learned: Any, numbers: Any, *settings: Any) -> tuple[Tensor, Tensor]:
    x = in_rows(x)
    return like(x), like(x[:1], torch.float32)[0] if settings[-1] else x.new_empty(0, dtype=torch.float32)


@torch.library.custom_op("snnzoo::leaky_backward", mutates_args=())
def leaky_backward_op(
    x: Tensor,
    v: Tensor | None,
    learned: Tensor | None,
    g: Tensor,
    g_end: Tensor | None,
    numbers: list[float],
    v_reset: float,
    v_start: float,
    reset: int,
    detach_reset: bool,
    slope: int,
    number: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, of v and of `learned`; the last two are empty if there is no v or no `learned`."""
    x = in_rows(x)
    step = x[:1]
    v = None if v is None else laid_out_as(step, v[None], torch.float32)
    g = laid_out_as(x, g)
    g_end = None if g_end is None else laid_out_as(step, g_end[None], torch.float32)
    gx, gv = like(x), torch.empty(0) if v is None else like(step, torch.float32)[0]
    blocks = kernels().leaky_blocks(len(x), step.numel())
    sums = None if learned is None else torch.empty(blocks, 4, dtype=torch.float64)
    kernels().leaky_backward(
        *(address(x), x.stride(0), address(v), address(g), address(g_end), address(gx)),
        *(
            None if v is None else address(gv),
            address(sums),
            len(x),
            step.numel(),
            leaky_struct(learned, numbers, v_reset, v_start),
        ),
        *(reset, TYPES[x.dtype], slope, number, 0.0 if detach_reset else 1.0),
    )
    return gx, gv, torch.empty(0) if sums is None else sums.sum(0).float()


@leaky_backward_op.register_fake
def _(x: Tensor, v: Any, learned: Any, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    x = in_rows(x)
    gv = x.new_empty(0, dtype=torch.float32) if v is None else like(x[:1], torch.float32)[0]
    return like(x), gv, x.new_empty(0 if learned is None else 4, dtype=torch.float32)


def save_leaky(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep the input, nothing else."""
    x, v, learned, *ctx.settings, _ = inputs
    ctx.set_materialize_grads(False)  # the state after step T is often left alone, and zeros of its size are not free
    ctx.save_for_backward(x, v, learned)


def leaky_gradient(ctx: Any, g: Tensor | None, g_end: Tensor | None) -> tuple[Any, ...]:
    """Of x, v and `learned`; the other arguments have none."""
    x, v, learned = ctx.saved_tensors
    g = torch.zeros_like(x) if g is None else g
    gx, gv, g_learned = torch.ops.snnzoo.leaky_backward(x, v, learned, g, g_end, *ctx.settings)
    return gx, None if v is None else gv, None if learned is None else g_learned, *[None] * 8


leaky_op.register_autograd(leaky_gradient, setup_context=save_leaky)


@torch.library.custom_op("snnzoo::adaptive", mutates_args=())
def adaptive_op(
    x: Tensor,
    state: Tensor | None,
    numbers: Tensor,
    repeat: int,
    threshold: float,
    detach_reset: bool,
    slope: int,
    number: float,
    final: bool,
) -> tuple[Tensor, Tensor]:
    """Spikes, and the state [3, ...] after step T; `numbers` [4, units], each for `repeat` columns in a row."""
    x, numbers, state = x.contiguous(), numbers.contiguous(), None if state is None else state.contiguous()
    out, end = torch.empty_like(x), torch.empty(3, *x.shape[1:]) if final else torch.empty(0)
    kernels().adaptive_forward(
        *(address(x), address(state), address(out), address(end) if final else None),
        *(len(x), x[0].numel(), address(numbers), numbers.shape[1], repeat, threshold, TYPES[x.dtype]),
    )
    return out, end


@adaptive_op.register_fake
def _(x: Tensor, state: Any, numbers: Tensor, *settings: Any) -> tuple[Tensor, Tensor]:
    shape = (3, *x.shape[1:]) if settings[-1] else (0,)
    return torch.empty_like(x.contiguous()), x.new_empty(shape, dtype=torch.float32)


@torch.library.custom_op("snnzoo::adaptive_backward", mutates_args=())
def adaptive_backward_op(
    x: Tensor,
    state: Tensor | None,
    numbers: Tensor,
    g: Tensor,
    g_end: Tensor | None,
    repeat: int,
    threshold: float,
    detach_reset: bool,
    slope: int,
    number: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, of the state (empty if there is none) and of the numbers."""
    x, numbers, state = x.contiguous(), numbers.contiguous(), None if state is None else state.contiguous()
    g, g_end = g.to(x.dtype).contiguous(), None if g_end is None else g_end.contiguous()
    gx, g_columns = torch.empty_like(x), torch.empty(4, x[0].numel())
    g_state = torch.empty(0) if state is None else torch.empty_like(state)
    kernels().adaptive_backward(
        *(address(x), address(state), address(g), address(g_end), address(gx)),
        *(None if state is None else address(g_state), address(g_columns), len(x), x[0].numel()),
        *(address(numbers), numbers.shape[1], repeat, threshold, TYPES[x.dtype], slope, number),
        0.0 if detach_reset else 1.0,
    )
    return gx, g_state, g_columns.view(4, -1, numbers.shape[1], repeat).sum((1, 3))


@adaptive_backward_op.register_fake
def _(x: Tensor, state: Any, numbers: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    g_state = x.new_empty(0, dtype=torch.float32) if state is None else torch.empty_like(state.contiguous())
    return torch.empty_like(x.contiguous()), g_state, torch.empty_like(numbers.contiguous())


def save_adaptive(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep the input, nothing else."""
    x, state, numbers, *ctx.settings, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, state, numbers)


def adaptive_gradient(ctx: Any, g: Tensor | None, g_end: Tensor | None) -> tuple[Any, ...]:
    """Of x, the state and the numbers; the other arguments have none."""
    x, state, numbers = ctx.saved_tensors
    g = torch.zeros_like(x) if g is None else g
    gx, g_state, g_numbers = torch.ops.snnzoo.adaptive_backward(x, state, numbers, g, g_end, *ctx.settings)
    return gx, None if state is None else g_state, g_numbers, *[None] * 6


adaptive_op.register_autograd(adaptive_gradient, setup_context=save_adaptive)


# Memory --------------------------------------------------------------------------------------------------------------


def kernels() -> ctypes.CDLL:
    """The library that `can_run` found."""
    assert LIBRARY.kernels is not None
    return LIBRARY.kernels


def leaky_struct(learned: Tensor | None, numbers: list[float], v_reset: float, v_start: float) -> Any:
    """The struct `Leaky` of kernels.cpp."""
    decay, gain, shift, threshold = numbers if learned is None else learned.tolist()
    return (ctypes.c_float * 6)(decay, gain, shift, threshold, v_reset, v_start)


def address(x: Tensor | None) -> int | None:
    """Pointer to the first number of a tensor; null for None."""
    return None if x is None else x.data_ptr()


def in_rows(x: Tensor) -> Tensor:
    """A sequence whose steps are dense in memory, in any order of axes; a still current may be one step, repeated."""
    row = x[0]
    dense = row.is_contiguous() or (row.ndim == 4 and row.is_contiguous(memory_format=torch.channels_last))
    return x if dense and (len(x) == 1 or x.stride(0) in (0, row.numel())) else x.contiguous()


def strides(x: Tensor) -> tuple[int, ...]:
    """Those of x, one step after the other."""
    return (x[0].numel(), *x.stride()[1:])


def like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """An empty sequence, laid out as x, step by step."""
    return torch.empty_strided(x.shape, strides(x), dtype=dtype or x.dtype, device=x.device)


def laid_out_as(x: Tensor, other: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Another sequence of the shape of x, laid out as `like(x)`, without a copy if it is."""
    dtype = dtype or x.dtype
    same = all(n == 1 or a == b for n, a, b in zip(x.shape, strides(x), other.stride(), strict=True))
    return other if same and other.dtype == dtype else like(x, dtype).copy_(other)
