"""What a run measured: times by rival, and figures of a GPU; kept as JSON in benchmarks/results.

Plain dataclasses, as a machine with a GPU may have no more than NumPy and CuPy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from .machine import Machine
from .rivals import Kind

RESULTS = Path(__file__).parent / "results"

MAX_OTHER_LOAD = 0.1
"""Cores' worth of other processes' work, on the cores we use, above which a slice is disturbed."""


@dataclass(frozen=True)
class Slice:
    """A rival's turn: seconds for the workload's unit, and how many of our cores others kept busy meanwhile."""

    steps: int
    seconds: float
    others: float

    @property
    def disturbed(self) -> bool:
        return self.others > MAX_OTHER_LOAD


@dataclass(frozen=True)
class Row:
    """A rival at a workload: a slice for each round."""

    rival: str
    title: str
    kind: Kind
    slices: tuple[Slice, ...]

    @property
    def disturbed(self) -> int:
        """Slices that do not count; if all are disturbed, all count."""
        return sum(s.disturbed for s in self.slices)

    @property
    def seconds(self) -> list[float]:
        """For the workload's unit, in each round that counts."""
        return [self.slices[i].seconds for i in _rounds(self)]

    def ratios(self, base: Row) -> list[float]:
        """Its time divided by another's in the same round, as a machine may slow down from one to the next."""
        return [self.slices[i].seconds / base.slices[i].seconds for i in _rounds(self, base)]


def _rounds(*rows: Row) -> list[int]:
    """The rounds in which no slice of these rows is disturbed, or all where there is no such round."""
    rounds = range(len(rows[0].slices))
    return [i for i in rounds if not any(row.slices[i].disturbed for row in rows)] or list(rounds)


@dataclass(frozen=True)
class Check:
    """How far a rival is from us: ||a - b|| / ||b|| of its worst tensor, or of its loss.

    `step` is the last, or where the check fails the first beyond the limit. `difference` is None for NaN, infinity
    or another shape.
    """

    rival: str
    title: str
    tensor: str
    step: int
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
    """A workload: its rows, who could not take part, the checks that came first."""

    workload: str
    label: str
    title: str
    unit: str
    steps: int
    on_gpu: bool
    rows: tuple[Row, ...]
    absent: tuple[Absent, ...]
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """Rivals that do not compute the same."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def base(self) -> Row:
        """The row that others are compared with: the first of our own."""
        return next(row for row in self.rows if row.kind == "ours")

    def row(self, rival: str) -> Row | None:
        return next((row for row in self.rows if row.rival == rival), None)


@dataclass(frozen=True)
class Figure:
    """A number, or a median with the least and the greatest; a number above its `limit` fails its part."""

    what: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    limit: float | None = None

    @classmethod
    def median(cls, what: str, values: Sequence[float], unit: str) -> Figure:
        return cls(what, median(values), unit, min(values), max(values))

    @property
    def passed(self) -> bool:
        """Whether it is within its limit, as NaN is not."""
        return self.limit is None or self.value <= self.limit


@dataclass(frozen=True)
class Part:
    """A part of a GPU's check: what it measured, as far as it came, and why it failed or was skipped."""

    name: str
    status: Literal["passed", "failed", "skipped"]
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
        """The first row of each rival."""
        rows = [row for timing in self.timings for row in timing.rows]
        return {**{row.rival: row for row in rows}, **{row.rival: row for row in reversed(rows)}}

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Result:
        """What `to_json` wrote."""
        import msgspec

        return msgspec.json.decode(text, type=cls)


def saved(part: str = ".") -> list[Result]:
    """The kept results, or those of a folder of them, one a machine: GPUs first, then the newest."""
    found = [Result.from_json(path.read_bytes()) for path in (RESULTS / part).glob("*.json")]
    return sorted(found, key=lambda r: (r.machine.gpu is not None, r.date, r.machine.name), reverse=True)
