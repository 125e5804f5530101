"""The contest: whoever can run gets a process, and every work is held among them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.util import find_spec

from .contestants import ENTRIES, Entry
from .crew import Worker
from .machine import Machine
from .match import Asked, Match, Pace, Say
from .results import Absent, Result

FULL = Pace(rounds=9, slice=1.0, rest=0.5)
QUICK = Pace(rounds=3, slice=0.2, rest=0.1)
LARGE = Pace(rounds=2, slice=0.2, rest=0.1, steps=2)
"""W4's where there is little time: one of its steps takes longer than three slices."""

PIP = {"numba": '"nnbackprop[fast]"', "sklearn": "scikit-learn"}
"""What pip calls a package, where that is not its own name."""


def contest(works: Iterable[str], threads: int, quick: bool, command: str, say: Say) -> Result:
    """Everybody at every work, by the `command` that is told with the result; `say` hears how it goes."""
    gone = {name: absent for name, entry in ENTRIES.items() if (absent := missing(name, entry))}
    with ExitStack() as stack:
        crew: dict[str, Asked] = {}
        for name in ENTRIES:
            if name not in gone:
                crew[name] = worker = Worker(name, threads)
                stack.callback(worker.end)
        timings = tuple(Match(work, crew, threads, pace(work, quick), say).play() for work in works)
    date = datetime.now(UTC).date().isoformat()
    return Result(command, date, Machine.here(threads), timings, tuple(gone.values()))


def pace(work: str, quick: bool) -> Pace:
    """How long to look at a work."""
    if not quick:
        return FULL
    return LARGE if work == "W4" else QUICK


def missing(name: str, entry: Entry) -> Absent | None:
    """Why a contestant cannot run here, and the command that mends it."""
    if find_spec(entry.needs) is not None:
        return None
    package = PIP.get(entry.needs, entry.needs)
    return Absent(name, entry.title, f"{entry.needs} is not installed: pip install {package}")
