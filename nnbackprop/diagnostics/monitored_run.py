"""A run with diagnosis: the monitor as a callback, and a divergence traced to its step and layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnbackprop.errors import DivergedError
from nnbackprop.runs.train import Notify, Run
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.trainer import Trainer

from .findings import Diagnosis
from .monitor import Monitor, lower_rate
from .nan_tracing import trace_nan


class MonitoredRun:
    """Fits a run, and keeps its diagnosis in doctor.json.

    `diagnosis` is None where the run was not monitored and did not diverge.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.monitor = Monitor() if run.config.doctor else None
        self.diagnosis: Diagnosis | None = None

    def fit(self, callbacks: Sequence[Callback], notify: Notify) -> dict[str, Any] | None:
        """The summary, or None where a signal interrupted; DivergedError names the step and the layer."""
        watched = [self.monitor] if self.monitor else []
        try:
            summary = self.run.fit([*watched, *callbacks], notify, self._diagnose)
        except DivergedError:
            self._keep()
            raise
        self.diagnosis = None  # of a divergence that the run recovered from
        if self.monitor:
            self._keep()
        return summary

    def _diagnose(self, trainer: Trainer, error: DivergedError) -> DivergedError:
        monitor = self.monitor or Monitor.of_snapshot(trainer)
        fault = monitor.history.fault = trace_nan(trainer, error)
        self.diagnosis = monitor.diagnosis
        return fault.error(lower_rate(monitor.history))

    def _keep(self) -> None:
        if self.monitor:
            self.diagnosis = self.monitor.diagnosis
        if self.diagnosis is not None:
            self.run.folder.write_json("doctor.json", self.diagnosis.to_json())
