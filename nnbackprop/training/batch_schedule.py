"""The batches of a run: what every step is handed is a function of its number alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from backends import Tree, tree_map
from nnbackprop.data.loader import DataLoader, chunk_rows
from nnbackprop.data.sampler import permutation
from nnbackprop.optim import Optimizer

CHUNK_SECONDS = 0.1  # metrics are read about ten times a second


class Chunk(NamedTuple):
    """Steps that run as one piece, their samples in all, and their batches on the device.

    `batches` is a tree of arrays whose leading axis is the step.
    """

    steps: int
    samples: int
    batches: Tree


@dataclass(frozen=True, eq=False)
class BatchSchedule:
    """The steps of a run on the samples of `loader`, from any of them on, always the same.

    `lr(step)` is the learning rate after `step` steps. Chunks have up to `length` steps of `batch_size` samples,
    and end wherever the number of steps is a multiple of `save_every`.
    """

    loader: DataLoader
    optimizer: Optimizer
    lr: Callable[[int], float]
    seed: int
    shuffle: bool
    batch_size: int
    length: int
    save_every: int | None
    dtype: str

    @property
    def samples(self) -> int:
        """Samples an epoch."""
        return len(self.loader.dataset)

    @property
    def steps_per_epoch(self) -> int:
        """Steps an epoch; the last may have fewer samples than the others."""
        return steps_per_epoch(self.samples, self.batch_size)

    def chunks(self, epoch: int, samples: int, step: int, by_clock: bool = False) -> Iterator[Chunk]:
        """What is left of an epoch's order after `samples`.

        `length` is an estimate from the arithmetic, so that what is recorded at chunk ends is the same in every
        run. `by_clock` makes chunks shorter where steps take longer than that: the first two have one step each,
        and the second is timed.
        """
        length = self.length
        for _ in range(2 if by_clock else 0):
            begin = time.perf_counter()
            chunk = next(replace(self, length=1).chunks(epoch, samples, step), None)
            if chunk is None:
                return
            yield chunk
            samples, step = samples + chunk.samples, step + chunk.steps
            fitting = int(CHUNK_SECONDS / max(time.perf_counter() - begin, 1e-9))
            length = min(self.length, 1 << max(0, fitting.bit_length() - 1))
        for sizes, batches in self.loader.to_device(self._on_host(epoch, samples, step, length)):
            yield Chunk(*sizes, batches)

    def steps(self, epoch: int, samples: int, step: int) -> Iterator[Tree]:
        """The single steps from there on, over the ends of epochs, as `Backend.scan` hands them to a step."""
        while True:
            for chunk in self.chunks(epoch, samples, step):
                for k in range(chunk.steps):
                    yield tree_map(lambda a: a[k, ...], chunk.batches)  # noqa: B023
                step += chunk.steps
            epoch, samples = epoch + 1, 0

    def _on_host(self, epoch: int, samples: int, step: int, length: int) -> Iterator[tuple[tuple[int, int], Tree]]:
        order = permutation(self.seed, epoch, self.samples) if self.shuffle else np.arange(self.samples)
        for rows in chunk_rows(order[samples:], self.batch_size, length, step, self.save_every):
            steps = np.arange(step, step + len(rows))
            scalars = scalars_of(self.optimizer, self.lr, steps, self.dtype)
            batches = {**self.loader.batches(rows), "step": steps.astype(np.int32), "scalars": scalars}
            yield (len(rows), rows.size), batches
            step += len(rows)


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Steps that see each sample once."""
    return -(-samples // batch_size)


def scalars_of(
    optimizer: Optimizer, lr: Callable[[int], float], steps: np.ndarray, dtype: str
) -> dict[str, np.ndarray]:
    """The optimizer's scalars for each of `steps`, counted from 0, computed in double precision on the host."""
    rows = [optimizer.step_scalars(t + 1, lr(t)) for t in steps.tolist()]
    return {name: np.array([row[name] for row in rows], dtype=dtype) for name in rows[0]}
