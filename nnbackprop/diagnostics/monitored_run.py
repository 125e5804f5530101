"""A run with diagnosis: the monitor as a callback, and a divergence traced to its step and layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnbackprop.errors import DivergedError
from nnbackprop.runs.train import OnMessage, Run
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.trainer import Trainer

from .findings import Diagnosis
from .monitor import MAX_TIME_SHARE, Monitor, suggest_lr
from .nan_tracing import trace_nan


class MonitoredRun:
    """Fits a run, and writes its diagnosis to doctor.json.

    `diagnosis` is None where the run was not monitored and did not end by a divergence; without --doctor it is
    of the last divergence. `max_time_share` of the time is what the monitor may take.
    """

    def __init__(self, run: Run, max_time_share: float = MAX_TIME_SHARE) -> None:
        self.run = run
        self.monitor = Monitor(max_time_share) if run.config.doctor else None
        self._reported_monitor = self.monitor or Monitor()  # whose diagnosis is written
        self.diagnosis: Diagnosis | None = None

    def fit(self, callbacks: Sequence[Callback], on_message: OnMessage) -> dict[str, Any] | None:
        """The summary, or None where a signal interrupted; DivergedError names the step and the layer."""
        monitors = [self.monitor] if self.monitor else []
        try:
            summary = self.run.fit([*monitors, *callbacks], on_message, self._diagnose)
        except DivergedError:
            self._write(self._reported_monitor.diagnosis)
            raise
        if self.monitor:
            self._write(self.monitor.diagnosis)
        return summary

    def _diagnose(self, trainer: Trainer, error: DivergedError) -> DivergedError:
        """The error with its step, layer and a learning rate to try; the run may recover from it."""
        monitor = self._reported_monitor = self.monitor or Monitor.from_snapshot(trainer)
        monitor.history.divergence = trace_nan(trainer, error)
        return monitor.history.divergence.error(suggest_lr(monitor.history))

    def _write(self, diagnosis: Diagnosis) -> None:
        self.diagnosis = diagnosis
        self.run.run_dir.write_json("doctor.json", diagnosis.to_json())
