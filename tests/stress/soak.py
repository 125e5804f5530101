"""Minutes of training in one process, whose memory, files and threads must not grow. `... tests.stress.soak 10`.

Runs that save every few steps, each resumed once, by turns with and without monitor, their data resident and
streamed. Without plots, since matplotlib's caches fill for a dozen runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from nnbackprop.diagnostics.monitored_run import MonitoredRun
from nnbackprop.report.progress import progress
from nnbackprop.runs import resume, train
from nnbackprop.runs.config_files import resolve

from . import child_run

EPOCHS = 200  # of a run, half of them before it is resumed
WARM = 1 / 4  # of the time, when libraries are loaded and pools filled
MAX_GROWTH = 0.01  # of memory in the rest


@dataclass(frozen=True)
class Resources:
    """What a process holds: resident bytes, open files, threads."""

    memory: int
    files: int
    threads: int

    @classmethod
    def now(cls) -> Resources:
        """This process now, once free memory has gone back to the system.

        CPython rebuilds its table of interned strings now and then; the allocator keeps the 4 MB of the old one,
        which would hide what something holds.
        """
        gc.collect()
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc has it
            trim(0)
        process = psutil.Process()
        return cls(process.memory_info().rss, process.num_fds(), process.num_threads())


def main(minutes: float) -> int:
    """Train for so long, say what it came to; 1 if anything grew."""
    readings, steps, runs = [], 0, 0
    begin = time.monotonic()
    while (passed := (time.monotonic() - begin) / (60 * minutes)) < 1:
        steps += _run(runs)
        runs += 1
        if passed >= WARM:
            readings.append(Resources.now())
    grown, words = _growth(readings)
    print(f"{steps:,} steps, {steps // child_run.SAVE_EVERY:,} saves, {runs} resumes: {words}")
    return int(grown)


def _run(number: int) -> int:
    """One run, resumed half-way, and its number of steps."""
    changes = {"doctor": bool(number % 2), "resident": ("yes", "no")[number // 2 % 2], "epochs": EPOCHS // 2}
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        shown = progress(("plain", "off")[number % 2], Console(file=nowhere), {})
        with train.start(resolve("mnist-original", {**child_run.SETTINGS, **changes, "name": "soak"})) as run:
            MonitoredRun(run).fit([shown], _ignore)
        with resume.resume("soak", {"epochs": EPOCHS}, Path("runs"), _ignore) as run:
            summary = MonitoredRun(run).fit([shown], _ignore)
    shutil.rmtree("runs")
    assert summary is not None
    return int(summary["steps"])


def _ignore(message: str) -> None:
    pass


def _growth(readings: list[Resources]) -> tuple[bool, str]:
    """Whether anything grew, and the figures.

    Memory by four times its median growth in a quarter of the time: a table that doubles once is no growth.
    """
    memory, quarter = [r.memory for r in readings], max(1, len(readings) // 4)
    growths = [late - early for early, late in zip(memory, memory[quarter:], strict=False)] or [0]
    growth = 4 * statistics.median(growths) / memory[0]
    files, threads = ({getattr(r, what) for r in readings} for what in ("files", "threads"))
    grown = growth > MAX_GROWTH or len(files) > 1 or len(threads) > 1
    words = f"memory {memory[0] / 2**20:.1f} MB and at the end {memory[-1] / 2**20:.1f} ({growth:+.2%})"
    return grown, f"{words}, {_range(files)} open files, {_range(threads)} threads"


def _range(counts: set[int]) -> str:
    return f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        child_run.write_clouds(Path(folder))
        sys.exit(main(float(sys.argv[1])))
