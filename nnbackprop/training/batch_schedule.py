"""What every step of a run is handed: its samples, number and learning rate, a function of where it is alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from backends import Tree, tree_map
from nnbackprop.data.loader import DataLoader, chunk_rows
from nnbackprop.data.sampler import permutation
from nnbackprop.optim import Optimizer


@dataclass(frozen=True, eq=False)
class BatchSchedule:
    """The steps of a run on the samples of `loader`, from any of them on, always the same.

    `rate(step)` is the learning rate after `step` steps. Chunks have up to `length` steps of `batch` samples, and
    end wherever the number of steps is a multiple of `every`.
    """

    loader: DataLoader
    optimizer: Optimizer
    rate: Callable[[int], float]
    seed: int
    shuffle: bool
    batch: int
    length: int
    every: int | None
    dtype: str

    @property
    def samples(self) -> int:
        """Of an epoch."""
        return len(self.loader.dataset.targets)

    def chunks(self, epoch: int, samples: int, step: int) -> Iterator[tuple[tuple[int, int], Tree]]:
        """What is left of an epoch's order after `samples`, as ((steps, samples), arrays on the device)."""
        return self.loader.to_device(self._on_host(epoch, samples, step))

    def steps(self, epoch: int, samples: int, step: int) -> Iterator[Tree]:
        """The single steps from there on, over the ends of epochs, each as a loop would hand it down."""
        while True:
            for (steps, _), xs in self.chunks(epoch, samples, step):
                for k in range(steps):
                    yield tree_map(lambda a: a[k, ...], xs)  # noqa: B023
                step += steps
            epoch, samples = epoch + 1, 0

    def _on_host(self, epoch: int, samples: int, step: int) -> Iterator[tuple[tuple[int, int], Tree]]:
        order = permutation(self.seed, epoch, self.samples) if self.shuffle else np.arange(self.samples)
        for rows in chunk_rows(order[samples:], self.batch, self.length, step, self.every):
            steps = np.arange(step, step + len(rows))
            scalars = scalars_of(self.optimizer, self.rate, steps, self.dtype)
            xs = {**self.loader.xs(rows), "step": steps.astype(np.int32), "scalars": scalars}
            yield (len(rows), rows.size), xs
            step += len(rows)


def scalars_of(
    optimizer: Optimizer, rate: Callable[[int], float], steps: np.ndarray, dtype: str
) -> dict[str, np.ndarray]:
    """The optimizer's numbers for each of `steps`, counted from 0, computed in double precision on the host."""
    rows = [optimizer.step_scalars(t + 1, rate(t)) for t in steps.tolist()]
    return {name: np.array([row[name] for row in rows], dtype=dtype) for name in rows[0]}
