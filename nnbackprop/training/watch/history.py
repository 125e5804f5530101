"""What a run has shown so far, as plain numbers on the host: what every sign is judged from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnbackprop.training.diagnosis import NotFinite

from .vitals import Vitals


@dataclass(frozen=True)
class Point:
    """Mean loss and accuracy, in training mode, over the `samples` seen up to `step`, and the rate there."""

    step: int
    loss: float
    accuracy: float
    lr: float
    samples: int = 1


@dataclass(frozen=True)
class History:
    """A run's looks (vitals), its course (a point a chunk or an epoch) and its rows, each in order of time."""

    looks: Sequence[Vitals] = ()
    course: Sequence[Point] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    fault: NotFinite | None = None
    commonest: float | None = None  # share of the commonest class among the training labels
    stopped: str | None = None  # why the run ended, of TrainEnd

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, Any]]) -> History:
        """What the rows of a metrics.jsonl say alone; see `run_folder.row`."""
        rows = tuple(rows)
        course = [Point(row["step"], row["train_loss"], row["train_accuracy"], row["lr"]) for row in rows]
        return cls(course=course, rows=rows)


def merged(a: Point, b: Point) -> Point:
    """Two points in a row as one."""
    n = a.samples + b.samples
    mean = (a.loss * a.samples + b.loss * b.samples) / n, (a.accuracy * a.samples + b.accuracy * b.samples) / n
    return Point(b.step, *mean, b.lr, n)


def halved(course: Sequence[Point]) -> list[Point]:
    """Half as many points: neighbours merged, so that a long run keeps a short course."""
    pairs = [merged(a, b) for a, b in zip(course[::2], course[1::2], strict=False)]
    return pairs + list(course[len(pairs) * 2 :])


def mean_loss(points: Sequence[Point]) -> float:
    """Mean loss over the samples of some points."""
    return sum(p.loss * p.samples for p in points) / sum(p.samples for p in points)


def mean_accuracy(points: Sequence[Point]) -> float:
    """Mean accuracy over the samples of some points."""
    return sum(p.accuracy * p.samples for p in points) / sum(p.samples for p in points)
