"""When a run is looked at: at spaced steps, within a share of its time; and what is kept for the judgement."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from backends import Tree
from nnbackprop.data.loader import DataLoader
from nnbackprop.diagnostics.findings import Diagnosis
from nnbackprop.diagnostics.nan_tracing import NotFinite
from nnbackprop.runs.callbacks import row
from nnbackprop.training.callbacks.base import Callback, ChunkEnd, EpochEnd, LayerRow, TrainBegin, TrainEnd
from nnbackprop.training.step import TrainStep

from .activation_stats import ActivationStats, LookStep, Probe, measure
from .checks import judge
from .evaluation import Dropping, DroppingStep, droppings
from .history import History, Point, halved

SHARE = 30  # looks may take 1/30 of the time, which leaves the first and the last 1.7% of a run that takes 5%
LOOKS = 40  # spread over a run, after the first few, whose distance doubles
POINTS = 512  # of the course


class Monitor(Callback):
    """Looks at a run's state now and then and keeps what it saw; `diagnosis` judges all of it.

    Looks take at most 1/`share` of the time, the first and the last apart. With share 0 they depend on the steps
    alone, and so are the same in every run. `state` gives the state as it stands.
    """

    def __init__(self, step: TrainStep, state: Callable[[], Tree], share: float = SHARE) -> None:
        self.step, self.state, self.share = step, state, share
        self.look_step, self.dropping_step = LookStep(step), DroppingStep(step)
        self.looks: list[ActivationStats] = []
        self.course: list[Point] = []
        self.rows: list[dict[str, Any]] = []
        self.fault: NotFinite | None = None
        self.stopped: str | None = None
        self.probe: Probe | None = None
        self.layers: tuple[LayerRow, ...] = ()
        self.droppings: tuple[Dropping, ...] = ()
        self._first, self._next, self._apart = 0, 0.0, 1.0  # steps
        self._began, self._spent, self._cost = 0.0, 0.0, 0.0  # seconds; the last look cost `_cost`

    @property
    def diagnosis(self) -> Diagnosis:
        """What the run shows so far."""
        commonest = self.probe.commonest if self.probe else None
        parts = self.looks, self.course, self.rows, self.fault, commonest, self.stopped, self.droppings
        return judge(History(*parts))

    def train_begin(self, event: TrainBegin) -> None:
        """Looks are spread over the steps to come."""
        total = event.epochs * event.steps_per_epoch
        self._first, self._next = event.first_step, event.first_step
        self._apart = max(1.0, (total - event.first_step) / LOOKS)
        self.probe, self.layers = None, event.layers

    def look(self, loader: DataLoader, state: Tree, xs: Tree, at: int) -> float:
        """Measure the state before step `at` + 1, whose chunk is `xs`, if it is time; the seconds this took."""
        begin = time.perf_counter()
        if self.probe is None:
            self.loader, self.probe, self._began = loader, Probe.of(self.step.xp, loader), begin
        self._xs = xs
        if at < self._next or self.share * (self._spent + self._cost) > begin - self._began:
            return 0.0
        self._measure(self.probe, state, at)
        seconds = time.perf_counter() - begin
        if at > self._first:  # the first look warms up, and compiles where the library does
            self._spent, self._cost = self._spent + seconds, seconds
        self._next = at + min(max(1.0, at - self._first), self._apart)
        return seconds

    def _measure(self, probe: Probe, state: Tree, at: int) -> None:
        backend, data = self.loader.backend, self.loader.data
        with np.errstate(all="ignore"):  # what overflows is what is looked for
            self.looks.append(measure(backend, self.look_step, state, data, self._xs, probe, self.layers, at))
            if not self.droppings:
                self.droppings = droppings(backend, self.dropping_step, state["params"], self._xs, probe)

    def chunk_end(self, event: ChunkEnd) -> None:
        """A point of the course."""
        self.course.append(Point(event.step, event.loss, event.accuracy, event.lr, event.samples))
        if len(self.course) >= 2 * POINTS:
            self.course = halved(self.course)

    def epoch_end(self, event: EpochEnd) -> None:
        """The epoch's row, as metrics.jsonl has it."""
        self.rows.append(row(event))

    def train_end(self, event: TrainEnd) -> None:
        """Why the run ended; and a last look, within the budget or not, as how a run ends tells most."""
        self.stopped = event.reason
        if self.probe and self.looks[-1].step < event.step:
            self._measure(self.probe, self.state(), event.step)
