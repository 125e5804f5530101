"""What a run of the benchmark found: slices, what follows from them, and the machine; kept as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Literal, Self

import msgspec
from msgspec import Struct

from .machine import Machine

CHECKOUT = Path(__file__).parents[1]
RESULTS = CHECKOUT / "benchmarks" / "results" if (CHECKOUT / "pyproject.toml").is_file() else None
"""Where a checkout keeps one file a machine."""

Kind = Literal["ours", "floor", "rival"]


class Slice(Struct, frozen=True):
    """A contestant's turn: seconds for the unit of the work, and cores of ours that others kept busy meanwhile."""

    steps: int
    seconds: float
    taken: float
    kept: bool


class Spread(Struct, frozen=True):
    """A middle and how far values lie around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Median, least and greatest."""
        return cls(median(values), min(values), max(values))


class Check(Struct, frozen=True):
    """How far a contestant is from us after the same steps: its weights by norm, or its loss; relative.

    None is no number at all.
    """

    contestant: str
    by: Literal["weights", "loss"]
    steps: int
    apart: float | None
    limit: float

    @property
    def passed(self) -> bool:
        """Whether it computes what we do."""
        return self.apart is not None and self.apart <= self.limit


class Row(Struct, frozen=True):
    """A contestant's figures at a work.

    `ratio` is its time divided by ours, round by round; `floor` is the products' time as a share of its own.
    """

    contestant: str
    title: str
    kind: Kind
    slices: tuple[Slice, ...]
    seconds: Spread  # for the unit of the work
    ratio: Spread
    floor: float | None

    @property
    def left_out(self) -> int:
        """Slices that do not count, as others took the machine."""
        return 0 if self.all_spoilt else sum(not s.kept for s in self.slices)

    @property
    def all_spoilt(self) -> bool:
        """Whether others took the machine in every slice: then all of them count."""
        return not any(s.kept for s in self.slices)


class Absent(Struct, frozen=True):
    """A contestant that could not take part, and why."""

    contestant: str
    title: str
    reason: str


class Timing(Struct, frozen=True):
    """A work: its rows, who could not take part, and the checks that came first."""

    work: str
    title: str
    unit: str
    us: str
    rows: tuple[Row, ...]
    absent: tuple[Absent, ...]
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """Contestants that do not compute the same."""
        return tuple(check for check in self.checks if not check.passed)

    def row(self, contestant: str) -> Row | None:
        """A contestant's figures; None if it took no part."""
        return next((row for row in self.rows if row.contestant == contestant), None)

    def ratios(self, theirs: str, ours: str) -> list[float]:
        """One's time divided by another's in every round that counts; none if one of them took no part."""
        pair = self.row(theirs), self.row(ours)
        return ratios(pair[0].slices, pair[1].slices) if pair[0] and pair[1] else []


class Kept(Struct, frozen=True):
    """What a command found on a machine, as it is kept."""

    command: str
    date: str
    machine: Machine

    def to_json(self) -> str:
        """All of it, in lines that people can read too."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """What `to_json` wrote."""
        return msgspec.json.decode(text, type=cls)


class Result(Kept, frozen=True):
    """One contest."""

    timings: tuple[Timing, ...]
    absent: tuple[Absent, ...]

    def timing(self, work: str) -> Timing | None:
        """A work's; None if it was not measured."""
        return next((timing for timing in self.timings if timing.work == work), None)

    @property
    def passed(self) -> bool:
        """Whether everybody who was timed or would have been computes the same."""
        return not any(timing.failed for timing in self.timings)


def results_path(machine: Machine, folder: Path) -> Path:
    """Where the results of a machine are kept: one file each."""
    kernel = f"-{machine.coretype.lower()}" if machine.coretype else ""
    return folder / f"{machine.slug}-{machine.cores}-cores{kernel}.json"


def counted(slices: Sequence[Slice], *others: Sequence[Slice]) -> list[int]:
    """The rounds that count: those that nobody spoilt for any of these, or all where there is no such round."""
    rounds = range(len(slices))
    clean = [i for i in rounds if all(turns[i].kept for turns in (slices, *others))]
    return clean or list(rounds)


def seconds(slices: Sequence[Slice]) -> Spread:
    """Seconds for the unit of the work."""
    return Spread.of([slices[i].seconds for i in counted(slices)])


def ratios(slices: Sequence[Slice], base: Sequence[Slice]) -> list[float]:
    """Their time divided by the base's in the same round, as the machine may slow down from one to the next."""
    return [slices[i].seconds / base[i].seconds for i in counted(slices, base)]


def ratio(slices: Sequence[Slice], base: Sequence[Slice]) -> Spread:
    """The same over all rounds that count."""
    return Spread.of(ratios(slices, base))
