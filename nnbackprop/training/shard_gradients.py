"""The gradients of this process's shards of a batch, as flat arrays to be summed over all processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backends import Array, Backend, Tree, tree_map
from nnbackprop.data.batch import get_batch, microbatch
from nnbackprop.nn.layers.base import Params

from .flat_layout import FlatLayout, round_up
from .gradient_step import GradientStep
from .lockstep import Exchange, in_lockstep
from .sharding import Reducer

if TYPE_CHECKING:
    from .trainer import Trainer


class Shard(NamedTuple):
    """`data` and `batch` of a `GradientStep`; where `size` is 0, of samples that stand in for none."""

    data: Tree
    batch: Tree
    size: int


@dataclass(eq=False)
class ShardGradients:
    """What `GradientStep` gives of each of this process's shards, as flat arrays of `row_size` numbers.

    `layout` says where what lies in them. They are the rows of `host_rows`, or arrays on the device where this is
    None, as NCCL sums them there. With `synchronized` the network sees means over the whole batch: the shards'
    passes stop at each `xp.batch_means` until those of all processes are there.
    """

    step: GradientStep
    backend: Backend
    processes: Reducer
    synchronized: bool
    placeholder_batch: Tree
    layout: FlatLayout
    row_size: int
    host_rows: np.ndarray | None

    @classmethod
    def of(
        cls, trainer: Trainer, params: Params, processes: Reducer, shards: int, synchronized: bool
    ) -> ShardGradients:
        """For a trainer's steps on so many shards a process; two samples show what gradients look like."""
        step, backend, device_data = trainer.train_step, trainer.backend, trainer.device_data
        synchronized = synchronized and step.objective.network.has_buffers
        samples = device_data.batches(np.arange(2).reshape(1, 2) % len(device_data.dataset), whole_set=False)
        batch = tree_map(lambda a: backend.asarray(a)[0, ...], samples)
        gradient = GradientStep(step)
        result = gradient.gradients(params, *get_batch(step.xp, device_data.arrays, batch), None)
        layout = FlatLayout(tree_map(step.xp.zeros_like, result))  # no parameters' own arrays: these are donated
        size = round_up(layout.size, processes.size)
        on_device = processes.reduces_on_device(backend)
        rows = None if on_device else processes.shard_buffer(shards, size, trainer.params_dtype)
        return cls(gradient, backend, processes, synchronized, batch, layout, size, rows)

    def compute(self, data: Tree, batch: Tree, bounds: Sequence[tuple[int, int]], batch_size: int) -> Array:
        """A row a shard, (shards, row_size); `batch` has the samples of a batch from the first of `bounds` on."""
        layout, first = self.layout, bounds[0][0]
        shards = [self._shard(data, batch, begin, end, first) for begin, end in bounds]
        rows = []
        for i, (shard, result) in enumerate(zip(shards, self._passes(shards, batch_size), strict=True)):
            share = self._share(shard, result, batch, batch_size) if shard.size else None
            rows.append(self._row(i, result, share))
            if self.backend.scan_consumes_state:
                layout.result = result
        return self.step.step.xp.stack(rows) if self.host_rows is None else self.host_rows

    def _row(self, i: int, result: Tree, share: float | None) -> Array:
        """The result of this process's shard `i` as a flat array; zeros where it is empty."""
        xp = self.step.step.xp
        if self.host_rows is None:
            row = self.layout.flatten(xp, result, share or 0.0, self.row_size)
            return xp.zeros_like(row) if share is None else row
        if share is None:
            self.host_rows[i] = 0
        else:
            self.layout.write(self.host_rows[i], result, self.backend, share)
        return self.host_rows[i]

    def read(self, row: Array) -> Tree:
        """The result that a sum of rows is, on the device."""
        if self.host_rows is None:
            return self.layout.unflatten(self.step.step.xp, row)
        return self.layout.read(row, self.backend)

    def _shard(self, data: Tree, batch: Tree, begin: int, end: int, first: int) -> Shard:
        samples = self.placeholder_batch
        if begin < end:
            data, samples = microbatch(data, batch, begin - first, end - first)
            samples = {name: samples[name] for name in samples if name not in ("scalars", "total_weight")}
        first_row = self.backend.asarray(np.array(begin, np.int32))
        return Shard(data, {**samples, "step": batch["step"], "first_row": first_row}, end - begin)

    def _share(self, shard: Shard, result: Tree, batch: Tree, batch_size: int) -> float:
        """Of the batch's samples, or of their weight."""
        if "total_weight" not in batch:
            return shard.size / batch_size
        weights = result["sums"]["weight"], batch["total_weight"]
        weight, total = (float(self.backend.to_numpy(a)) for a in weights)
        return weight / total if total > 0 else 0.0

    def _passes(self, shards: Sequence[Shard], batch_size: int) -> Iterable[Tree]:
        return self._together(shards, batch_size) if self.synchronized else self._one_by_one(shards)

    def _one_by_one(self, shards: Sequence[Shard]) -> Iterator[Tree]:
        """The result of each shard, written over the one before."""
        for shard in shards:
            result = self.layout.result
            yield self.backend.run_step(self.step, result, shard.data, shard.batch) if shard.size else result

    def _together(self, shards: Sequence[Shard], batch_size: int) -> list[Tree]:
        """The result of each shard, by passes that wait for each other."""
        step, backend = self.step.step, self.backend

        def pass_of(shard: Shard) -> Callable[[Exchange], Tree]:
            inputs = backend.force_evaluation((shard.data, shard.batch))

            def gradients(exchange: Exchange) -> Tree:
                def means(*arrays: Array) -> tuple[Array, ...]:
                    return tuple(map(backend.asarray, exchange(*map(backend.to_numpy, arrays))))

                def rows(n: int) -> int:
                    return n * batch_size // shard.size if shard.size else n

                seen = replace(step, xp=step.xp.replaced(batch_means=means, whole_batch_size=rows))
                return backend.run_eagerly(GradientStep(seen), {}, *inputs)

            return gradients

        shares = [shard.size / batch_size for shard in shards]
        return in_lockstep(list(map(pass_of, shards)), lambda arrays: self._means(arrays, shares))

    def _means(self, of_shards: Sequence[tuple[np.ndarray, ...]], shares: Sequence[float]) -> Sequence[np.ndarray]:
        """Of the arrays of each shard, which have equal shapes: their sums by share, over all processes."""
        like = of_shards[0]
        ends = np.cumsum([a.size for a in like])
        rows = np.zeros((len(shares), round_up(ends[-1], self.processes.size)), like[0].dtype)
        for row, arrays, share in zip(rows, of_shards, shares, strict=True):
            if share:
                row[: ends[-1]] = share * np.concatenate([a.reshape(-1) for a in arrays])
        parts = np.split(self.processes.sum_shards(rows), ends)
        return [part.reshape(a.shape) for part, a in zip(parts, like, strict=False)]
