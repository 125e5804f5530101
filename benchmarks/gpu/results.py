"""What a check of a GPU found: figures in parts, kept as JSON beside the contests' results.

Plain dataclasses, where those use msgspec: a machine with a GPU may have no more than NumPy and CuPy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, Self

MICROSECONDS = "µs a step"

Status = Literal["passed", "failed", "skipped"]


class Skipped(Exception):  # noqa: N818 (it is no error)
    """A part, or a piece of one, that cannot be run here; the message says why."""


@dataclass(frozen=True)
class Figure:
    """One thing found: a fact in words, or a number.

    `low` and `high` are the least and the greatest of those whose median `value` is. A number above its `limit`
    fails the part. `aim` is what was hoped for, in words, and fails nothing. `dtype` tells apart what is otherwise
    the same.
    """

    what: str
    value: float | str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    aim: str = ""
    dtype: str = ""

    @classmethod
    def of(cls, what: str, values: Sequence[float], unit: str, **further: Any) -> Figure:
        """The median of `values` and how far they lie around it."""
        return cls(what, median(values), unit, min(values), max(values), **further)

    @property
    def holds(self) -> bool:
        """Whether it is within its limit, as NaN is not."""
        return self.limit is None or (not isinstance(self.value, str) and self.value <= self.limit)


@dataclass(frozen=True)
class Part:
    """A part that was run, or was not and why: its figures as far as it came."""

    name: str
    title: str
    status: Status
    seconds: float
    figures: tuple[Figure, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Check:
    """One run of the command: what machine it was on, in words by subject, and all parts in their order."""

    command: str
    date: str
    machine: dict[str, str]
    parts: tuple[Part, ...]

    @property
    def passed(self) -> bool:
        """Whether no part failed; one that was skipped did not."""
        return all(part.status != "failed" for part in self.parts)

    @property
    def gpu(self) -> str | None:
        """The GPU's own name; None where everything ran on a CPU."""
        return self.machine.get("GPU")

    @property
    def made(self) -> str:
        """The command, the machine, the date."""
        machine = ", ".join(f"{subject} {words}" for subject, words in self.machine.items())
        return f"Made by `{self.command}`, {self.date}. {machine}."

    def to_json(self) -> str:
        """All of it, in lines that people can read too."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """What `to_json` wrote."""
        plain = json.loads(text)
        parts = (part | {"figures": tuple(Figure(**f) for f in part["figures"])} for part in plain["parts"])
        return cls(**plain | {"parts": tuple(Part(**part) for part in parts)})


def path_of(check: Check, folder: Path) -> Path:
    """Where the results of a GPU are kept: one file each, such as nvidia-h200.json."""
    return folder / f"{re.sub(r'[^a-z0-9]+', '-', (check.gpu or 'no-gpu').lower()).strip('-')}.json"


def kept(folder: Path) -> list[Check]:
    """One check a GPU, the newest first. The contests' files in the same folder are named by their cores."""
    paths = [path for path in sorted(folder.glob("*.json")) if "-cores" not in path.stem]
    return sorted((Check.from_json(path.read_bytes()) for path in paths), key=lambda c: c.date, reverse=True)
