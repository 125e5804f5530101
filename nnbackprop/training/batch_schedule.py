"""The order of samples, batch by batch: what every step is handed is a function of its number alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backends import Tree, tree_map
from nnbackprop.data.device_dataset import DeviceDataset, chunk_indices, power_of_two
from nnbackprop.data.sampler import permutation
from nnbackprop.optim import Optimizer

from .checks import check_batches
from .events import LayerRow

if TYPE_CHECKING:
    from .progress import Progress
    from .trainer import Trainer

CHUNK_SECONDS = 0.1  # metrics are read about ten times a second
MAX_STEPS_PER_CHUNK = 1024


class Chunk(NamedTuple):
    """Steps that run as one piece, their samples in all, and their batches on the device.

    `batches` is a tree of arrays whose leading axis is the step.
    """

    n_steps: int
    n_samples: int
    batches: Tree


@dataclass(frozen=True, eq=False)
class BatchSchedule:
    """The batches of a run on the samples of `data`, shuffled anew each epoch; from any step on always the same.

    `lr(step)` is the learning rate after `step` steps. Chunks have up to `steps_per_chunk` steps of `batch_size`
    samples, with `timed_chunks` as many as take a tenth of a second, and end wherever the number of steps is a
    multiple of `chunk_ends_every`. Where several processes train together, `own_rows` says of a batch's size
    which of its rows are this one's; None is all of them.
    """

    data: DeviceDataset
    optimizer: Optimizer
    lr: Callable[[int], float]
    seed: int
    shuffle: bool
    batch_size: int
    steps_per_chunk: int
    chunk_ends_every: int | None
    dtype: str
    timed_chunks: bool = False
    own_rows: Callable[[int], slice] | None = None

    @property
    def n_samples(self) -> int:
        """Samples an epoch."""
        return len(self.data.dataset)

    @property
    def steps_per_epoch(self) -> int:
        """Steps an epoch; the last may have fewer samples than the others."""
        return steps_per_epoch(self.n_samples, self.batch_size)

    def chunks(
        self, epoch: int, samples_seen: int, step: int, steps_per_chunk: int | None = None
    ) -> Iterator[Chunk]:
        """What is left of an epoch's order after `samples_seen`, from step `step` on."""
        chunks = self._host_chunks(epoch, samples_seen, step, steps_per_chunk or self.steps_per_chunk)
        for sizes, batches in self.data.to_device(chunks):
            yield Chunk(*sizes, batches)

    def rest_of_epoch(self, progress: Progress) -> Iterator[Chunk]:
        """What is left of the epoch under way; `progress` must count every chunk before the next is asked for."""
        if self.timed_chunks:
            return self._timed_chunks(progress)
        return self.chunks(progress.epoch, progress.samples_seen, progress.step)

    def _timed_chunks(self, progress: Progress) -> Iterator[Chunk]:
        """The first two have one step each: how long the second took says how many steps the others have."""
        seconds = 0.0
        for _ in range(2):  # the first compiles, where the library does
            seconds_before = progress.seconds
            yield from islice(self.chunks(progress.epoch, progress.samples_seen, progress.step, 1), 1)
            seconds = progress.seconds - seconds_before
        steps = power_of_two(min(CHUNK_SECONDS / max(seconds, 1e-9), self.steps_per_chunk))
        yield from self.chunks(progress.epoch, progress.samples_seen, progress.step, steps)

    def batches(self, epoch: int, samples_seen: int, step: int) -> Iterator[Tree]:
        """The batches from there on, over the ends of epochs, as `Backend.scan` hands them to a step."""
        while True:
            for chunk in self.chunks(epoch, samples_seen, step):
                for k in range(chunk.n_steps):
                    yield tree_map(lambda a: a[k, ...], chunk.batches)  # noqa: B023
                step += chunk.n_steps
            epoch, samples_seen = epoch + 1, 0

    def _host_chunks(
        self, epoch: int, samples_seen: int, step: int, steps_per_chunk: int
    ) -> Iterator[tuple[tuple[int, int], Tree]]:
        """((steps, samples), batches on the host) of each chunk."""
        shuffled = self.shuffle and self.batch_size < self.n_samples  # a full batch is in the order of the set
        order = permutation(self.seed, epoch, self.n_samples) if shuffled else np.arange(self.n_samples)
        left = order[samples_seen:]
        for indices in chunk_indices(left, self.batch_size, steps_per_chunk, step, self.chunk_ends_every):
            steps = np.arange(step, step + len(indices))
            scalars = stack_step_scalars(self.optimizer, self.lr, steps, self.dtype)
            samples = self.data.batches(indices) if self.own_rows is None else self._take(indices, self.own_rows)
            batches = {**samples, "step": steps.astype(np.int32), "scalars": scalars}
            yield (len(indices), indices.size), batches
            step += len(indices)

    def _take(self, indices: np.ndarray, rows: Callable[[int], slice]) -> Tree:
        """This process's rows of batches, and the weight of each whole batch where samples have weights."""
        weights = self.data.dataset.weights
        total = {} if weights is None else {"total_weight": weights[indices].sum(axis=1).astype(self.dtype)}
        return {**self.data.batches(indices[:, rows(indices.shape[1])], whole_set=False), **total}


def make_batch_schedule(trainer: Trainer, data: DeviceDataset) -> BatchSchedule:
    """The batches of `data` that a trainer trains on; UsageError where their size cannot be."""
    n_samples = len(data.dataset)
    batch_size = min(trainer.batch_size or n_samples, n_samples)
    check_batches(trainer, data.dataset)
    shards = trainer.sharding.shards if trainer.sharding else 1  # worked on at the same time, at best
    steps = estimate_steps_per_chunk(trainer.layer_table, -(-batch_size // shards), trainer.backend.device)
    return BatchSchedule(
        data=data,
        optimizer=trainer.optimizer,
        lr=trainer.lr_at,
        seed=trainer.seed,
        shuffle=trainer.shuffle,
        batch_size=batch_size,
        steps_per_chunk=data.limit_steps(steps, batch_size),
        chunk_ends_every=math.gcd(*(callback.chunk_ends_every or 0 for callback in trainer.callbacks)) or None,
        dtype=trainer.params_dtype,
        timed_chunks=any(callback.needs_short_chunks for callback in trainer.callbacks),
    )


def estimate_steps_per_chunk(layers: Sequence[LayerRow], batch_size: int, device: str) -> int:
    """Steps between two readings of the metrics: the power of two that fits in a tenth of a second by estimate.

    From the arithmetic (forward, and twice that backward), a nominal speed and a cost a layer, not from the
    clock: so what is recorded at chunk ends is the same in every run.
    """
    on_gpu = device.startswith(("cuda", "mps", "xpu", "gpu"))
    speed, overhead = (2e13, 2e-5) if on_gpu else (1e11, 1e-5)
    seconds = 3 * batch_size * sum(layer.flops for layer in layers) / speed + overhead * len(layers)
    return power_of_two(min(CHUNK_SECONDS / seconds, MAX_STEPS_PER_CHUNK))


def steps_per_epoch(n_samples: int, batch_size: int) -> int:
    """Steps that see each sample once."""
    return -(-n_samples // batch_size)


def stack_step_scalars(
    optimizer: Optimizer, lr: Callable[[int], float], steps: np.ndarray, dtype: str
) -> dict[str, np.ndarray]:
    """`Optimizer.step_scalars` of each of `steps`, counted from 0, as one array a name."""
    rows = [optimizer.step_scalars(t + 1, lr(t)) for t in steps.tolist()]
    return {name: np.array([row[name] for row in rows], dtype=dtype) for name in rows[0]}
