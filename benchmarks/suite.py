"""The suite: every rival gets a process, is checked against us at a workload, and then all train in turn."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from nnbackprop._system_info import CpuTimes, use_threads
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import Params

from .machine import others_share
from .results import Absent, Check, Row, Slice, Timing
from .rivals import RIVALS, Entry
from .worker import Worker, WorkerError, serve
from .workloads import WORKLOADS, Problem

CHECK_STEPS = 20
"""After which a workload's tolerance holds; after fewer, a share of it."""

LOSS_TOLERANCE = 0.1
"""How far a rival's loss may be from ours, relative, where each draws dropout masks of its own."""

TF32_TOLERANCE = 1e-2

PIP = {"numba": '"nnbackprop[fast]"', "sklearn": "scikit-learn"}
"""What pip calls a package, where that is not its own name."""


@dataclass(frozen=True)
class Pace:
    """Rounds, seconds of a slice and of the rest before it, steps of the check.

    The rest is for the process before: threads of a pool go on spinning before they sleep, OpenBLAS's for 0.1 s.
    """

    rounds: int
    slice: float
    rest: float
    steps: int = CHECK_STEPS


FULL = Pace(rounds=9, slice=1.0, rest=0.5)
QUICK = Pace(rounds=3, slice=0.2, rest=0.1)
QUICK_LARGE = Pace(rounds=2, slice=0.2, rest=0.1, steps=2)  # a step of W4 takes longer than three slices
ON_GPU = Pace(rounds=9, slice=0.1, rest=0.02)


def run_suite(
    workloads: Iterable[str],
    device: str = "cpu",
    *,
    tf32: bool = False,
    threads: int | None = None,
    quick: bool = False,
    names: Sequence[str] = tuple(RIVALS),
    say: Callable[[str], None] = print,
    until: float = math.inf,
) -> tuple[tuple[Timing, ...], tuple[Absent, ...]]:
    """Time everybody who can run on a device at every workload; those who are not installed are listed.

    `threads` are each rival's on a CPU, where other processes spoil slices. No workload is begun after `until`,
    a time of `time.monotonic`.
    """
    here = [name for name in names if device.partition(":")[0] in RIVALS[name].devices]
    gone = {name: absent for name in here if (absent := missing(name, RIVALS[name]))}
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if threads:
        use_threads(threads)  # of the processes that are started here
        os.environ["NUMBA_NUM_THREADS"] = str(threads)
    timings = []
    with ExitStack() as stack:
        workers = {name: Worker(serve, name, threads) for name in here if name not in gone}
        for worker in workers.values():
            stack.callback(worker.end)
        for name in workloads:
            if time.monotonic() < until:
                pace = ON_GPU if device != "cpu" else FULL if not quick else QUICK_LARGE if name == "W4" else QUICK
                timings.append(Match(name, workers, pace, device, tf32, threads, say).play())
    return tuple(timings), tuple(gone.values())


def missing(name: str, entry: Entry) -> Absent | None:
    """Why a rival cannot run here, and the command that helps."""
    if find_spec(entry.needs) is not None:
        return None
    return Absent(
        name, entry.title, f"{entry.needs} is not installed: pip install {PIP.get(entry.needs, entry.needs)}"
    )


