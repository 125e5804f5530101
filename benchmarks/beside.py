"""What is measured beside the contest, of ourselves: how cost grows, and what training costs around its steps."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Group
from rich.table import Table

from nnbackprop.report.tables import ruled

from .growth import Growth, grow
from .growth import table as growth_table
from .machine import Machine
from .overhead import Memory, Overhead, Start, memory, overhead, start
from .results import Kept

WORKS = ("W1n", "W3")
"""Batches of 120, and of 1, where a look at the run and its display weigh most."""


class Beside(Kept, frozen=True):
    """All of it."""

    growth: Growth
    overheads: tuple[Overhead, ...]
    start: Start
    memory: Memory


def beside(command: str, threads: int) -> Beside:
    """Measure all of it on NumPy: about three minutes on two cores."""
    today = datetime.now(UTC).date().isoformat()
    overheads = tuple(overhead(work) for work in WORKS)
    return Beside(command, today, Machine.here(threads), grow(), overheads, start(), memory())


def rows(found: Beside) -> list[tuple[str, str]]:
    """The figures that are not about growth, in words."""
    lines = [
        (f"trainer, events and display over the bare step, {one.work}", f"{100 * (one.ratio - 1):+.1f}%")
        for one in found.overheads
    ]
    return [
        *lines,
        ("from the start of the process to the first step", f"{found.start.first_step:.2f} s"),
        ("the whole process, one epoch and its pictures", f"{found.start.whole:.2f} s"),
        ("peak memory, samples stored as uint8", f"{found.memory.uint8 / 1e6:,.0f} MB"),
        ("peak memory, samples read from a float32 file", f"{found.memory.float32 / 1e6:,.0f} MB"),
    ]


def report(found: Beside) -> Group:
    """Both tables."""
    table: Table = ruled("beside the steps", "measured", right=("measured",))
    for what, figure in rows(found):
        table.add_row(what, figure)
    return Group(growth_table(found.growth), table)
