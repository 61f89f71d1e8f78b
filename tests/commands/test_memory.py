"""In processes of their own: what was set for an allocator cannot be taken back."""

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
from commands.memory import keep_memory
import torch
print(keep_memory())
x = torch.ones(1 << 23)
for _ in range(2): x + 1
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): x + 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize(
    "environment", [{}, {"SNNZOO_KEEP_MEMORY": "0"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}], ids=str
)
def test_pages_are_not_asked_for_twice(environment):
    """Ten sums of 32 MB: 8192 pages each if the memory went back to the kernel (16 huge ones), else none."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("GLIBC", "MALLOC", "LD_PRE"))}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=mine | environment, capture_output=True, text=True)
    keeps, faults = done.stdout.split()
    assert keeps == str(not environment), done.stderr
    assert (int(faults) < 10) == (not environment)
