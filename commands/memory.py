"""What a long-running process does with memory that it will need again."""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h


def keep_memory() -> bool:
    """Let glibc keep freed memory for the next step of training; returns whether it does now.

    By default glibc asks the kernel for every large tensor and gives it back after use, and the kernel clears each page
    anew: on a CPU that costs more time than the arithmetic of the neurons (`benchmarks/neuron_speed.py`). From now on
    large tensors come from the heap (no mmap), which is grown in steps of 256 MB and never trimmed. The process holds
    its peak until it ends. Values and results do not change.

    Nothing happens outside glibc, with SNNZOO_KEEP_MEMORY=0, or if the user tuned glibc or another allocator.

    Source: mallopt(3).
    """
    chosen = ("GLIBC_TUNABLES", "LD_PRELOAD", *(name for name in os.environ if name.startswith("MALLOC_")))
    if os.environ.get("SNNZOO_KEEP_MEMORY") == "0" or any(name in os.environ for name in chosen):
        return False
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(*setting) for setting in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 256 << 20)))
