"""A rival in a process of its own. What goes wrong there, in whatever way, is a WorkerError here."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from nnbackprop._system_info import use_threads
from nnbackprop.errors import NnbackpropError
from nnbackprop.nn.layers.base import Params

from .rivals import RIVALS, Rival
from .workloads import WORKLOADS, Problem

LONGEST = 300.0
"""Seconds that one call may take."""

EXIT_WAIT = 10.0
"""Seconds that a process has to end once its pipe is closed."""


class WorkerError(NnbackpropError):
    """A worker could not do what it was asked, or has ended."""


class Worker:
    """A process that makes calls: `send` does not wait, so that many may work before the first `receive`."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()

    def send(self, call: str, *arguments: Any) -> None:
        with suppress(OSError):  # it has ended, which `receive` will say
            self.pipe.send((call, arguments))

    def receive(self, seconds: float = LONGEST) -> Any:
        """Wait for an answer, at most so long; WorkerError says why there is none."""
        try:
            if not self.pipe.poll(max(0.0, seconds)):
                self.process.kill()
                raise WorkerError(f"it was not done after {seconds:.0f} s")
            answer = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(EXIT_WAIT)
            raise WorkerError(f"its process ended with exit code {self.process.exitcode}") from None
        if isinstance(answer, WorkerError):
            raise answer
        return answer

    def end(self) -> None:
        """Let it end, or kill it."""
        self.pipe.close()
        self.process.join(EXIT_WAIT)
        self.process.kill()


def error_of(error: Exception) -> WorkerError:
    """An error of any kind, in a line."""
    return WorkerError(" ".join(f"{type(error).__name__}: {error}".split())[:400])


class Session:
    """A rival at a workload, and how many steps it has made."""

    def __init__(self, name: str, threads: int | None) -> None:
        self.entry, self.threads, self.at = RIVALS[name], threads, 0
        self.rival: Rival | None = None
        self.problem: Problem | None = None

    def prepare(self, workload: str, device: str = "cpu", tf32: bool = False) -> None:
        """Read the data and build the rival."""
        self.begin(Problem.of(WORKLOADS[workload], device=device, tf32=tf32))

    def begin(self, problem: Problem) -> None:
        """Build the rival of a problem."""
        self.problem, self.rival, self.at = problem, self.entry.make(problem), 0
        if self.threads:
            use_threads(self.threads)  # of the libraries that it has imported

    def check(self, steps: int) -> Params:
        """The weights after the first steps."""
        self.run(steps)
        assert self.rival
        return self.rival.weights()

    def run(self, steps: int) -> tuple[float, float]:
        """Seconds of further steps on the clock, and CPU seconds of all this process's threads."""
        if self.rival is None or self.problem is None:
            raise ValueError("nothing was prepared")
        batches = self.rival.prepare(self.problem.rows(self.at, steps))
        cpu, begin = time.process_time(), time.perf_counter()
        self.rival.run(batches)
        seconds = time.perf_counter() - begin
        self.at += steps
        return seconds, time.process_time() - cpu

    def drop(self) -> None:
        """Free the rival and its data."""
        self.rival = self.problem = None
        gc.collect()


def serve(pipe: Connection, name: str, threads: int | None) -> None:
    """In the worker's process: answer calls until the pipe is closed."""
    os.dup2(2, 1)  # what a library prints is no result of the command's
    if blocked := RIVALS[name].blocked:
        sys.modules[blocked] = None  # type: ignore[assignment]  # as if it were not installed
    if threads and hasattr(os, "sched_setaffinity"):  # XLA takes a thread a core
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    session = Session(name, threads)
    with suppress(EOFError):
        while True:
            call, arguments = pipe.recv()
            try:
                answer = getattr(session, call)(*arguments)
            except Exception as error:
                answer = error_of(error)
            pipe.send(answer)
