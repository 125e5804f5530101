"""Threads of matrix products on a machine that other processes use too.

A product on several threads waits for the slowest of them: with one other busy process on two cores, an epoch on
two threads took 5 to 13 times as long as on one. So a run takes as many threads as there are free cores, and looks
again as it goes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from backends import Backend
from nnbackprop._system_info import (
    THREAD_VARIABLES,
    CpuTimes,
    cores,
    free_cores,
    get_num_threads,
    load_of_others,
    set_num_threads,
)
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import ChunkEnd, TrainBegin
from nnbackprop.training.trainer import Trainer

from .config import Config

READING_INTERVAL = 0.5  # seconds of training between two readings of the load
MIN_SLOWDOWN = 2.0  # times as long for a sample as it took before, on as many threads
FREE_READINGS = 4  # readings in a row that find more free cores, before threads are added


@dataclass(eq=False)
class ThreadControl(Callback):
    """Sets the threads of matrix products by the load of other processes, and reports each change.

    Fewer where others hold the cores and samples take `MIN_SLOWDOWN` times as long as they did; more where cores
    stay free, for twice as many readings each time that an increase turned out too early. `read_cpu_times` and
    `set_threads` are those of the machine; threads are the whole process's until `restore`.
    """

    cpu_times: CpuTimes  # when the load was last read
    cores: int = field(default_factory=cores)
    read_cpu_times: Callable[[], CpuTimes] = CpuTimes.now
    set_threads: Callable[[int], None] = set_num_threads
    changes: list[tuple[int, int]] = field(default_factory=list)  # (after this step, threads)

    def __post_init__(self) -> None:
        self.initial_threads, self.threads = get_num_threads(), self._free_cores()
        self._reset()
        self.set_threads(self.threads)

    def _reset(self) -> None:
        self.free_readings, self.required_readings, self.increased = 0, FREE_READINGS, False
        self.seconds, self.samples = 0.0, 0  # since the last reading
        self.fastest: dict[int, float] = {}  # seconds a sample, by the number of threads

    @property
    def remark(self) -> str | None:
        """For the header of a run that begins on fewer threads than there are cores."""
        if self.threads == self.cores:
            return None
        number = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        busy = f"{self.others:.1f} of {self.cores} cores are busy"
        return f"{number}: {busy}; --threads {self.cores} to insist"

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Measure from here on."""
        self.cpu_times = self.read_cpu_times()
        self._reset()

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """Compare speed with that before, and threads with free cores."""
        self.seconds += event.seconds
        self.samples += event.n_samples
        if self.seconds < READING_INTERVAL:
            return
        now, fastest = self.seconds / self.samples, self.fastest.get(self.threads)
        slowed = fastest is None or now >= MIN_SLOWDOWN * fastest
        self.seconds, self.samples = 0.0, 0
        free = self._free_cores()
        self.free_readings = self.free_readings + 1 if free > self.threads else 0
        if free < self.threads and slowed:
            self.required_readings *= 2 if self.increased else 1
            self._change(trainer, event.step, free)
        elif self.free_readings >= self.required_readings:
            self._change(trainer, event.step, free)
        else:
            self.fastest[self.threads] = now if fastest is None else min(now, fastest)

    def restore(self) -> None:
        """Give the process as many threads as it had: not at the end of `fit`, after which a run evaluates."""
        self.set_threads(self.initial_threads)

    def _free_cores(self) -> int:
        now = self.read_cpu_times()
        self.others, self.cpu_times = load_of_others(self.cpu_times, now), now
        return free_cores(self.others, self.cores)

    def _change(self, trainer: Trainer, step: int, threads: int) -> None:
        self.increased, self.free_readings = threads > self.threads, 0
        reason = "cores are free again" if self.increased else f"others keep {self.others:.1f} cores busy"
        trainer.message(f"step {step}: matrix products go on with {threads} of {self.cores} threads, as {reason}")
        self.threads = threads
        self.set_threads(threads)
        self.changes.append((step, threads))


def thread_control(config: Config, backend: Backend, before: CpuTimes) -> ThreadControl | None:
    """Control of the threads from the load since `before`, or None where their number is fixed.

    It is by --threads, --deterministic or a library's own variable, such as OMP_NUM_THREADS; and on JAX, whose
    threads are those of its start.
    """
    fixed = config.threads or config.deterministic or any(name in os.environ for name in THREAD_VARIABLES)
    if fixed or backend.device != "cpu" or backend.name not in ("numpy", "torch"):
        return None
    return ThreadControl(before)
