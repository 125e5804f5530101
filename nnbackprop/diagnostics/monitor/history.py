"""What a run has shown so far, as plain numbers on the host: what every sign is judged from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import Any

from nnbackprop.diagnostics.nan_tracing import NotFinite

from .activation_stats import ActivationStats
from .evaluation import Dropping

CHANCE = 0.03  # of the way from chance to 1: ex4, slow and healthy, is at 0.05 after 50 steps
STILL = 0.002  # of the loss: ex4 falls by 0.004 in a quarter of its first 200 steps


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

    looks: Sequence[ActivationStats] = ()
    course: Sequence[Point] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    fault: NotFinite | None = None
    commonest: float | None = None  # share of the commonest class among the training labels
    stopped: str | None = None  # why the run ended, of TrainEnd
    droppings: Sequence[Dropping] = ()  # of each layer, measured once

    @property
    def steps(self) -> int:
        """Steps done in all."""
        return self.course[-1].step if self.course else 0

    @property
    def seen_from_the_start(self) -> bool:
        """Whether there was a look before the first step: a run that was resumed has begun elsewhere."""
        return bool(self.looks) and self.looks[0].step == 0

    @property
    def lr(self) -> float | None:
        """The learning rate last seen."""
        return self.course[-1].lr if self.course else self.looks[-1].lr if self.looks else None

    @property
    def at_chance(self) -> bool:
        """Whether the second half of the course is no better than always saying the commonest class.

        Rows do not tell that class's share; without it, an accuracy that stands still below 0.6 counts.
        """
        half = len(self.course) // 2
        before, after = mean_accuracy(self.course[:half]), mean_accuracy(self.course[half:])
        if self.commonest is None:
            return after < 0.6 and after < before + 0.01
        return after < self.commonest + CHANCE * (1 - self.commonest)

    @property
    def learnt(self) -> bool:
        """Whether the last look's accuracy is more than halfway from chance to 1."""
        chance = self.commonest or 0.0
        return bool(self.looks) and self.looks[-1].accuracy > (1 + chance) / 2

    @property
    def flat(self) -> bool:
        """Whether the loss of the last quarter is no less than that of the one before, within its noise."""
        n = len(self.course)
        before, after = self.course[n // 2 : 3 * n // 4], self.course[3 * n // 4 :]
        fall, noise = mean_loss(before) - mean_loss(after), [point.loss for point in after]
        return fall < max(STILL * mean_loss(before), 2 * stdev(noise) / math.sqrt(len(noise)))

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
