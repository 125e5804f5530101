"""Callbacks that write files: a row of metrics an epoch, and checkpoints to resume from."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nnbackprop._files import append
from nnbackprop._json import to_json_text
from nnbackprop.errors import UsageError
from nnbackprop.optim.schedules import Piecewise
from nnbackprop.training.callbacks import Callback, EarlyStopping
from nnbackprop.training.events import ChunkEnd, EpochEnd, TrainBegin, TrainEnd
from nnbackprop.training.history import confusion, row
from nnbackprop.training.trainer import Trainer

from .checkpoint_manager import CheckpointManager
from .run_dir import RunDir
from .threads import ThreadControl
from .trainer_checkpoint import make_best_checkpoint, make_last_checkpoint

MIN_SECONDS = 1.0  # between writes, so that ten thousand short epochs do not cost ten thousand fsyncs
MAX_SAVE_FRACTION = 1 / 20  # of the time between two writes, that a write takes

INTERVAL = re.compile(r"([1-9]\d{0,8})(s?)")


@dataclass(frozen=True)
class SaveInterval:
    """How often to save within an epoch: after so many steps, or so many seconds, or not at all."""

    steps: int | None = None
    seconds: int | None = None

    @classmethod
    def parse(cls, text: str | None) -> SaveInterval:
        """`500` is steps and `60s` seconds; UsageError for anything else."""
        if text is None:
            return cls()
        if (match := INTERVAL.fullmatch(text)) is None:
            raise UsageError(
                f"--save-every takes a number of steps, such as 500, or of seconds, such as 60s; got {text!r}."
            )
        number = int(match[1])
        return cls(seconds=number) if match[2] else cls(steps=number)


@dataclass(eq=False)
class JsonlLogger(Callback):
    """Collects a row an epoch for metrics.jsonl; `flush` appends them, all or none."""

    run_dir: RunDir
    threads: ThreadControl | None = None
    rows: list[str] = field(default_factory=list)

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """Keep the row, with counts of confused classes, threads where they may change, and changes of --lr."""
        threads = {} if self.threads is None else {"threads": self.threads.threads}
        more = threads | confusion(event) | lr_changes(trainer, event)
        self.rows.append(to_json_text(row(event) | more) + "\n")

    def flush(self) -> None:
        """Append what has been collected."""
        append(self.run_dir.metrics_path, "".join(self.rows).encode())
        self.rows.clear()

    def close(self, trainer: Trainer) -> None:
        """Write what is left, also when the run raised."""
        self.flush()


@dataclass(eq=False)
class CheckpointCallback(Callback):
    """Writes checkpoints: at the end of an epoch if the last write was long enough ago, and by `save_every`.

    Rows are written first, so that a checkpoint never tells of an epoch whose row is missing.
    """

    checkpoint_manager: CheckpointManager
    logger: JsonlLogger
    early_stopping: EarlyStopping
    meta: Mapping[str, Any]  # what each checkpoint says of the run and its data: `summary.checkpoint_info`
    save_every: SaveInterval = SaveInterval()
    best_unsaved: bool = False  # best weights that are not written yet
    saved_at: float = 0.0
    save_seconds: float = 0.0  # that the last write took

    def __post_init__(self) -> None:
        self.chunk_ends_every = self.save_every.steps

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """There is a checkpoint to resume from before the first step."""
        self.save(trainer, event.first_step)

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """Save where `save_every` says so: after a multiple of its steps, or when its time is up."""
        seconds = time.monotonic() - self.saved_at
        if (self.save_every.steps and not event.step % self.save_every.steps) or (
            self.save_every.seconds and seconds >= self.save_every.seconds
        ):
            self.save(trainer, event.step)

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """Save if the last write was long enough ago."""
        self.best_unsaved = self.best_unsaved or self.early_stopping.improved
        if time.monotonic() - self.saved_at >= max(MIN_SECONDS, self.save_seconds / MAX_SAVE_FRACTION):
            self.save(trainer, event.step)

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """Save what is left; the last weights are the best where nothing was validated."""
        self.best_unsaved = self.best_unsaved or event.reason != "interrupted"
        self.save(trainer, event.step)

    def save(self, trainer: Trainer, step: int) -> None:
        """Write rows, best weights if they are new, and everything that a resume needs."""
        begin = time.monotonic()
        self.logger.flush()
        if self.best_unsaved:
            self.checkpoint_manager.save_best(make_best_checkpoint(trainer, self.early_stopping, self.meta))
            self.best_unsaved = False
        self.checkpoint_manager.save(make_last_checkpoint(trainer, self.early_stopping, self.meta), step)
        self.saved_at = time.monotonic()
        self.save_seconds = self.saved_at - begin


def lr_changes(trainer: Trainer, event: EpochEnd) -> dict[str, Any]:
    """Where --lr of a resume changed the learning rate within an epoch: the step, its rate before and after."""
    if not isinstance(trainer.lr, Piecewise):
        return {}
    first, factor = (event.epoch - 1) * trainer.batch_schedule.steps_per_epoch, trainer.progress.lr_factor
    changes = [
        {"step": step + 1, "from": factor * before, "to": factor * after}
        for step, before, after in trainer.lr.changes(first, event.step)
    ]
    return {"lr_changes": changes} if changes else {}
