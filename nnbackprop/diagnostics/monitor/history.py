"""Statistics, learning curve and rows of a run so far, as numbers on the host: what the checks of a run read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nnbackprop.diagnostics.nan_tracing import NanOrigin

from .layer_stats import NetworkStats

MAX_CURVE_POINTS = 1024


@dataclass(frozen=True)
class CurvePoint:
    """Mean loss and accuracy, in training mode, over the `samples` seen up to `step`, and the rate there."""

    step: int
    loss: float
    accuracy: float
    lr: float
    samples: int = 1


@dataclass
class RunHistory:
    """A run's statistics, its learning curve (a point a chunk or an epoch) and its rows, each in order of time."""

    stats: list[NetworkStats] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    divergence: NanOrigin | None = None
    majority_fraction: float | None = None  # fraction of the most common class among the training labels
    stop_reason: str | None = None

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, Any]]) -> RunHistory:
        """The history in a metrics.jsonl, which has no layer statistics."""
        rows = list(rows)
        curve = [
            CurvePoint(
                step=row["step"],
                loss=row["train_loss"],
                accuracy=row.get("train_accuracy", math.nan),
                lr=row["lr"],
            )
            for row in rows
        ]
        return cls(curve=curve, rows=rows)

    def add(self, point: CurvePoint) -> None:
        """Extend the curve; once it is long, merge neighbours, so that a long run keeps a short one."""
        self.curve.append(point)
        if len(self.curve) >= MAX_CURVE_POINTS:
            self.curve = [mean(self.curve[i : i + 2]) for i in range(0, len(self.curve), 2)]

    def restart(self, step: int) -> None:
        """Forget what came after `step`, from where the run goes on."""
        self.divergence, self.stop_reason = None, None
        self.rows = [row for row in self.rows if row["step"] <= step]
        self.curve = [point for point in self.curve if point.step <= step]
        self.stats = [stats for stats in self.stats if stats.step < step]

    @property
    def steps(self) -> int:
        """Steps done in all."""
        return self.curve[-1].step if self.curve else 0

    @property
    def lr(self) -> float | None:
        """The last learning rate."""
        return self.curve[-1].lr if self.curve else self.stats[-1].lr if self.stats else None

    @property
    def initial_stats(self) -> NetworkStats | None:
        """Statistics from before the first step; a resumed run has none."""
        return self.stats[0] if self.stats and self.stats[0].step == 0 else None


def mean(points: list[CurvePoint]) -> CurvePoint:
    """Some points as one, each weighted by its samples."""
    n, last = sum(p.samples for p in points), points[-1]
    loss, accuracy = (sum(getattr(p, a) * p.samples for p in points) / n for a in ("loss", "accuracy"))
    return CurvePoint(step=last.step, loss=loss, accuracy=accuracy, lr=last.lr, samples=n)
