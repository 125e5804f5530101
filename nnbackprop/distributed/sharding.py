"""Training in shards: the gradients of each, their sum over all processes, one update."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from backends import Tree, tree_map
from nnbackprop.data.device_dataset import DeviceDataset
from nnbackprop.nn.layers.base import Params
from nnbackprop.training.batch_schedule import BatchSchedule, Chunk
from nnbackprop.training.events import Score
from nnbackprop.training.gradient_step import UpdateStep
from nnbackprop.training.shard_gradients import ShardGradients
from nnbackprop.training.step import TrainStep
from nnbackprop.training.trainer import Trainer

from .communicator import Communicator, SingleProcess

Bounds = list[tuple[int, int]]

NOTE = np.dtype([("stop", "S120"), ("seconds", "f8")])
"""What processes tell each other at the end of a chunk; a longer reason to stop is cut off."""


@dataclass(eq=False)
class ShardedTraining:
    """Batches in `shards`, of which each process has as many, one after the other.

    The gradient of a batch is f_0 g_0 + f_1 g_1 + ..., added in this order, f the share of a shard in the batch.
    It is the same for any number of processes, to the bit. `BatchNorm` takes the statistics of each shard, or,
    with `sync_batchnorm`, of the whole batch.
    """

    shards: int
    communicator: Communicator = field(default_factory=SingleProcess)
    sync_batchnorm: bool = False

    def __post_init__(self) -> None:
        c = self.communicator
        self._own = range(c.rank * self.shards // c.size, (c.rank + 1) * self.shards // c.size)
        self._step: TrainStep | None = None

    def own_schedule(self, schedule: BatchSchedule, step: TrainStep) -> BatchSchedule:
        """From the first row of this process's first shard to the last of its last."""
        # the first process's callbacks save and measure
        shared = {
            name: getattr(schedule, name) for name in ("steps_per_chunk", "chunk_ends_every", "timed_chunks")
        }
        shared = self.communicator.broadcast(shared)

        def rows(n: int) -> slice:
            own = self._own_bounds(step.microbatch_bounds(n))
            return slice(own[0][0], own[-1][1])

        return replace(schedule, **shared, own_rows=rows)

    def _own_bounds(self, bounds: Bounds) -> Bounds:
        """Those of this process's shards; where samples are fewer than shards, the last shards are empty."""
        n = bounds[-1][1]
        return [bounds[s] if s < len(bounds) else (n, n) for s in self._own]

    def scan(self, trainer: Trainer, chunk: Chunk) -> Tree:
        """The state after the steps of `chunk`, made one at a time."""
        step, backend = trainer.train_step, trainer.backend
        bounds = step.microbatch_bounds(chunk.n_samples // chunk.n_steps)
        own = self._own_bounds(bounds)
        with np.errstate(all="ignore"), backend.memory_errors():
            state = trainer.donate_state()
            if step is not self._step:
                self._prepare(trainer, step, state["params"])
            for k in range(chunk.n_steps):
                batch = tree_map(lambda a: a[k, ...], chunk.batches)  # noqa: B023
                data = {**trainer.device_data.arrays, "params": state["params"]}
                rows = self._gradients.compute(data, batch, own, bounds[-1][1])
                result = self._gradients.read(self.communicator.sum_shards(rows))
                update = self._last_update if k == chunk.n_steps - 1 else self._update
                state = backend.run_step(update, state, {}, {"scalars": batch["scalars"], "result": result})
        return state

    def _prepare(self, trainer: Trainer, step: TrainStep, params: Params) -> None:
        """The steps that backends compile."""
        c = self.communicator
        self._step, self._update, self._last_update = step, UpdateStep(step), UpdateStep(step.with_gradient_norms)
        self._gradients = ShardGradients.of(trainer, params, c, len(self._own), self.sync_batchnorm)

    def evaluate(self, trainer: Trainer, params: Params, device_data: DeviceDataset) -> Score:
        """By `Evaluator.evaluate_distributed`."""
        return trainer.evaluator.evaluate_distributed(params, device_data, self.communicator)

    def agree_to_stop(self, stop: str | None, seconds: float) -> tuple[str | None, float]:
        """By one call, with what each process has to say."""
        note = np.array(((stop or "").encode(), seconds), NOTE)
        notes = self.communicator.all_gather(note)
        reasons = [reason.decode(errors="ignore") for reason in notes["stop"] if reason]
        return (reasons[0] if reasons else None), float(notes["seconds"][0])
