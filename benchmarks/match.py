"""One work, held among a crew: all prepare and are checked, and then train in turn, a short slice at a time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from nnbackprop._system_info import Moment
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import Params

from . import checks, results
from .contestants import ENTRIES, US
from .crew import WorkerError
from .load import MUCH, taken
from .results import Absent, Check, Kind, Row, Slice, Timing
from .works import WORKS, Problem

Say = Callable[[str], None]


class Asked(Protocol):
    """What a match needs of a worker; see `crew.Worker`."""

    def send(self, call: str, **arguments: Any) -> None:
        """Ask, and do not wait."""

    def receive(self) -> Any:
        """Wait for the answer; WorkerError says why there is none."""


@dataclass(frozen=True)
class Pace:
    """How long to look: rounds, seconds of a slice and of the rest before it, steps of the check.

    The rest is for the process before: threads of a pool go on spinning before they sleep, OpenBLAS's for 0.1 s.
    """

    rounds: int
    slice: float
    rest: float
    steps: int = checks.STEPS


class Match:
    """A work and who is still in it; whoever cannot do what it is asked is out, and listed with the reason."""

    def __init__(self, work: str, crew: Mapping[str, Asked], threads: int, pace: Pace, say: Say) -> None:
        self.name, self.work, self.crew = work, WORKS[work], crew
        self.threads, self.pace, self.say = threads, pace, say
        self.here = [name for name in crew if work in ENTRIES[name].works]
        self.absent: list[Absent] = []

    def play(self) -> Timing:
        """Prepare, check, time, and clear away."""
        self.say(f"{self.name}: data and networks")
        self.everyone("prepare", work=self.name)
        us, ours = self.lead()
        found = tuple(self.check(us, ours))
        failed = {check.contestant for check in found if not check.passed}
        slices = self.rounds(self.calibrate(us, failed))
        self.everyone("drop")
        if us not in slices:
            raise self.nobody()
        floor = next((turns for name, turns in slices.items() if ENTRIES[name].floor), None)
        rows = tuple(row(name, turns, slices[us], floor) for name, turns in slices.items())
        return Timing(self.name, self.work.title, self.work.unit, us, rows, tuple(self.absent), found)

    def nobody(self) -> UsageError:
        """What to say where none of ours is left."""
        reasons = " ".join(f"{absent.title}: {absent.reason}" for absent in self.absent)
        return UsageError(f"There is nobody of ours to compare with at {self.name}. {reasons}")

    # Asking.

    def everyone(self, call: str, **arguments: Any) -> None:
        """All of them at once."""
        asked = list(self.here)
        for name in asked:
            self.crew[name].send(call, **arguments)
        for name in asked:
            self.answer(name)

    def ask(self, name: str, call: str, **arguments: Any) -> Any:
        """One of them; None if it is out."""
        if name not in self.here:
            return None
        self.crew[name].send(call, **arguments)
        return self.answer(name)

    def answer(self, name: str) -> Any:
        """What it says; None if that is an error, which puts it out."""
        try:
            return self.crew[name].receive()
        except WorkerError as error:
            self.here.remove(name)
            self.absent.append(Absent(name, ENTRIES[name].title, str(error)))
            return None

    # Checking.

    def lead(self) -> tuple[str, Params]:
        """Whom the others are compared with, the fastest of ours that is here, and its weights after the check."""
        for name in (US, *self.here):
            if name in self.here and ENTRIES[name].ours and (weights := self.trained(name)) is not None:
                return name, weights
        raise self.nobody()

    def check(self, us: str, ours: Params) -> Iterator[Check]:
        """How far each is from us after the same steps; the products alone have no weights to compare."""
        problem = Problem.of(self.work) if any(self.work.config.dropout) else None
        for name in list(self.here):
            entry = ENTRIES[name]
            if name == us or entry.floor:
                continue
            self.say(f"{self.name}: does {entry.title} compute the same?")
            if (theirs := self.trained(name)) is None:
                continue
            if problem and not entry.ours:
                yield Check(name, "loss", self.pace.steps, checks.losses_apart(problem, theirs, ours), checks.LOSS)
            else:
                limit = self.work.pairs * min(1.0, self.pace.steps / checks.STEPS)
                yield Check(name, "weights", self.pace.steps, checks.apart(theirs, ours), limit)

    def trained(self, name: str) -> Params | None:
        """A contestant's weights after the steps of the check; None if it is out."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.npz"
            if self.ask(name, "check", steps=self.pace.steps, path=str(path)) is None:
                return None
            return checks.load(path)

    # Timing.

    def calibrate(self, us: str, failed: Set[str]) -> dict[str, int]:
        """The steps of a slice for each, whole chunks; those who failed are not timed.

        Where a chunk takes us twice a slice's time it is everybody's slice, and nobody need try how long it is.
        """
        self.say(f"{self.name}: how many steps are a slice?")
        chunk, found = self.work.chunk, {}
        took = self.ask(us, "run", steps=chunk)
        alike = took and took["seconds"] > 2 * self.pace.slice
        for name in list(self.here):
            if name not in failed:
                found[name] = chunk if alike else self.slice_steps(name)
        return {name: steps for name, steps in found.items() if name in self.here}

    def slice_steps(self, name: str) -> int:
        """Longer and longer runs, until one is long enough to tell; the first may compile something."""
        chunk = steps = self.work.chunk
        if self.pace.steps < chunk:
            self.ask(name, "run", steps=chunk)
        while took := self.ask(name, "run", steps=steps):
            if took["seconds"] > self.pace.slice / 4:
                return max(1, round(self.pace.slice / took["seconds"] * steps / chunk)) * chunk
            steps *= 4
        return chunk  # it is out

    def rounds(self, steps: Mapping[str, int]) -> dict[str, list[Slice]]:
        """A slice each, in turn, round by round."""
        slices: dict[str, list[Slice]] = {name: [] for name in steps}
        for k in range(self.pace.rounds):
            self.say(f"{self.name}: round {k + 1} of {self.pace.rounds}")
            for name in list(slices):
                turn = self.slice(name, steps[name])
                if turn is None:
                    del slices[name]
                else:
                    slices[name].append(turn)
        return slices

    def slice(self, name: str, steps: int) -> Slice | None:
        """Rest, and a run under the eyes of the system's counters; None if it is out."""
        time.sleep(self.pace.rest)
        before = Moment.now()
        took = self.ask(name, "run", steps=steps)
        if took is None:
            return None
        others = taken(before, Moment.now(), took["cpu"], psutil.cpu_count() or self.threads, self.threads)
        return Slice(steps, took["seconds"] * self.work.steps / steps, others, others <= MUCH)


def row(name: str, slices: Sequence[Slice], ours: Sequence[Slice], floor: Sequence[Slice] | None) -> Row:
    """A contestant's figures."""
    entry = ENTRIES[name]
    kind: Kind = "ours" if entry.ours else "floor" if entry.floor else "rival"
    reached = None if floor is None else results.ratio(floor, slices).median
    return Row(
        name, entry.title, kind, tuple(slices), results.seconds(slices), results.ratio(slices, ours), reached
    )
