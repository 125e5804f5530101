"""What a run leaves behind as it goes: a row an epoch, and checkpoints to go on from."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nnbackprop._files import append
from nnbackprop.errors import UsageError
from nnbackprop.training.callbacks.base import Callback, ChunkEnd, EpochEnd, TrainBegin, TrainEnd

from .checkpoint import Checkpoint, save
from .checkpoint_manager import CheckpointManager
from .run_dir import RunDir

PACE = 1.0  # seconds between writes, so that ten thousand short epochs do not cost ten thousand fsyncs
SHARE = 20  # and a writing costs at most 1/20 of the time between two

EVERY = re.compile(r"([1-9]\d{0,8})(s?)")


@dataclass(frozen=True)
class SaveEvery:
    """How often to save within an epoch: after so many steps, or so many seconds, or not at all."""

    steps: int | None = None
    seconds: int | None = None

    @classmethod
    def parse(cls, words: str | None) -> SaveEvery:
        """`500` is steps and `60s` seconds; UsageError for anything else."""
        if words is None:
            return cls()
        if (found := EVERY.fullmatch(words)) is None:
            raise UsageError(
                f"--save-every takes a number of steps, such as 500, or of seconds, such as 60s; got {words!r}."
            )
        number = int(found[1])
        return cls(seconds=number) if found[2] else cls(steps=number)


@dataclass
class Recorder(Callback):
    """Writes rows and checkpoints as a run goes, and everything at its end.

    At the end of an epoch it writes if the last writing was long enough ago, within one when `every` asks for it.
    `last` and `best` copy the state and the best weights to the host; `improved` tells whether the epoch that
    has just ended brought new best weights.
    """

    folder: RunDir
    shelf: CheckpointManager
    last: Callable[[], Checkpoint]
    best: Callable[[], Checkpoint]
    improved: Callable[[], bool]
    every: SaveEvery = SaveEvery()
    rows: list[str] = field(default_factory=list)
    fresh: bool = False  # best weights not yet written
    written: float = 0.0
    cost: float = 0.0  # seconds the last writing took

    def train_begin(self, event: TrainBegin) -> None:
        """There is a checkpoint to go back to from the first step on."""
        self.flush(event.first_step)

    def chunk_end(self, event: ChunkEnd) -> None:
        """Write where `every` asks for it: after steps that are a multiple of it, or when its time is up."""
        seconds = time.monotonic() - self.written
        if (self.every.steps and not event.step % self.every.steps) or (
            self.every.seconds and seconds >= self.every.seconds
        ):
            self.flush(event.step)

    def epoch_end(self, event: EpochEnd) -> None:
        """Keep the row; write what has gathered if the last writing was long enough ago."""
        self.rows.append(json.dumps(row(event)) + "\n")
        self.fresh = self.fresh or self.improved()
        if time.monotonic() - self.written >= max(PACE, SHARE * self.cost):
            self.flush(event.step)

    def train_end(self, event: TrainEnd) -> None:
        """Write what is left; the last weights are the best where nothing judged them."""
        self.fresh = self.fresh or event.reason != "interrupted"
        self.flush(event.step)

    def flush(self, step: int) -> None:
        """Rows first: a checkpoint then never speaks of an epoch whose row is missing."""
        begin = time.monotonic()
        self.write_rows()
        if self.fresh:
            save(self.folder.checkpoint("best"), self.best())
            self.fresh = False
        self.shelf.put(self.last(), step)
        self.written = time.monotonic()
        self.cost = self.written - begin

    def write_rows(self) -> None:
        """Append the rows that have gathered to metrics.jsonl, all of them or none."""
        append(self.folder.metrics, "".join(self.rows).encode())
        self.rows.clear()


def row(event: EpochEnd) -> dict[str, Any]:
    """An epoch as a line of metrics.jsonl; None where a part is missing."""
    scores = {"train": event.train, "validation": event.validation, "test": event.test}
    flat = {
        f"{part}_{what}": getattr(score, what) if score else None
        for part, score in scores.items()
        for what in ("loss", "accuracy")
    }
    return {
        "epoch": event.epoch,
        "step": event.step,
        "lr": event.lr,
        **flat,
        "gradient_norms": dict(event.gradient_norms),
        "seconds": event.seconds,
        "samples_per_second": event.samples_per_second,
    }
