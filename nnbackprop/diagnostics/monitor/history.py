"""What is known of a run so far, as numbers on the host: the subject of the checks of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from nnbackprop.diagnostics.nan_tracing import NotFinite

from .activation_stats import ActivationStats, LayerRandomness, LayerStats

CHANCE = 0.03  # of the way from chance to 1: ex4, slow and healthy, is at 0.05 after 50 steps
POINTS = 512  # of the curve
UNITS, SAMPLES = 8, 32  # at least: a share of fewer says nothing


@dataclass(frozen=True)
class Point:
    """Mean loss and accuracy, in training mode, over the `samples` seen up to `step`, and the rate there."""

    step: int
    loss: float
    accuracy: float
    lr: float
    samples: int = 1


@dataclass
class History:
    """A run's statistics, its learning curve (a point a chunk or an epoch) and its rows, each in order of time."""

    stats: list[ActivationStats] = field(default_factory=list)
    curve: list[Point] = field(default_factory=list)
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    fault: NotFinite | None = None
    commonest: float | None = None  # share of the commonest class among the training labels
    stopped: str | None = None  # the reason of TrainEnd
    randomness: list[LayerRandomness] = field(default_factory=list)  # measured once

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, Any]]) -> History:
        """What a metrics.jsonl alone shows."""
        rows = list(rows)
        curve = [
            Point(row["step"], row["train_loss"], row.get("train_accuracy", math.nan), row["lr"]) for row in rows
        ]
        return cls(curve=curve, rows=rows)

    def add(self, point: Point) -> None:
        """Extend the curve; once it is long, merge neighbours, so that a long run keeps a short one."""
        self.curve.append(point)
        if len(self.curve) >= 2 * POINTS:
            self.curve = [mean(self.curve[i : i + 2]) for i in range(0, len(self.curve), 2)]

    def restart(self, step: int) -> None:
        """Forget what came after `step`, from where the run goes on."""
        self.fault, self.stopped = None, None
        self.rows = [row for row in self.rows if row["step"] <= step]
        self.curve = [point for point in self.curve if point.step <= step]
        self.stats = [stats for stats in self.stats if stats.step < step]

    @property
    def steps(self) -> int:
        """Steps done in all."""
        return self.curve[-1].step if self.curve else 0

    @property
    def from_the_start(self) -> bool:
        """Whether there are statistics from before the first step; a resumed run has none."""
        return bool(self.stats) and self.stats[0].step == 0

    @property
    def lr(self) -> float | None:
        """The last learning rate."""
        return self.curve[-1].lr if self.curve else self.stats[-1].lr if self.stats else None

    @property
    def half(self) -> int:
        """The number of points in the first half of the curve."""
        return len(self.curve) // 2

    @property
    def at_chance(self) -> bool:
        """Whether the second half of the curve is no better than always predicting the commonest class.

        Rows do not tell that class's share; without it, an accuracy that does not rise and is below 0.6 counts.
        """
        before, after = mean(self.curve[: self.half]).accuracy, mean(self.curve[self.half :]).accuracy
        if self.commonest is None:
            return after < 0.6 and after < before + 0.01
        return after < self.commonest + CHANCE * (1 - self.commonest)

    def worst_idle(self, kinds: tuple[str, ...]) -> tuple[LayerStats, float, float] | None:
        """The layer of these kinds most of which is idle, how much of it, and how much at first.

        How much is the median over the run or the last, whichever is less: a layer that comes back is not lost.
        """
        if not self.stats or self.stats[-1].samples < SAMPLES:
            return None
        rows = []
        for i, layer in enumerate(self.stats[-1].layers):
            if layer.kind in kinds and (layer.last or layer.units >= UNITS):
                shares = [stats.layers[i].idle or 0.0 for stats in self.stats]
                rows.append((layer, min(median(shares), shares[-1]), shares[0]))
        return max(rows, key=lambda row: row[1], default=None)


def mean(points: list[Point]) -> Point:
    """Some points as one, each weighted by its samples."""
    n, last = sum(p.samples for p in points), points[-1]
    loss, accuracy = (sum(getattr(p, a) * p.samples for p in points) / n for a in ("loss", "accuracy"))
    return Point(last.step, loss, accuracy, last.lr, n)
