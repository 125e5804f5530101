"""The callback that measures a run now and then, within a fraction of its time, and diagnoses it."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from backends import Array, Tree
from nnbackprop.diagnostics.findings import Diagnosis
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import ChunkBegin, ChunkEnd, EpochEnd, TrainBegin, TrainEnd
from nnbackprop.training.history import row
from nnbackprop.training.trainer import Trainer

from .checks import check_history
from .history import CurvePoint, RunHistory
from .layer_stats import SAMPLES, StatsStep, measure, probe_batch

MAX_TIME_SHARE = 1 / 30  # that measuring may take, besides the first and the last, 1.7% of a run of 5 s
MEASUREMENTS = 40  # spread over a run, after the first few, whose distance doubles


class Monitor(Callback):
    """Measures a run's state now and then; `diagnosis` is what all of it shows.

    Measurements take at most `max_time_share` of the time, the first and the last apart. With infinity they depend
    on the steps alone, and so are the same in every run. Where memory does not suffice, they use fewer samples, or
    end.
    """

    def __init__(self, max_time_share: float = MAX_TIME_SHARE) -> None:
        self.max_time_share = max_time_share
        self.history = RunHistory()
        self._batch: tuple[Array, Array] | None = None
        self._divisor = 1  # of the number of samples measured and of the step's batch, where memory is short
        self._next_step, self._interval = 0.0, 1.0
        self._started_at, self._spent, self._last_cost = 0.0, 0.0, 0.0  # seconds
        self._first_step = 0
        self._batches: Tree = None  # of the last chunk

    @classmethod
    def from_snapshot(cls, trainer: Trainer) -> Monitor:
        """A monitor that has measured the trainer's snapshot alone, to diagnose a run that had none."""
        monitor, state, p = cls(), trainer.snapshot.state, trainer.snapshot.progress
        chunk = next(trainer.batch_schedule.chunks(p.epoch, p.samples_seen, p.step))
        monitor.measure(trainer, chunk.batches, p.step, state)
        return monitor

    @property
    def diagnosis(self) -> Diagnosis:
        """What the checks find so far; who catches a DivergedError sets `history.divergence` first."""
        return check_history(self.history)

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Spread the measurements over the steps to come."""
        total = event.epochs * event.steps_per_epoch
        self._first_step = self._next_step = event.first_step
        self._interval = max(1.0, (total - event.first_step) / MEASUREMENTS)
        self._started_at = time.perf_counter()
        self._batch = None
        self.history.restart(event.first_step)

    def chunk_begin(self, trainer: Trainer, event: ChunkBegin) -> None:
        """Measure the state before this chunk, if it is time."""
        begin = time.perf_counter()
        self._batches = event.batches
        too_early = self._spent + self._last_cost > self.max_time_share * (begin - self._started_at)
        if event.step < self._next_step or too_early:
            return
        self.measure(trainer, event.batches, event.step, trainer.state)
        if event.step > self._first_step:  # the first warms up, and compiles where the library does
            self._last_cost = time.perf_counter() - begin
            self._spent += self._last_cost
        self._next_step = event.step + min(max(1.0, event.step - self._first_step), self._interval)

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """A point of the curve."""
        accuracy = event.metrics.get("accuracy", math.nan)
        self.history.add(CurvePoint(event.step, event.loss, accuracy, event.lr, event.n_samples))

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """The epoch's row, as metrics.jsonl has it."""
        self.history.rows.append(row(event))

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """A last measurement, whatever it costs, as the end of a run tells most."""
        self.history.stop_reason = event.reason
        if self.history.stats and self.history.stats[-1].step < event.step:
            self.measure(trainer, self._batches, event.step, trainer.state)

    def measure(self, trainer: Trainer, batches: Tree, step: int, state: Tree) -> None:
        """Measure `state`, which is before step `step` + 1, whose chunk is `batches`."""
        while self._divisor <= SAMPLES:
            try:
                with np.errstate(all="ignore"), trainer.backend.memory_errors():  # checks look for overflow
                    self._measure(trainer, batches, step, state)
                return
            except MemoryError:
                self._divisor, self._batch = 2 * self._divisor, None
                trainer.backend.empty_cache()
                if self._divisor > SAMPLES:
                    trainer.message("memory ran out in a measurement of the monitor: it makes no more of them")

    def _measure(self, trainer: Trainer, batches: Tree, step: int, state: Tree) -> None:
        dataset, train_step = trainer.device_data.dataset, trainer.train_step
        if self._batch is None:
            self._batch = probe_batch(trainer.device_data, SAMPLES // self._divisor)
            self._stats_step = StatsStep(
                replace(train_step, n_microbatches=max(train_step.n_microbatches, self._divisor))
            )
            if dataset.classes:
                self.history.majority_fraction = float(dataset.counts().max()) / len(dataset)
        self.history.stats.append(measure(trainer, self._stats_step, self._batch, state, batches, step))
