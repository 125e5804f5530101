"""The same training on several array libraries, in lockstep: after each step, how far each is from the first.

Every library runs the trainer's own step through its own loop. One step's arrays are held at a time, and numbers
alone are kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from backends import Tree
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import UsageError
from nnbackprop.training.trainer import Trainer

from .backend_run import BackendRun, Shown, batches
from .kinks import find_kinks
from .results import OWN, TOLERANCES, Begin, Comparison, Difference, Kink, difference
from .rounding import Rounding


def compare(first: Trainer, others: Sequence[Trainer], train: Dataset, steps: int) -> list[Comparison]:
    """Train `first` and each of `others` for `steps` steps, one step at a time, and compare after each.

    The trainers differ in their backends alone, and each begins from its seed.
    UsageError if they are not of one dtype, or `steps` is below 1.
    """
    if steps < 1 or any(other.dtype != first.dtype for other in others):
        raise UsageError(f"Parity compares trainers of one dtype for a step at least; got {steps} steps.")
    reference, rounding = BackendRun.of(first, train), Rounding(first, train)
    ways = [begin for dtype, begin in TOLERANCES if dtype == first.dtype]
    lanes = [BackendRun.of(other, train) for other in others]
    courses = [BatchSchedule(lane, begin, rounding, lane.begin()) for lane in lanes for begin in ways]
    state = reference.begin()
    for k, rows in enumerate(islice(batches(first, len(train)), steps)):
        before = reference.take(state)
        state, shown = reference.step(state, k, rows)
        for course in courses:
            course.step(k, rows, before, shown)
    return [course.comparison() for course in courses]


@dataclass
class BatchSchedule:
    """A library on its way, and what has been measured of it so far."""

    lane: BackendRun
    begin: Begin
    rounding: Rounding
    state: Tree
    drift: dict[str, float] = field(default_factory=dict)
    failed: bool = False
    differences: list[Difference] = field(default_factory=list)
    kinks: list[Kink] = field(default_factory=list)

    def step(self, k: int, rows: np.ndarray, before: Tree, first: Shown) -> None:
        """Make step `k` too, and compare it with what the first library made of it."""
        if self.begin != OWN:
            self.state = self.lane.at(before)
        self.state, shown = self.lane.step(self.state, k, rows)
        kinks = find_kinks(self.lane.trainer.network, k + 1, first.outputs, shown.outputs)
        found = self._excuse(self._differences(k + 1, first, shown, kinks), k, rows, before, first)
        if self.begin != OWN or not self.kinks:
            self.kinks += kinks
        self.differences += found
        if self.begin == OWN:
            self.drift = {d.tensor: d.relative for d in found if d.kind == "weights" and d.relative < math.inf}

    def _differences(self, step: int, first: Shown, shown: Shown, kinks: Sequence[Kink]) -> list[Difference]:
        """Every tensor compared; where steps begin alike, a kink excuses what the way back through it leads to."""
        names, bent = self.lane.names, -1
        if kinks and self.begin != OWN:
            bent = names.index(kinks[-1].layer)
        rows = []
        for (kind, i, tensor, a), (*_, b) in zip(shown.tensors(names), first.tensors(names), strict=True):
            d = difference(step, kind, names[i], tensor, a, b)
            rows.append(replace(d, excuse="kink") if kind != "activations" and i <= bent else d)
        return rows

    def _excuse(
        self, found: list[Difference], k: int, rows: np.ndarray, before: Tree, first: Shown
    ) -> list[Difference]:
        """What is past the tolerance, excused where rounding may go as far; nothing after a first failure."""
        tolerance = TOLERANCES[self.lane.trainer.dtype, self.begin]
        if tolerance is None or self.failed or all(d.excuse or d.relative <= tolerance for d in found):
            return found
        sizes = self.rounding.sizes(before, self.drift, k, rows, first)
        past = [not d.excuse and d.relative > tolerance for d in found]
        found = [
            replace(d, excuse="rounding") if wide and d.norm <= sizes[d.kind, d.tensor] < math.inf else d
            for d, wide in zip(found, past, strict=True)
        ]
        self.failed = any(wide and not d.excuse for d, wide in zip(found, past, strict=True))
        return found

    def comparison(self) -> Comparison:
        """The results."""
        backend, dtype = self.lane.trainer.backend, self.lane.trainer.dtype
        return Comparison(backend.name, dtype, self.begin, tuple(self.differences), tuple(self.kinks))
