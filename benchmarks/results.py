"""What a run found: slices of time by rival, and figures of a GPU; kept as JSON in benchmarks/results.

Plain dataclasses, as a machine with a GPU may have no more than NumPy and CuPy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from .machine import Machine
from .rivals import Kind

RESULTS = Path(__file__).parent / "results"

Status = Literal["passed", "failed", "skipped"]

OTHERS_LIMIT = 0.1
"""Cores' worth of other processes' work, on the cores we use, that spoils a slice."""


@dataclass(frozen=True)
class Slice:
    """A rival's turn: seconds for the workload's unit, and how many of our cores others kept busy meanwhile."""

    steps: int
    seconds: float
    others: float

    @property
    def spoilt(self) -> bool:
        return self.others > OTHERS_LIMIT


@dataclass(frozen=True)
class Row:
    """A rival at a workload: a slice a round."""

    rival: str
    title: str
    kind: Kind
    slices: tuple[Slice, ...]

    @property
    def left_out(self) -> int:
        """Slices that do not count: the spoilt ones, unless all are, and then all of them count."""
        return 0 if self.all_spoilt else sum(s.spoilt for s in self.slices)

    @property
    def all_spoilt(self) -> bool:
        return all(s.spoilt for s in self.slices)

    @property
    def seconds(self) -> list[float]:
        """For the workload's unit, in each round that counts."""
        return [self.slices[i].seconds for i in _rounds(self)]

    def ratios(self, base: Row) -> list[float]:
        """Its time divided by another's in the same round, as a machine may slow down from one to the next."""
        return [self.slices[i].seconds / base.slices[i].seconds for i in _rounds(self, base)]


def _rounds(*rows: Row) -> list[int]:
    """The rounds that no other process spoilt for any of these, or all where there is no such round."""
    rounds = range(len(rows[0].slices))
    return [i for i in rounds if not any(row.slices[i].spoilt for row in rows)] or list(rounds)


@dataclass(frozen=True)
class Check:
    """How far a rival is from us after the same steps, relative: its weights by norm, or its loss.

    None is NaN, infinity, or weights of other shapes.
    """

    rival: str
    title: str
    by: Literal["weights", "loss"]
    steps: int
    difference: float | None
    limit: float

    @property
    def passed(self) -> bool:
        return self.difference is not None and self.difference <= self.limit


@dataclass(frozen=True)
class Absent:
    """A rival that could not take part, and why."""

    rival: str
    title: str
    reason: str


@dataclass(frozen=True)
class Timing:
    """A workload: its rows, who could not take part, the checks that came first. `us` is the row compared with."""

    workload: str
    title: str
    unit: str
    steps: int
    on_gpu: bool
    us: str
    rows: tuple[Row, ...]
    absent: tuple[Absent, ...]
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """Rivals that do not compute the same."""
        return tuple(check for check in self.checks if not check.passed)

    def row(self, rival: str) -> Row | None:
        return next((row for row in self.rows if row.rival == rival), None)


@dataclass(frozen=True)
class Figure:
    """A fact in words, or a number; a median where `low` and `high`, the least and the greatest, are given.

    A number above its `limit` fails its part. `goal` is what was hoped for, in words, and fails nothing.
    """

    what: str
    value: float | str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    goal: str = ""

    @classmethod
    def of(cls, what: str, values: Sequence[float], unit: str, **further: Any) -> Figure:
        """The median of `values`."""
        return cls(what, median(values), unit, min(values), max(values), **further)

    @property
    def holds(self) -> bool:
        """Whether it is within its limit, as NaN is not."""
        return self.limit is None or (not isinstance(self.value, str) and self.value <= self.limit)


@dataclass(frozen=True)
class Part:
    """A part of a GPU's check: what it found, as far as it came, and why it failed or was skipped."""

    name: str
    status: Status
    seconds: float
    figures: tuple[Figure, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Result:
    """One run of a command on a machine."""

    command: str
    date: str
    machine: Machine
    timings: tuple[Timing, ...]
    absent: tuple[Absent, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every rival computes the same and no part failed."""
        return not any(t.failed for t in self.timings) and all(part.status != "failed" for part in self.parts)

    @property
    def rivals(self) -> dict[str, Row]:
        """A row of each rival, in the order of their first."""
        found: dict[str, Row] = {}
        for row in (row for timing in self.timings for row in timing.rows):
            found.setdefault(row.rival, row)
        return found

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Result:
        """What `to_json` wrote."""
        import msgspec

        return msgspec.json.decode(text, type=cls)


def saved() -> list[Result]:
    """One result a machine: GPUs first, then OpenBLAS's own choice of kernels, and of these the newest."""
    found = [Result.from_json(path.read_bytes()) for path in sorted(RESULTS.glob("*.json"))]
    order = [(r.machine.gpu is not None, r.machine.coretype is None, r.date) for r in found]
    return [found[i] for i in sorted(range(len(found)), key=order.__getitem__, reverse=True)]
