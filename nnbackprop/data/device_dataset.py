"""Batches on the device: the whole set is moved once if it fits, else streamed a chunk ahead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TypeVar

import numpy as np

from backends import Backend, Tree, tree_map

from .batch import BatchKind
from .dataset import Dataset
from .mapped import MappedArray, Samples
from .scaling import Scaling

T = TypeVar("T")

RESIDENT_FRACTION = 1 / 4  # of the free memory of a device that a resident set may take
RESIDENT_BYTES = 2**30  # or that many bytes, if the library does not say how much is free
STREAMED_BYTES = 2**24  # of a chunk that streams; up to four are under way at once


class DeviceDataset:
    """A data set as a device sees it: `resident`, on the device as a whole, or streamed a chunk at a time.

    `arrays` is what every step reads: the samples of a resident set, and the scaling if each step does it. uint8
    stays uint8, a quarter of float32, and is scaled in each step; floats are scaled on the host, a resident set
    once, a chunk that streams when it is gathered. Weights, and targets that are numbers, have the parameters'
    `dtype`. `resident` is asked for as auto, yes or no.
    """

    def __init__(
        self, backend: Backend, dataset: Dataset, scaling: Scaling, dtype: str, resident: str = "auto"
    ) -> None:
        self.backend, self.dataset, self._dtype = backend, dataset, dtype
        self.resident = resident == "yes" or (resident == "auto" and _fits(backend, dataset))
        self._samples: dict[str, Samples] = {"inputs": dataset.inputs, "targets": dataset.targets}
        if not dataset.classes:
            self._samples["targets"] = scaling.scale_targets(dataset.targets, dtype)
        if dataset.weights is not None:
            self._samples["weights"] = dataset.weights.astype(dtype)
        floats = dataset.inputs.dtype.kind == "f"
        self._scaling = scaling if floats else None
        data: dict[str, Samples] = {**self._samples} if self.resident else {}
        if not floats:
            data |= {"scale": scaling.scale.astype(dtype), "shift": scaling.shift.astype(dtype)}
        elif self.resident:
            data["inputs"] = scaling.apply(dataset.inputs, dtype)
        self.arrays: Tree = tree_map(partial(backend.asarray, copy=False), data)

    def batches(self, indices: np.ndarray, whole_set: bool = True) -> Tree:
        """Host arrays for the samples of `indices` (steps, batch), in one of the kinds of `BatchKind`.

        A batch that is the whole resident set needs no indices: it is taken as it lies, in the set's own order,
        unless `whole_set` is False.
        """
        if not self.resident:
            samples = {name: array[indices] for name, array in self._samples.items()}
            if self._scaling is not None:  # on the thread that gathers, and the same bits as of a resident set
                samples["inputs"] = self._scaling.apply(samples["inputs"], self._dtype, copy=False)
            return samples
        if whole_set and indices.shape[1] == len(self.dataset):
            return {BatchKind.WHOLE_SET.value: np.zeros(len(indices), np.int32)}
        return {BatchKind.INDICES.value: indices.astype(np.int32)}

    def limit_steps(self, steps: int, batch_size: int) -> int:
        """The power of two up to `steps` steps of `batch_size` samples that a streamed chunk's memory allows."""
        if self.resident:
            return steps
        size = batch_size * self.dataset.inputs[:1].nbytes
        return min(steps, power_of_two(STREAMED_BYTES / size))

    def to_device(self, chunks: Iterable[tuple[T, Tree]]) -> Iterator[tuple[T, Tree]]:
        """Each chunk's arrays on the device, to be used before the next is asked for; streamed ones come ahead."""
        if not self.resident:
            return self.backend.prefetch(chunks)
        return ((label, tree_map(self.backend.asarray, arrays)) for label, arrays in chunks)


def chunk_indices(
    indices: np.ndarray,
    batch_size: int,
    steps_per_chunk: int,
    first_step: int = 0,
    chunk_ends_every: int | None = None,
) -> Iterator[np.ndarray]:
    """Cut `indices` (n,) into chunks (steps, batch_size), and last the ragged batch alone, as (1, rest).

    Chunks have `steps_per_chunk` steps; what is left over is cut into powers of two, so that a library that
    compiles a loop for each length meets few of them. The first chunk begins after `first_step` steps of the run,
    and one ends wherever their number is a multiple of `chunk_ends_every`. From any chunk's end on, the rest is
    cut as it is here.
    """
    steps = len(indices) // batch_size
    done = 0
    while done < steps:
        left = steps - done
        if chunk_ends_every:
            left = min(left, chunk_ends_every - (first_step + done) % chunk_ends_every)
        taken = steps_per_chunk if left >= steps_per_chunk else power_of_two(left)
        yield indices[done * batch_size : (done + taken) * batch_size].reshape(taken, batch_size)
        done += taken
    if steps * batch_size < len(indices):
        yield indices[steps * batch_size :].reshape(1, -1)


def power_of_two(limit: float) -> int:
    """The largest power of two up to `limit`, at least 1."""
    return 1 << max(0, int(limit).bit_length() - 1)


def _fits(backend: Backend, dataset: Dataset) -> bool:
    if isinstance(dataset.inputs, MappedArray):
        return False
    free = backend.memory().free
    return dataset.inputs.nbytes <= (RESIDENT_BYTES if free is None else free * RESIDENT_FRACTION)
