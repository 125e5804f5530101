"""Batches on the device: the whole set moved once where it fits, else streamed a chunk ahead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from backends import Backend, Tree, tree_map

from .dataset import Dataset
from .scaling import Scaling

Array = Any
T = TypeVar("T")

RESIDENT_SHARE = 4  # a set is kept on the device when it takes less than 1/4 of what is free there
STREAMED_BYTES = 2**24  # of a chunk that streams; up to four are under way at once
RESIDENT_BYTES = 2**30  # and less than this where the library does not tell how much that is


@dataclass(frozen=True)
class DataLoader:
    """A data set as a device sees it.

    `data` holds what every step reads: the samples where they are resident, and the scaling where it is yet to be
    done. uint8 stays as it came, a quarter of float32, and is scaled on the way; floats are scaled once.
    """

    backend: Backend
    dataset: Dataset
    data: Tree
    resident: bool

    @classmethod
    def of(
        cls, backend: Backend, dataset: Dataset, scaling: Scaling, dtype: str, resident: str = "auto"
    ) -> DataLoader:
        """Move what belongs on the device there; `resident` is auto, yes or no."""
        keep = resident == "yes" or (resident == "auto" and _fits(backend, dataset))
        data = {"scale": scaling.scale.astype(dtype), "shift": scaling.shift.astype(dtype)}
        if keep and dataset.inputs.dtype.kind == "f":
            data = {"inputs": scaling.apply(dataset.inputs, dtype), "targets": dataset.targets}
        elif keep:
            data |= {"inputs": dataset.inputs, "targets": dataset.targets}
        return cls(backend, dataset, tree_map(partial(backend.asarray, copy=False), data), keep)

    def xs(self, rows: np.ndarray) -> Tree:
        """Host arrays for `rows` (steps, batch): the row numbers if the set is resident, else the samples.

        A batch that is the whole resident set needs neither: it is taken as it lies, in the set's own order.
        """
        if self.resident and rows.shape[1] == len(self.dataset.targets):
            return {"all": np.zeros(len(rows), np.int32)}
        if self.resident:
            return {"rows": rows.astype(np.int32)}
        return {"inputs": self.dataset.inputs[rows], "targets": self.dataset.targets[rows]}

    def at_most(self, length: int, batch: int) -> int:
        """The power of two up to `length` steps of `batch` samples that a streamed chunk's memory allows."""
        if self.resident:
            return length
        size = batch * self.dataset.inputs[:1].nbytes
        return min(length, 1 << max(0, (STREAMED_BYTES // size).bit_length() - 1))

    def move(self, chunks: Iterable[tuple[T, Tree]]) -> Iterator[tuple[T, Tree]]:
        """Each chunk's arrays on the device, to be used before the next is asked for; streamed ones come ahead."""
        if not self.resident:
            return self.backend.prefetch(chunks)
        return ((label, tree_map(self.backend.asarray, xs)) for label, xs in chunks)


def fetch(xp: Any, data: Tree, x: Tree) -> tuple[Array, Array]:
    """Inputs (n, features) in the parameters' dtype and labels (n,) int32 of one step.

    x' = x * scale + shift, which every preprocessing of ours is.
    """
    if "all" in x:
        inputs, labels = data["inputs"], data["targets"]
    elif "rows" in x:
        inputs, labels = (xp.take(data[name], x["rows"], axis=0) for name in ("inputs", "targets"))
    else:
        inputs, labels = x["inputs"], x["targets"]
    if "scale" not in data:
        return inputs, labels
    scaled = xp.astype(inputs, data["scale"].dtype)  # a copy, to be changed in place
    scaled *= data["scale"]
    scaled += data["shift"]
    return scaled, labels


def batch_size(data: Tree, x: Tree) -> int:
    """How many samples `fetch` would bring."""
    if "all" in x:
        return data["targets"].shape[0]
    return x["rows" if "rows" in x else "targets"].shape[0]


def microbatch(data: Tree, x: Tree, begin: int, end: int) -> tuple[Tree, Tree]:
    """`data` and `x` of which `fetch` brings the batch's samples from `begin` to before `end` alone."""
    if "all" in x:
        return {**data, **{name: data[name][begin:end, ...] for name in ("inputs", "targets")}}, x
    names = ("rows",) if "rows" in x else ("inputs", "targets")
    return data, {**x, **{name: x[name][begin:end, ...] for name in names}}


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
    return dataset.inputs.nbytes <= (RESIDENT_BYTES if free is None else free // RESIDENT_SHARE)
