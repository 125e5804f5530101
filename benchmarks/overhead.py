"""What training costs beside its steps: the trainer and its display, the start of the process, and memory."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from backends import select
from benchmarks.contestants.ours import Ours
from benchmarks.works import WORKS, Problem
from nnbackprop.data import load
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import NnbackpropError
from nnbackprop.report.progress import progress
from nnbackprop.runs import build
from nnbackprop.training.callbacks import Callback, EpochBegin, TrainEnd
from nnbackprop.training.trainer import Trainer

PAIRS = 7
"""Turns of the bare step and of the trainer that medians are taken of."""

SAMPLES = 30_000
"""Of an epoch, which is a turn: half a second to one."""

STARTS = 3
"""Processes that a median is taken of."""

COMMAND = ("train", "--epochs", "1", "--backend", "numpy")
"""What is started."""

FIRST_STEP = """
import sys
from nnbackprop.training.callbacks import Callback
Callback.chunk_begin = lambda self, event: print("first step", flush=True)
from nnbackprop.cli import main
main(sys.argv[1:])
"""
"""The command, told to say when its first chunk begins."""

LAUNCHER = """
import json, os, subprocess, sys, time
begin = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(json.dumps([time.perf_counter() - begin, os.waitstatus_to_exitcode(status), usage.ru_maxrss]))
"""
"""Between us and a command: a process's peak begins with the size of the one that started it."""


class Overhead(msgspec.Struct, frozen=True):
    """Seconds a step, bare and by the trainer with its display, and their ratio."""

    work: str
    bare: float
    trained: float
    ratio: float


class Start(msgspec.Struct, frozen=True):
    """Seconds from the start of the process: to the first step, and to its end after one epoch."""

    first_step: float
    whole: float


class Memory(msgspec.Struct, frozen=True):
    """Bytes of memory at the peak of a run of one epoch, its samples stored as uint8 or float32."""

    uint8: int
    float32: int


# The trainer.


class Stopwatch(Callback):
    """The seconds of an epoch with all that callbacks do in it; the first of them, so that none is left out."""

    seconds = 0.0

    def epoch_begin(self, event: EpochBegin) -> None:
        """Start."""
        self.begin = time.perf_counter()

    def train_end(self, event: TrainEnd) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self.begin


def overhead(work: str, backend: str = "numpy") -> Overhead:
    """The trainer with its display on a terminal against the bare step, in one process, turn by turn."""
    problem = Problem.of(WORKS[work])
    train = problem.train.take(np.arange(SAMPLES))
    problem = Problem(problem.config, train, problem.scaling, ())
    bare = Ours(problem, WORKS[work].chunk, backend)
    trainer = build.trainer(problem.config, select(backend), train, problem.scaling)
    steps = SAMPLES // problem.batch
    pairs = [(_bare(bare, k * steps, steps), _trained(trainer, train, k + 1, steps)) for k in range(PAIRS + 1)]
    one, other = (median(column) for column in zip(*pairs[1:], strict=True))
    return Overhead(work, one, other, other / one)


def _bare(ours: Ours, at: int, steps: int) -> float:
    begin = time.perf_counter()
    ours.run(at, steps)
    return (time.perf_counter() - begin) / steps


def _trained(trainer: Trainer, train: Dataset, epochs: int, steps: int) -> float:
    """The next epoch, shown as on a terminal of 80 columns and 25 lines."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=25)
    watch = Stopwatch()
    trainer.epochs, trainer.callbacks = epochs, (watch, progress("rich", console))
    trainer.fit(train)
    return watch.seconds / steps


# The process.


def start() -> Start:
    """Medians of a few processes, each of which does all that the command does."""
    whole = [_launch("--progress", "off")[0] for _ in range(STARTS)]
    return Start(median(_first_step() for _ in range(STARTS)), median(whole))


def memory() -> Memory:
    """Of the command as it is, and of the same given its samples as float32 in a file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "float32.npz"
        _store(path)
        return Memory(_launch()[1], _launch("--data", str(path))[1])


def _store(path: Path) -> None:
    splits = load("mnist")
    assert splits.test
    arrays: dict[str, Any] = {}
    for name, part in (("train", splits.train), ("test", splits.test)):
        arrays |= {f"x_{name}": part.inputs.astype(np.float32), f"y_{name}": part.targets}
    np.savez(path, **arrays)


def _launch(*flags: str) -> tuple[float, int]:
    """Seconds and most bytes of memory of the command in a process of its own."""
    with TemporaryDirectory() as folder:
        words = [sys.executable, "-c", LAUNCHER, sys.executable, "-m", "nnbackprop", *COMMAND, *flags]
        done = subprocess.run([*words, "--runs-dir", folder], capture_output=True, text=True)
    seconds, status, peak = json.loads(done.stdout) if done.returncode == 0 else (0.0, done.returncode, 0)
    if status:
        raise NnbackpropError(
            f"`nnbackprop {' '.join([*COMMAND, *flags])}` was to be measured and ended with status {status}. "
            f"{done.stderr.strip()} Run it by itself and mend what it says."
        )
    return seconds, peak * (1 if sys.platform == "darwin" else 1024)


def _first_step() -> float:
    """Seconds from the start of a process to its first chunk."""
    with TemporaryDirectory() as folder:
        words = [sys.executable, "-c", FIRST_STEP, *COMMAND, "--progress", "off", "--runs-dir", folder]
        begin = time.perf_counter()
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            process.stdout.readline()
            seconds = time.perf_counter() - begin
            process.communicate()
    return seconds
