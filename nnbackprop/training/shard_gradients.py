"""The gradients of a process's shards of a batch, a row of numbers each, ready to be summed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backends import Array, Backend, Tree, tree_map
from nnbackprop.data.batch import get_batch, microbatch
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import Params

from .lockstep import Exchange, in_lockstep
from .shards import GradientStep, Layout

if TYPE_CHECKING:
    from .trainer import Trainer

SumShards = Callable[[np.ndarray], np.ndarray]
"""The sum of all processes' rows (m, k) in the order of shards: (k,). k is a multiple of their number."""


class Shard(NamedTuple):
    """`data` and `batch` of a `GradientStep`; where `size` is 0, of samples that stand in for none."""

    data: Tree
    batch: Tree
    size: int


@dataclass(eq=False)
class ShardGradients:
    """What `GradientStep` finds of each shard, as `layout` has it in a row.

    With `sum_shards`, of `processes`, the network sees means over the whole batch: the shards' passes stop at each
    `xp.batch_means` until those of all processes are there.
    """

    step: GradientStep
    backend: Backend
    two_samples: Tree
    layout: Layout
    processes: int
    sum_shards: SumShards | None = None

    @classmethod
    def of(cls, trainer: Trainer, params: Params, processes: int, sum_shards: SumShards | None) -> ShardGradients:
        """For a trainer's steps; how gradients look is found by those of two samples."""
        step, backend, loader = trainer.train_step, trainer.backend, trainer.loader
        if not step.objective.network.has_buffers:
            sum_shards = None
        if sum_shards is not None and loader.dataset.weights is not None:
            raise UsageError(
                "sync_batchnorm takes the mean over the samples of a batch, and these have weights, of which a "
                "shard may have none: leave out the weights, or sync_batchnorm, or use LayerNorm."
            )
        samples = loader.batches(np.arange(2).reshape(1, 2) % len(loader.dataset), whole_set=False)
        batch = tree_map(lambda a: backend.asarray(a)[0, ...], samples)
        gradient = GradientStep(step)
        found = gradient.gradients(params, *get_batch(step.xp, loader.data, batch), None)
        fresh = tree_map(step.xp.zeros_like, found)  # buffers may be the parameters' own, and these are donated
        return cls(gradient, backend, batch, Layout(fresh, np.dtype(trainer.params_dtype)), processes, sum_shards)

    def rows(self, data: Tree, batch: Tree, bounds: Sequence[tuple[int, int]], batch_size: int) -> np.ndarray:
        """A row a shard, valid until the next; `batch` has the rows of a batch from the first of `bounds` on."""
        layout, first = self.layout, bounds[0][0]
        rows = layout.rows(len(bounds), self.processes)
        shards = [self._shard(data, batch, begin, end, first) for begin, end in bounds]
        for row, shard, layout.found in zip(rows, shards, self._passes(shards, batch_size), strict=True):
            if shard.size:
                layout.write(row, self.backend, self._share(shard, batch, batch_size))
            else:
                row[:] = 0
        return rows

    def _shard(self, data: Tree, batch: Tree, begin: int, end: int, first: int) -> Shard:
        samples = self.two_samples
        if begin < end:
            data, samples = microbatch(data, batch, begin - first, end - first)
            samples = {name: samples[name] for name in samples if name not in ("scalars", "total_weight")}
        first_row = self.backend.asarray(np.array(begin, np.int32))
        return Shard(data, {**samples, "step": batch["step"], "first_row": first_row}, end - begin)

    def _share(self, shard: Shard, batch: Tree, batch_size: int) -> float:
        """Of the batch's samples, or of their weight, by what was found last."""
        if "total_weight" not in batch:
            return shard.size / batch_size
        weights = self.layout.found["sums"]["weight"], batch["total_weight"]
        weight, total = (float(self.backend.to_numpy(a)) for a in weights)
        return weight / total if total > 0 else 0.0

    def _passes(self, shards: Sequence[Shard], batch_size: int) -> Iterable[Tree]:
        return self._one_by_one(shards) if self.sum_shards is None else self._together(shards, batch_size)

    def _one_by_one(self, shards: Sequence[Shard]) -> Iterator[Tree]:
        """What is found of each shard, written over what was found before."""
        xp, layout = self.step.step.xp, self.layout
        for shard in shards:
            samples = tree_map(lambda a: xp.reshape(a, (1, *a.shape)), shard.batch)
            found = layout.found
            yield self.backend.scan(self.step, found, shard.data, samples) if shard.size else found

    def _together(self, shards: Sequence[Shard], batch_size: int) -> list[Tree]:
        """What is found of each shard, by passes that wait for each other."""
        step, backend = self.step.step, self.backend

        def of_shard(shard: Shard) -> Callable[[Exchange], Tree]:
            inputs = backend.evaluate((shard.data, shard.batch))

            def found(exchange: Exchange) -> Tree:
                def means(*arrays: Array) -> tuple[Array, ...]:
                    return tuple(map(backend.asarray, exchange(*map(backend.to_numpy, arrays))))

                def rows(n: int) -> int:
                    return n * batch_size // shard.size if shard.size else n

                seen = replace(step, xp=step.xp.replaced(batch_means=means, batch_rows=rows))
                return backend.run_eagerly(GradientStep(seen), {}, *inputs)

            return found

        shares = [shard.size / batch_size for shard in shards]
        return in_lockstep(list(map(of_shard, shards)), lambda arrays: self._means(arrays, shares))

    def _means(self, of_shards: Sequence[tuple[np.ndarray, ...]], shares: Sequence[float]) -> Sequence[np.ndarray]:
        """Of the arrays of each shard, which have equal shapes: their sums by share, over all processes."""
        assert self.sum_shards is not None
        like = of_shards[0]
        ends = np.cumsum([a.size for a in like])
        rows = np.zeros((len(shares), -(-int(ends[-1]) // self.processes) * self.processes), like[0].dtype)
        for row, arrays, share in zip(rows, of_shards, shares, strict=True):
            if share:
                row[: ends[-1]] = share * np.concatenate([a.reshape(-1) for a in arrays])
        parts = np.split(self.sum_shards(rows), ends)
        return [part.reshape(a.shape) for part, a in zip(parts, like, strict=False)]
