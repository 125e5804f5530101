"""Batches on the device: the whole set is moved once if it fits, else streamed a chunk ahead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import numpy as np

from backends import Backend, Tree, leaves, tree_map

from .dataset import Dataset
from .scaling import Scaling

Array = Any
T = TypeVar("T")

RESIDENT_FRACTION = 1 / 4  # of the free memory of a device that a resident set may take
RESIDENT_BYTES = 2**30  # or that many bytes, if the library does not say how much is free
STREAMED_BYTES = 2**24  # of a chunk that streams; up to four are under way at once
SAMPLES = "inputs", "targets", "weights"


class DataLoader:
    """A data set as a device sees it: `resident` on it as a whole, or streamed a chunk at a time.

    `data` is what every step reads: the samples of a resident set, and the scaling if each step does it. uint8
    stays uint8, a quarter of float32, and is scaled in each step; floats of a resident set are scaled once.
    Weights, and targets that are numbers, have the parameters' `dtype`. `resident` is asked for as auto, yes or
    no.
    """

    def __init__(
        self, backend: Backend, dataset: Dataset, scaling: Scaling, dtype: str, resident: str = "auto"
    ) -> None:
        self.backend, self.dataset, self._dtype = backend, dataset, dtype
        self.resident = resident == "yes" or (resident == "auto" and _fits(backend, dataset))
        self._samples = {"inputs": dataset.inputs, "targets": dataset.targets}
        if not dataset.classes:
            self._samples["targets"] = dataset.targets.astype(dtype, copy=False)
        if dataset.weights is not None:
            self._samples["weights"] = dataset.weights.astype(dtype)
        data = {"scale": scaling.scale.astype(dtype), "shift": scaling.shift.astype(dtype)}
        if self.resident and dataset.inputs.dtype.kind == "f":
            data = {**self._samples, "inputs": scaling.apply(dataset.inputs, dtype)}
        elif self.resident:
            data |= self._samples
        self.data: Tree = tree_map(partial(backend.asarray, copy=False), data)

    def batches(self, rows: np.ndarray) -> Tree:
        """Host arrays for `rows` (steps, batch): the row numbers if the set is resident, else the samples.

        A batch that is the whole resident set needs neither: it is taken as it lies, in the set's own order.
        """
        if not self.resident:
            samples = {name: array[rows] for name, array in self._samples.items()}
            if samples["inputs"].dtype == np.float64:  # half as much to move, and some GPUs have no float64
                samples["inputs"] = samples["inputs"].astype(self._dtype, copy=False)
            return samples
        if rows.shape[1] == len(self.dataset):
            return {"all": np.zeros(len(rows), np.int32)}
        return {"rows": rows.astype(np.int32)}

    def limit_chunk(self, length: int, batch: int) -> int:
        """The power of two up to `length` steps of `batch` samples that a streamed chunk's memory allows."""
        if self.resident:
            return length
        size = batch * self.dataset.inputs[:1].nbytes
        return min(length, 1 << max(0, (STREAMED_BYTES // size).bit_length() - 1))

    def to_device(self, chunks: Iterable[tuple[T, Tree]]) -> Iterator[tuple[T, Tree]]:
        """Each chunk's arrays on the device, to be used before the next is asked for; streamed ones come ahead."""
        if not self.resident:
            return self.backend.prefetch(chunks)
        return ((label, tree_map(self.backend.asarray, arrays)) for label, arrays in chunks)


def get_batch(xp: Any, data: Tree, batch: Tree) -> tuple[Array, Array, Array | None]:
    """Inputs (n, *sample_shape) in the parameters' dtype, targets (n,) or (n, k) and weights (n,) of one step.

    Weights are None where the data set has none. Inputs that are not scaled yet are scaled here.
    """
    if "scaled" in batch:
        return batch["scaled"], batch["targets"], batch.get("weights")
    samples = _samples(data if "all" in batch or "rows" in batch else batch)
    if "rows" in batch:
        samples = {name: xp.take(array, batch["rows"], axis=0) for name, array in samples.items()}
    inputs = samples["inputs"]
    if "scale" in data:
        inputs = xp.astype(inputs, data["scale"].dtype)  # a copy, to be changed in place
        inputs *= data["scale"]
        inputs += data["shift"]
    return inputs, samples["targets"], samples.get("weights")


def get_batches(xp: Any, data: Tree, batches: Tree) -> Tree:
    """What `get_batch` returns for each of several steps, (steps, n, ...), as it takes them from their batch."""
    given = {"rows": batches["rows"]} if "rows" in batches else _samples(batches)
    steps, n = leaves(given)[0].shape[:2]
    as_one = {name: xp.reshape(a, (steps * n, *a.shape[2:])) for name, a in given.items()}
    inputs, targets, weights = get_batch(xp, data, as_one)
    arrays = {"scaled": inputs, "targets": targets} | ({} if weights is None else {"weights": weights})
    return {name: xp.reshape(a, (steps, n, *a.shape[1:])) for name, a in arrays.items()}


def batch_weights(xp: Any, data: Tree, batch: Tree) -> Array | None:
    """The weights (n,) that `get_batch` returns, without the rest."""
    weights = (data if "all" in batch or "rows" in batch else batch).get("weights")
    return weights if weights is None or "rows" not in batch else xp.take(weights, batch["rows"], axis=0)


def batch_size(data: Tree, batch: Tree) -> int:
    """The number of samples that `get_batch` returns."""
    if "all" in batch:
        return data["targets"].shape[0]
    return batch["rows" if "rows" in batch else "targets"].shape[0]


def microbatch(data: Tree, batch: Tree, begin: int, end: int) -> tuple[Tree, Tree]:
    """`data` and `batch` of which `get_batch` returns samples `begin` to `end` - 1; masks are cut alike."""
    if "all" in batch:
        return {**data, **{name: array[begin:end, ...] for name, array in _samples(data).items()}}, batch
    by_row = ("rows", "scaled", "masks", *SAMPLES)
    arrays = {name: batch[name] for name in by_row if name in batch}
    return data, {**batch, **tree_map(lambda a: a[begin:end, ...], arrays)}


def _samples(tree: Tree) -> Tree:
    return {name: tree[name] for name in SAMPLES if name in tree}


def chunk_rows(
    rows: np.ndarray, batch: int, length: int, step: int = 0, every: int | None = None
) -> Iterator[np.ndarray]:
    """Cut `rows` (n,) into chunks (steps, batch), and last the ragged batch alone, as (1, rest).

    Chunks have `length` steps; what is left over is cut into powers of two, so that a library that compiles
    a loop for each length meets few of them. The first chunk begins after `step` steps of the run, and one ends
    wherever their number is a multiple of `every`. From any chunk's end on, the rest is cut as it is here.
    """
    steps = len(rows) // batch
    at = 0
    while at < steps:
        left = min(steps - at, every - (step + at) % every) if every else steps - at
        take = length if left >= length else 1 << (left.bit_length() - 1)
        yield rows[at * batch : (at + take) * batch].reshape(take, batch)
        at += take
    if steps * batch < len(rows):
        yield rows[steps * batch :].reshape(1, -1)


def _fits(backend: Backend, dataset: Dataset) -> bool:
    free = backend.memory().free
    return dataset.inputs.nbytes <= (RESIDENT_BYTES if free is None else free * RESIDENT_FRACTION)
