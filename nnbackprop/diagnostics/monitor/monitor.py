"""The callback that measures a run now and then, within a share of its time, and diagnoses it."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from backends import Array, Tree
from nnbackprop.diagnostics.findings import Diagnosis
from nnbackprop.runs.callbacks import row
from nnbackprop.training.callbacks import Callback, ChunkBegin, ChunkEnd, EpochEnd, TrainBegin, TrainEnd
from nnbackprop.training.trainer import Trainer

from .activation_stats import SAMPLES, RandomnessStep, StatsStep, measure, measure_randomness, probe_batch
from .checks import check_history
from .history import History, Point

SHARE = 30  # measuring may take 1/30 of the time, besides the first and the last, 1.7% of a run of 5 s
MEASUREMENTS = 40  # spread over a run, after the first few, whose distance doubles


class Monitor(Callback):
    """Measures a run's state now and then; `diagnosis` is what all of it shows.

    Measurements take at most 1/`share` of the time, the first and the last apart. With share 0 they depend on the
    steps alone, and so are the same in every run. Where memory does not suffice, they use fewer samples, or end.
    """

    def __init__(self, share: float = SHARE) -> None:
        self.share = share
        self.history = History()
        self._batch: tuple[Array, Array] | None = None
        self._parts = 1  # the samples and the step's batch are divided by this
        self._next, self._distance = 0.0, 1.0  # steps
        self._began, self._spent, self._cost = 0.0, 0.0, 0.0  # seconds; the last measurement took `_cost`

    @classmethod
    def of_snapshot(cls, trainer: Trainer) -> Monitor:
        """A monitor that has measured the trainer's snapshot alone, to diagnose a run that had none."""
        monitor, state, p = cls(), trainer.snapshot.state, trainer.snapshot.progress
        chunk = next(trainer.batch_schedule.chunks(p.epoch, p.samples, p.step))
        monitor.measure(trainer, chunk.batches, p.step, state)
        return monitor

    @property
    def diagnosis(self) -> Diagnosis:
        """What the checks find so far; after a divergence, who catches the error sets `history.fault` first."""
        return check_history(self.history)

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Spread the measurements over the steps to come."""
        total = event.epochs * event.steps_per_epoch
        self._first = self._next = event.first_step
        self._distance = max(1.0, (total - event.first_step) / MEASUREMENTS)
        self._began = time.perf_counter()
        self._batch = None
        self.history.restart(event.first_step)

    def chunk_begin(self, trainer: Trainer, event: ChunkBegin) -> None:
        """Measure the state before this chunk, if it is time."""
        begin = time.perf_counter()
        self._xs = event.batches
        if event.step < self._next or self.share * (self._spent + self._cost) > begin - self._began:
            return
        self.measure(trainer, event.batches, event.step, trainer.state)
        if event.step > self._first:  # the first warms up, and compiles where the library does
            self._cost = time.perf_counter() - begin
            self._spent += self._cost
        self._next = event.step + min(max(1.0, event.step - self._first), self._distance)

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """A point of the curve."""
        accuracy = event.metrics.get("accuracy", math.nan)
        self.history.add(Point(event.step, event.loss, accuracy, event.lr, event.samples))

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """The epoch's row, as metrics.jsonl has it."""
        self.history.rows.append(row(event))

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """A last measurement, whatever it costs, as the end of a run tells most."""
        self.history.stopped = event.reason
        if self.history.stats and self.history.stats[-1].step < event.step:
            self.measure(trainer, self._xs, event.step, trainer.state)

    def measure(self, trainer: Trainer, xs: Tree, step: int, state: Tree) -> None:
        """Measure `state`, which is before step `step` + 1, whose chunk is `xs`."""
        while self._parts <= SAMPLES:
            try:
                with np.errstate(all="ignore"):  # the checks look for overflow themselves
                    self._measure(trainer, xs, step, state)
                return
            except MemoryError:
                self._parts, self._batch = 2 * self._parts, None
                trainer.backend.empty_cache()
        if self._parts < 4 * SAMPLES:
            self._parts = 4 * SAMPLES
            for callback in trainer.callbacks:
                callback.message("memory ran out in a measurement of the monitor: it makes no more of them")

    def _measure(self, trainer: Trainer, xs: Tree, step: int, state: Tree) -> None:
        dataset, train_step = trainer.loader.dataset, trainer.step
        if self._batch is None:
            train_step = replace(train_step, microbatches=max(train_step.microbatches, self._parts))
            self._batch, self._stats_step = (
                probe_batch(trainer.loader, SAMPLES // self._parts),
                StatsStep(train_step),
            )
            random = measure_randomness(trainer, RandomnessStep(train_step), self._batch, state, xs)
            self.history.randomness = random
            if dataset.classes:
                self.history.commonest = float(dataset.counts().max()) / len(dataset)
        self.history.stats.append(measure(trainer, self._stats_step, self._batch, state, xs, step))
