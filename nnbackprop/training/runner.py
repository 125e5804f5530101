"""Runs chunks of steps; goes back to a snapshot where one found no memory, or numbers that are not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from backends import Backend, Tree
from nnbackprop.diagnostics.nan_tracing import NotFinite, Snapshot, find_fault
from nnbackprop.errors import OutOfMemoryError

from .batch_schedule import BatchSchedule
from .progress import Progress
from .step import TrainStep


@dataclass
class Runner:
    """Makes the steps of `batch_schedule`. `notice` is told when batches have to be worked through in parts."""

    backend: Backend
    step: TrainStep
    batch_schedule: BatchSchedule
    notice: Callable[[str], None]
    snapshot: Snapshot = field(init=False)

    def __post_init__(self) -> None:
        self.snapshot = Snapshot(self.step)

    def run(self, state: Tree, xs: Tree, p: Progress) -> Tree:
        """The state after the chunk `xs`, which begins where `p` is."""
        self.snapshot.renew(state, p.epoch, p.samples, p.step)
        try:
            return self.step.run(self.backend, state, self.batch_schedule.loader.data, xs)
        except MemoryError:
            del state  # half updated
        return self._in_parts(xs, p.step)

    def fault(self, names: tuple[str, ...], seen: int) -> NotFinite:
        """What first ceased to be finite since the snapshot, found by replaying it; noticed after step `seen`."""
        return find_fault(self.snapshot, self.batch_schedule.loader.data, self._since(), names, seen)

    def _since(self) -> Iterator[Tree]:
        """The single steps from the snapshot on."""
        return self.batch_schedule.steps(self.snapshot.epoch, self.snapshot.samples, self.snapshot.at)

    def _in_parts(self, xs: Tree, at: int) -> Tree:
        """The state after the chunk that begins after step `at`, its batches cut ever finer until they fit.

        The gradients of a batch's parts sum to its own, and their masks are those of its rows.
        """
        data = self.batch_schedule.loader.data
        while self.step.parts < self.batch_schedule.batch:
            self.step = replace(self.step, parts=2 * self.step.parts)
            self.backend.empty_cache()
            try:
                state = self.snapshot.copy()
                for x in islice(self._since(), at - self.snapshot.at):
                    state = self.step(state, data, x)
                state = self.step.run(self.backend, self.step.clear(state), data, xs)
                self.notice(f"memory ran out: batches are worked through in {self.step.parts} parts from here on")
                return state
            except MemoryError:
                state = None
        raise OutOfMemoryError(
            f"Memory ran out at step {at + 1}, with batches worked through a sample at a time: train a smaller "
            "network (--hidden), keep the data off the device (--resident no), or make room. The last checkpoint "
            "was kept."
        )
