"""A copy of the state before a chunk, to repeat it from: for want of memory, after an error, to trace a NaN."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from backends import Backend, Tree
from nnbackprop.errors import OutOfMemoryError

from .batch_schedule import BatchSchedule, Chunk
from .progress import Progress
from .step import TrainStep

if TYPE_CHECKING:
    from .trainer import Trainer

MAX_COPY_FRACTION = 1 / 100  # of the time between two snapshots, that a snapshot takes


@dataclass
class Snapshot:
    """The state before a chunk of the epoch under way, and the progress it belongs to."""

    backend: Backend
    state: Tree = None
    progress: Progress = field(default_factory=Progress)
    copy_seconds: float = 0.0
    copied_at: float = 0.0

    def update_if_due(self, state: Tree, progress: Progress) -> None:
        """Copy `state` where an epoch begins, and within it if the last copy is old enough.

        So what is repeated never reaches back over an epoch's end: over callbacks, or another learning rate.
        """
        begin = time.perf_counter()
        recent = begin - self.copied_at < self.copy_seconds / MAX_COPY_FRACTION
        if self.state is not None and progress.samples_seen and recent:
            return
        self.state = state
        self.state = self.copy_state()
        self.progress = Progress.from_dict(progress.to_dict())
        self.copied_at = time.perf_counter()
        self.copy_seconds = self.copied_at - begin

    def batches(self, schedule: BatchSchedule) -> Iterator[Tree]:
        """The batches of `schedule` from here on, as they were trained on."""
        p = self.progress
        return schedule.batches(p.epoch, p.samples_seen, p.step)

    def copy_state(self) -> Tree:
        """A copy of the copy, to be donated to a step."""
        return self.backend.copy(self.state)


def retry_in_microbatches(trainer: Trainer, chunk: Chunk) -> tuple[TrainStep, Tree]:
    """A step in microbatches that memory suffices for, and the state after `chunk`, from the snapshot on.

    OutOfMemoryError if not even microbatches of one sample fit, or in training by shards, which are not cut.
    """
    if trainer.sharding is not None:
        raise OutOfMemoryError.of_shard(trainer.progress.step + 1)
    t, step, state, data = trainer, trainer.train_step, None, trainer.device_data.arrays
    steps_since = t.progress.step - t.snapshot.progress.step
    while step.n_microbatches < t.batch_schedule.batch_size:
        step = replace(step, n_microbatches=2 * step.n_microbatches)
        t.backend.empty_cache()
        try:
            with t.backend.memory_errors():
                state = t.snapshot.copy_state()
                for batch in islice(t.snapshot.batches(t.batch_schedule), steps_since):
                    state = step(state, data, batch)
                state = t.backend.scan(
                    step, step.reset_sums(state), data, chunk.batches, last_step=step.with_gradient_norms
                )
        except MemoryError:
            state = None  # before another is made
            continue
        t.message(
            f"memory ran out: each batch is worked through in {step.n_microbatches} microbatches from here on"
        )
        return step, state
    raise OutOfMemoryError(
        f"Memory ran out at step {t.progress.step + 1}, with batches worked through a sample at a time: train a "
        "smaller network, keep the data off the device with resident='no', or free memory. "
        "A checkpoint that was saved is whole."
    )
