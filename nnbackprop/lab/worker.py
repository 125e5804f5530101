"""The process that trains: an ordinary run, which a callback reports to the server and the server's words steer.

A pause is a run that was stopped and saved, and goes on where it stood: so a paused run is whole on disk, whatever
becomes of the process.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from backends import BackendError
from nnbackprop.diagnostics.monitored_run import MonitoredRun
from nnbackprop.errors import NnbackpropError, UsageError
from nnbackprop.report.plot_process import draw_run
from nnbackprop.runs import build
from nnbackprop.runs.config import Config
from nnbackprop.runs.resume import change_dropout, change_lr, resume
from nnbackprop.runs.train import Run, start
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import ChunkEnd, EpochEnd, TrainBegin, TrainEnd
from nnbackprop.training.trainer import Trainer

from . import events
from .controls import Controls, Mode
from .events import MAX_EPOCHS_SENT, ChunkSums, State, Status

POINT_INTERVAL = 0.1  # seconds of training that a point of the curves stands for
SEND_INTERVAL = 1.0  # between two messages about progress: each wakes the server and every page
MEASURE_SHARE = 1 / 200  # of the time, that the monitor's measurements may take
CHECK_SHARE = 1 / 200  # and looking for findings

Tell = Callable[[str, Any], None]


@dataclass(frozen=True)
class Job:
    """A run to begin, or one to go on with, and how it starts."""

    config: Config | None = None
    run: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    runs_dir: str = "runs"
    mode: Mode = "run"

    def open(self, on_message: Callable[[str], None]) -> AbstractContextManager[Run]:
        """The run, as `nnbackprop train` opens it."""
        if self.config is not None:
            return start(self.config)
        return resume(self.run, self.overrides, Path(self.runs_dir), on_message)


class Reporter(Callback):
    """Tells the server of chunks, epochs and findings, about once a second, and stops where it wants that."""

    def __init__(self, training: Training, single: bool) -> None:
        self.training, self.single = training, single
        self.chunk_ends_every = 1 if single else None  # chunks of one step
        self.sums, self.points, self.rows = ChunkSums(), list[dict[str, Any]](), list[EpochEnd]()
        self._point_at = self._sent_at = 0.0

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """The layers, the data and the settings."""
        training = self.training
        training.tell("begin", events.begin(training.name, training.run.config.recipe, event))
        training.tell_state("running")

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """Report, hand out the weights where they are wanted, and stop where the server wants another thing."""
        controls = self.training.controls
        self.sums.add(event)
        now = time.monotonic()
        if now - self._sent_at >= SEND_INTERVAL:
            self._send()
            self.training.tell_now_and_then()
        elif now - self._point_at >= POINT_INTERVAL:
            self._end_point()
        if controls.params_wanted:
            self.training.tell_params()
        if self.single:
            controls.stepped()
        if self.single or controls.mode != "run" or controls.change_wanted:
            trainer.stop("interrupted")

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """Keep the row for the next message."""
        self.rows.append(event)

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """What is left."""
        self._send()

    def message(self, text: str) -> None:
        """Pass it on."""
        self.training.tell("message", {"text": text})

    def _end_point(self) -> None:
        if (point := self.sums.point()) is not None:
            self.points.append(point)
        self.sums, self._point_at = ChunkSums(), time.monotonic()

    def _send(self) -> None:
        self._end_point()
        points, rows = self.points, events.spread(self.rows, MAX_EPOCHS_SENT)
        self.points, self.rows = [], []
        if points or rows:
            self.training.tell("progress", {"chunks": points, "epochs": [events.epoch(row) for row in rows]})
        self._sent_at = time.monotonic()


class Training:
    """A run that is trained, stopped and gone on with, as the server says."""

    def __init__(self, run: Run, controls: Controls, tell: Tell) -> None:
        self.run, self.controls, self.tell = run, controls, tell
        self.name = run.run_dir.path.name
        self.monitored = MonitoredRun(run, MEASURE_SHARE)
        self._checked_at, self._check_seconds = time.monotonic(), 0.0
        self._findings: list[dict[str, Any]] = []

    def go(self) -> dict[str, Any] | None:
        """Train to the end: the summary, or None where the run was stopped and saved."""
        run, controls = self.run, self.controls
        while True:
            self._stand_still()
            if controls.mode == "stop":
                return None
            reporter = Reporter(self, single=controls.mode == "step")
            summary = self.monitored.fit([reporter], lambda text: self.tell("message", {"text": text}))
            self.tell_findings()
            if summary is not None or run.signal:
                return summary

    def _stand_still(self) -> None:
        """Do what is asked for between two steps, until the run is to go on or to stop."""
        controls, status = self.controls, "running"
        while True:
            if controls.change_wanted:
                self._change(*controls.take_changes())
                status = "changed"
            if controls.params_wanted:
                self.tell_params()
            if controls.mode != "pause":
                return
            if status != "paused":
                self.tell_state("paused")
                status = "paused"
            controls.wait()

    def _change(self, lr: float | None, rates: tuple[float, ...] | None) -> None:
        """Go on with these; a message where that cannot be."""
        if lr is not None:
            change_lr(self.run, lr)
        if rates is not None:
            try:
                change_dropout(self.run, rates)
            except UsageError as error:
                self.tell("message", {"text": str(error)})

    def state(self, status: Status, error: str | None = None) -> dict[str, Any]:
        """Where the run is."""
        run, trainer = self.run, self.run.trainer
        changes = run.config.lr_changes
        lr = changes[-1][1] if changes else run.config.lr
        state = State(
            status=status,
            run=self.name,
            recipe=run.config.recipe,
            epoch=min(trainer.progress.epoch, trainer.epochs),
            epochs=trainer.epochs,
            step=trainer.progress.step,
            steps_per_epoch=build.steps_per_epoch(run.config, len(run.data.train)),
            lr=trainer.progress.lr_factor * lr if isinstance(lr, float) else None,
            dropout=trainer.network.dropout_rates,
            seconds=trainer.progress.seconds,
            reason=trainer.stop_reason if status in ("finished", "stopped") else None,
            error=error,
        )
        return asdict(state)

    def tell_state(self, status: Status) -> None:
        """Say where the run is."""
        self.tell("state", self.state(status))

    def tell_params(self) -> None:
        """Hand out the weights as they stand."""
        self.controls.params_wanted = False
        self.tell("params", (self.run.trainer.progress.step, self.run.trainer.host_params()))

    def tell_now_and_then(self) -> None:
        """The state; findings where there is time to look for them."""
        self.tell_state("running")
        now = time.monotonic()
        if self._check_seconds <= CHECK_SHARE * (now - self._checked_at):
            self.tell_findings()
            self._checked_at = time.monotonic()
            self._check_seconds = self._checked_at - now

    def tell_findings(self) -> None:
        """What the monitor finds, where that has changed."""
        monitor = self.monitored.monitor
        diagnosis = monitor.diagnosis if monitor else self.monitored.diagnosis
        findings = diagnosis.to_json()["findings"] if diagnosis else []
        if findings != self._findings:
            self._findings = findings
            self.tell("findings", {"findings": findings})


def work(connection: Connection, job: Job) -> None:
    """Do a job in this process; the last message is `end`."""
    lock = threading.Lock()

    def tell(kind: str, data: Any) -> None:
        # where the server is gone, the other end of the pipe says so too
        with lock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send((kind, data))

    controls = Controls(connection, job.mode)
    try:
        with job.open(lambda text: tell("message", {"text": text})) as run:
            training = Training(run, controls, tell)
            try:
                summary = training.go()
            except NnbackpropError as error:
                training.tell_findings()
                tell("end", {"state": training.state("failed", str(error)), "summary": None})
                return
            state = training.state("stopped" if summary is None else "finished")
            if not run.run_dir.has_progress:  # its folder goes
                state = asdict(State())
            tell("end", {"state": state, "summary": summary})
            if summary is not None:
                for failed in draw_run(run):
                    tell("message", {"text": failed})
    except KeyboardInterrupt:
        tell("end", {"state": {"status": "stopped"}, "summary": None})
    except (NnbackpropError, BackendError, OSError, MemoryError) as error:
        tell("end", {"state": {"status": "failed", "error": str(error) or "memory ran out"}, "summary": None})
    except Exception as error:
        traceback.print_exc()
        text = f"Training failed ({type(error).__name__}: {error}). The terminal says where."
        tell("end", {"state": {"status": "failed", "error": text}, "summary": None})
