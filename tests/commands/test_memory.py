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

def faults(sums):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(sums): x + 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(keep_memory())
x = torch.ones(1 << 23)
first, _, later = faults(1), faults(9), faults(20)
print(first, later)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize(
    "environment", [{}, {"SNNZOO_KEEP_MEMORY": "0"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}], ids=str
)
def test_pages_are_not_asked_for_twice(environment):
    """The first of many sums of 32 MB asks for its pages; later ones ask again if memory went back to the kernel.

    The heap may still grow by some sums before each finds room in it, so most of the later ones must ask for nothing.
    """
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("GLIBC", "MALLOC", "LD_PRE"))}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=mine | environment, capture_output=True, text=True)
    keeps, first, later = done.stdout.split()
    assert keeps == str(not environment), done.stderr
    assert int(first) >= 16
    assert (int(later) < 10 * int(first)) == (not environment)