class Match:
    """A workload and who is still in it; whoever cannot do what it is asked is out, and listed with the reason."""

    def __init__(
        self,
        name: str,
        workers: Mapping[str, Any],
        pace: Pace,
        device: str = "cpu",
        tf32: bool = False,
        threads: int | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.name, self.workload, self.workers, self.pace = name, WORKLOADS[name], workers, pace
        self.device, self.tf32, self.threads, self.say = device, tf32, threads, say
        self.chunk = self.workload.chunk_on(device)
        self.here = [rival for rival in workers if name in RIVALS[rival].workloads]
        self.absent: list[Absent] = []

    def play(self) -> Timing:
        """Prepare, check, time, and free."""
        self.say(f"{self.name}: data and networks")
        self.everyone("prepare", self.name, self.device, self.tf32)
        us, ours = self.lead()
        checks = tuple(self.checks(us, ours))
        slices = self.rounds(self.calibrate({check.rival for check in checks if not check.passed}))
        self.everyone("drop")
        if us not in slices:
            raise self.nobody()
        rows = (Row(name, RIVALS[name].title, RIVALS[name].kind, tuple(turns)) for name, turns in slices.items())
        title = f"{self.workload.title}, TF32" if self.tf32 else self.workload.title
        unit, steps = self.workload.unit, self.workload.steps
        return Timing(
            self.name, title, unit, steps, self.device != "cpu", us, tuple(rows), tuple(self.absent), checks
        )

    def nobody(self) -> UsageError:
        reasons = " ".join(f"{absent.title}: {absent.reason}." for absent in self.absent)
        return UsageError(
            f"{self.name} needs one of our own backends to compare with, and none can run. {reasons}"
        )

    def everyone(self, call: str, *arguments: Any) -> None:
        """Ask all of them at once."""
        asked = list(self.here)
        for name in asked:
            self.workers[name].send(call, *arguments)
        for name in asked:
            self.receive(name)

    def ask(self, name: str, call: str, *arguments: Any) -> Any:
        """Ask one of them; None if it is out."""
        if name not in self.here:
            return None
        self.workers[name].send(call, *arguments)
        return self.receive(name)

    def receive(self, name: str) -> Any:
        """An answer; None if that is an error, which puts the rival out."""
        try:
            return self.workers[name].receive()
        except WorkerError as error:
            self.here.remove(name)
            self.absent.append(Absent(name, RIVALS[name].title, str(error)))
            return None

    def lead(self) -> tuple[str, Params]:
        """The first of our own that runs, which the others are compared with, and its weights after the check."""
        for name in list(self.here):
            if RIVALS[name].kind == "ours" and (ours := self.ask(name, "check", self.pace.steps)) is not None:
                return name, ours
        raise self.nobody()

    def checks(self, us: str, ours: Params) -> Iterator[Check]:
        """How far each is from us after the same steps; the products alone have no weights to compare."""
        problem = Problem.of(self.workload) if any(self.workload.dropout) else None
        steps = self.pace.steps
        for name in list(self.here):
            if name == us or RIVALS[name].kind == "floor":
                continue
            self.say(f"{self.name}: does {RIVALS[name].title} compute the same?")
            if (theirs := self.ask(name, "check", steps)) is None:
                continue
            if problem and RIVALS[name].kind == "rival":
                yield Check(
                    name, RIVALS[name].title, "loss", steps, loss_difference(problem, theirs, ours), LOSS_TOLERANCE
                )
            else:
                tolerance = max(self.workload.tolerance, TF32_TOLERANCE * self.tf32)
                limit = tolerance * min(1.0, steps / CHECK_STEPS)
                yield Check(name, RIVALS[name].title, "weights", steps, difference(theirs, ours), limit)

    def calibrate(self, failed: Set[str]) -> dict[str, int]:
        """The steps of a slice for each that is timed, whole chunks."""
        self.say(f"{self.name}: how many steps are a slice?")
        return {name: self.slice_steps(name) for name in list(self.here) if name not in failed}

    def slice_steps(self, name: str) -> int:
        """Longer and longer runs, until one is long enough to tell; the first may compile something."""
        steps = self.chunk
        if self.pace.steps < self.chunk:
            self.ask(name, "run", self.chunk)
        while took := self.ask(name, "run", steps):
            if took[0] > self.pace.slice / 4:
                return max(1, round(self.pace.slice / took[0] * steps / self.chunk)) * self.chunk
            steps *= 4
        return self.chunk  # it is out

    def rounds(self, steps: Mapping[str, int]) -> dict[str, list[Slice]]:
        """A slice each, in turn, round by round."""
        slices: dict[str, list[Slice]] = {name: [] for name in steps if name in self.here}
        for k in range(self.pace.rounds):
            self.say(f"{self.name}: round {k + 1} of {self.pace.rounds}")
            for name in list(slices):
                if (turn := self.slice(name, steps[name])) is None:
                    del slices[name]
                else:
                    slices[name].append(turn)
        return slices

    def slice(self, name: str, steps: int) -> Slice | None:
        """Rest, and a run between two readings of the system's counters; None if the rival is out."""
        time.sleep(self.pace.rest)
        before, others = CpuTimes.now() if self.threads else None, 0.0
        if (took := self.ask(name, "run", steps)) is None:
            return None
        seconds, cpu = took
        if before and self.threads:
            others = others_share(before, CpuTimes.now(), cpu, os.cpu_count() or self.threads, self.threads)
        return Slice(steps, seconds * self.workload.steps / steps, others)


def difference(weights: Params, ours: Params) -> float | None:
    """||a - b|| / ||b|| over all parameters; None if shapes differ or it is not finite."""
    flat, base = (
        {(k, name): a.astype(float) for k, layer in enumerate(each) for name, a in layer.items()}
        for each in (weights, ours)
    )
    if {key: a.shape for key, a in flat.items()} != {key: a.shape for key, a in base.items()}:
        return None
    square = sum(float(np.vdot(flat[key] - b, flat[key] - b)) for key, b in base.items())
    return _finite(math.sqrt(square / sum(float(np.vdot(b, b)) for b in base.values())))


def loss_difference(problem: Problem, weights: Params, ours: Params) -> float | None:
    """|a - b| / b of the losses, with dropout off, that two trainings under dropout came to.

    Rivals draw masks of their own, so that no weight can be the same, but losses after the same steps are near.
    """
    base = problem.value(ours)
    return _finite(abs(problem.value(weights) - base) / base)


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None
