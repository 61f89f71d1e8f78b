"""How long does a command take before it does its work? CPU time (user + system) of whole processes.

    python benchmarks/startup.py [--runs 5]

The goals hold for an idle machine.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
COMMANDS = {  # words, and the goal in seconds
    "help": (["--help"], 0.3),
    "wrong command": (["tset"], 0.5),
    "wrong argument": (["list", "--pretraind"], 0.5),
    "help of fit": (["fit", "--help"], 0.5),
    "wrong option of fit": (["fit", "--modle", "x"], 0.5),
    "list": (["list"], 1.5),
    "info": (["info", "sew_resnet_tiny"], 1.5),
    "import torch, timm": (None, None),
    "fit of one batch": (["fit", "--config", "configs/digits/sew_resnet_ce.yaml", "--trainer.fast_dev_run", "1"], None),
}


def cpu_seconds(words: list[str] | None) -> float:
    """CPU time of one process of `snnzoo`; of Python with torch and timm, if there are no words."""
    with tempfile.TemporaryDirectory() as folder:
        run = ["--run", folder] if words and words[0] == "fit" else []
        command = ["-c", "import torch, timm"] if words is None else ["cli.py", *words, *run]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, **quiet)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="CPU time of commands.")
    parser.add_argument("--runs", type=int, default=5, help="processes of each command; the table shows the median")
    runs = parser.parse_args().runs
    table = Table("command", title=f"CPU time in s, median of {runs}")
    for column in ("median", "least", "goal"):
        table.add_column(column, justify="right")
    for name, (words, goal) in COMMANDS.items():
        cpu_seconds(words)  # compiles, and reads files into the cache
        times = [cpu_seconds(words) for _ in range(runs)]
        table.add_row(name, f"{statistics.median(times):.2f}", f"{min(times):.2f}", "" if goal is None else f"{goal}")
    Console().print(table)


if __name__ == "__main__":
    main()
