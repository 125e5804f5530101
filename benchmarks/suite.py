"""The suite: every rival gets a process, is checked against us at a workload, and then all train in turn."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from nnbackprop._system_info import CpuTimes, load_of_others, set_num_threads
from nnbackprop.errors import UsageError

from .results import Absent, Check, Row, Slice, Timing
from .rivals import RIVALS
from .session import Session
from .worker import Worker, WorkerError
from .workloads import WORKLOADS

PIP_NAMES = {"numba": '"nnbackprop[fast]"', "sklearn": "scikit-learn"}


@dataclass(frozen=True)
class Rounds:
    """How many, seconds of a slice, and of the pause before it.

    The pause is for the process before: threads of a pool go on spinning before they sleep, OpenBLAS's for 0.1 s.
    """

    count: int
    slice: float
    pause: float


FULL = Rounds(count=9, slice=1.0, pause=0.5)
QUICK = Rounds(count=3, slice=0.2, pause=0.1)
ON_GPU = Rounds(count=9, slice=0.1, pause=0.02)


def run_suite(
    workloads: Iterable[str],
    device: str = "cpu",
    *,
    tf32: bool = False,
    threads: int | None = None,
    quick: bool = False,
    names: Sequence[str] = tuple(RIVALS),
    report: Callable[[str], None] = print,
    until: float = math.inf,
) -> tuple[tuple[Timing, ...], tuple[Absent, ...]]:
    """Time everybody who can run on a device at every workload; those who are not installed are listed.

    `threads` are each rival's on a CPU, where other processes disturb slices. No workload is begun after `until`,
    a time of `time.monotonic`.
    """
    here = [name for name in names if device.partition(":")[0] in RIVALS[name].devices]
    absent = {name: reason for name in here if (reason := not_installed(name))}
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if threads:
        set_num_threads(threads, later_imports=True)  # of the processes that are started here
        os.environ["NUMBA_NUM_THREADS"] = str(threads)
    rounds, timings = ON_GPU if device != "cpu" else QUICK if quick else FULL, []
    with ExitStack() as stack:
        workers = {name: Worker(Session.of_process, name, threads) for name in here if name not in absent}
        for worker in workers.values():
            stack.callback(worker.end)
        for name in workloads:
            if time.monotonic() < until:
                timing = WorkloadRun(name, workers, rounds, device, tf32, threads, report).run()
                timings.append(timing)
    return tuple(timings), tuple(absent.values())


def not_installed(name: str) -> Absent | None:
    """Why a rival cannot run here, and the command that helps."""
    needs = RIVALS[name].needs
    if find_spec(needs) is not None:
        return None
    install = f"pip install {PIP_NAMES.get(needs, needs)}"
    return Absent(name, RIVALS[name].title, f"{needs} is not installed: {install}")


class WorkloadRun:
    """A workload and the rivals still in it; one that raises is out, and listed with the reason."""

    def __init__(
        self,
        name: str,
        workers: Mapping[str, Any],
        rounds: Rounds,
        device: str = "cpu",
        tf32: bool = False,
        threads: int | None = None,
        report: Callable[[str], None] = print,
    ) -> None:
        self.name, self.workload, self.workers, self.rounds = name, WORKLOADS[name], workers, rounds
        self.device, self.tf32, self.threads, self.report = device, tf32, threads, report
        self.rivals = [rival for rival in workers if name in RIVALS[rival].workloads]
        self.absent: list[Absent] = []

    def run(self) -> Timing:
        """Load, check, time, and free."""
        workload = self.workload
        self.report(f"{self.name}, {workload.label}: loading data")
        self.ask_all("load", self.name, self.device, self.tf32)
        checks = tuple(check for rival in list(self.rivals) if (check := self.check(rival)))
        slices = self.time_rounds()
        rows = [Row(rival, RIVALS[rival].title, RIVALS[rival].kind, tuple(slices[rival])) for rival in self.rivals]
        self.ask_all("free")
        if not any(row.kind == "ours" for row in rows):
            reasons = " ".join(f"{one.title}: {one.reason}." for one in self.absent)
            raise UsageError(f"{self.name} needs one of our own backends to compare with; none can run. {reasons}")
        return Timing(
            workload=self.name,
            label=workload.label,
            title=f"{workload.title}, TF32" if self.tf32 else workload.title,
            unit=workload.unit,
            steps=workload.steps,
            on_gpu=self.device != "cpu",
            rows=tuple(rows),
            absent=tuple(self.absent),
            checks=checks,
        )

    def ask_all(self, method: str, *arguments: Any) -> None:
        """Call a method of all at once."""
        for rival in self.rivals:
            self.workers[rival].send(method, *arguments)
        for rival in list(self.rivals):
            self.receive(rival)

    def ask(self, rival: str, method: str, *arguments: Any) -> Any:
        """What a method returns; None if that is an error, which puts the rival out."""
        self.workers[rival].send(method, *arguments)
        return self.receive(rival)

    def receive(self, rival: str) -> Any:
        try:
            return self.workers[rival].receive()
        except WorkerError as error:
            self.rivals.remove(rival)
            self.absent.append(Absent(rival, RIVALS[rival].title, str(error)))
            return None

    def check(self, rival: str) -> Check | None:
        """Whether it computes the same as we do; if not, it is out."""
        self.report(f"{self.name}, {self.workload.label}: checking {RIVALS[rival].title}")
        check: Check | None = self.ask(rival, "check")
        if check and not check.passed:
            self.rivals.remove(rival)
        return check

    def time_rounds(self) -> dict[str, list[Slice]]:
        """A slice each, in turn, round by round."""
        self.report(f"{self.name}, {self.workload.label}: finding the steps of a slice")
        steps = {rival: self.slice_steps(rival) for rival in list(self.rivals)}
        slices: dict[str, list[Slice]] = {rival: [] for rival in steps}
        for k in range(self.rounds.count):
            self.report(f"{self.name}, {self.workload.label}: round {k + 1} of {self.rounds.count}")
            for rival in list(self.rivals):
                time.sleep(self.rounds.pause)
                before = CpuTimes.now() if self.threads else None
                if took := self.ask(rival, "run", steps[rival]):
                    load = other_load(before, CpuTimes.now(), took[1], self.threads) if before else 0.0
                    slices[rival].append(Slice(steps[rival], took[0] * self.workload.steps / steps[rival], load))
        return slices

    def slice_steps(self, rival: str) -> int:
        """The steps of a slice, whole chunks: longer and longer runs, until one is long enough to tell."""
        steps = chunk = self.workload.chunk_on(self.device)
        self.ask(rival, "run", chunk)  # the first may compile something
        while rival in self.rivals and (took := self.ask(rival, "run", steps)):
            if took[0] > self.rounds.slice / 4:
                return max(1, round(self.rounds.slice / took[0] * steps / chunk)) * chunk
            steps *= 4
        return chunk  # it is out


def other_load(before: CpuTimes, after: CpuTimes, cpu: float, threads: int | None) -> float:
    """How many of our `threads` cores other processes kept busy between two moments, on average.

    `cpu` is the CPU time of the process that was timed, in seconds. Others cost nothing while they find room on
    the rest of the machine's cores.
    """
    count = os.cpu_count() or 1
    others = load_of_others(before, after) - cpu / (after.clock - before.clock)
    return max(0.0, others - (count - (threads or count)))
