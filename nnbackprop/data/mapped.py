"""Samples that stay in their .npy file: rows are copied from a memory map as they are asked for."""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nnbackprop._files import open_file
from nnbackprop.errors import DataError

from .limits import MemoryBudget

BLOCK_BYTES = 2**24  # of rows that are looked at together
BLOCK_ROWS = 256  # the rows of a block are a multiple of it: sums over so many rows are those of the whole array
WINDOW_BYTES = 2**27  # of a file that are mapped at once, and so may be resident


class StoredArray:
    """An array (n, *sample_shape) in C order in a file, from byte `offset` on."""

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path, self.offset, self.shape, self.dtype = path, offset, shape, dtype
        with open_file(path) as stream:  # kept open: a file that takes its place later is another one
            self._descriptor = os.dup(stream.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def window(self, begin: int, end: int) -> np.ndarray:
        """Rows `begin` to `end` - 1 on a map, closed with the array; DataError if the file is shorter by now."""
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        first, last = self.offset + begin * row, self.offset + end * row
        aligned = first - first % mmap.ALLOCATIONGRANULARITY
        try:
            mapped = mmap.mmap(self._descriptor, last - aligned, access=mmap.ACCESS_READ, offset=aligned)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.path} cannot be read any more ({error}): it was changed while it was in use. Put it back, "
                "and train again, or resume."
            ) from error
        count = (last - first) // self.dtype.itemsize
        return np.frombuffer(mapped, self.dtype, count, first - aligned).reshape(end - begin, *self.shape[1:])

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredArray, (self.path, self.offset, self.shape, self.dtype)


class MappedArray:
    """Rows (n, *sample_shape) of an array in a file, read-only: what is asked for comes as a copy.

    Pages of a map count as resident memory while it is open: rows are gathered in the order of the file, from one
    window of `WINDOW_BYTES` after the other. Indices, slices, `min`, `max` and `mean` need the memory of a window,
    a block and what they return. `np.asarray`, and whatever NumPy does with the array itself, reads it whole, up
    to the limit of a file.

    rows          (n,) the rows of `stored` that are the rows of this array; None for all of them
    sample_shape  of a row; None for that of `stored`
    """

    def __init__(
        self, stored: StoredArray, rows: np.ndarray | None = None, sample_shape: tuple[int, ...] | None = None
    ) -> None:
        self._stored, self._rows, self.dtype = stored, rows, stored.dtype
        sample_shape = stored.shape[1:] if sample_shape is None else sample_shape
        self.shape = (stored.shape[0] if rows is None else len(rows), *sample_shape)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Axes, that of the samples included."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Numbers in all."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in all, in the file."""
        return self.size * self.dtype.itemsize

    def __getitem__(self, key: Any) -> np.ndarray:
        """The rows of an index, a slice, a mask or an array of indices; further axes are indexed in memory."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, slice):
            rows = np.arange(*first.indices(len(self)))
        else:
            rows = np.asarray(first)
            rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        if rows.size and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)}")
        found = self._read(rows.ravel()).reshape(*rows.shape, *self.shape[1:])
        return found[(*(slice(None),) * rows.ndim, *rest)] if rest else found

    def _read(self, rows: np.ndarray) -> np.ndarray:
        rows = np.where(rows < 0, rows + len(self), rows) if rows.size and rows.min() < 0 else rows
        rows = rows if self._rows is None else self._rows[rows]
        found = np.empty((len(rows), *self._stored.shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")
        in_order, begin = rows[order], 0
        window = max(1, WINDOW_BYTES // max(1, found[:1].nbytes))
        while begin < len(rows):
            first = int(in_order[begin])
            end = int(np.searchsorted(in_order, first + window))
            stored = self._stored.window(first, int(in_order[end - 1]) + 1)
            found[order[begin:end]] = np.take(stored, in_order[begin:end] - first, axis=0)
            begin = end
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows in memory; DataError beyond the limit of a file."""
        if copy is False:
            raise ValueError("rows of a file are in memory as a copy only")
        MemoryBudget(str(self._stored.path)).reserve(self.nbytes)
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """All rows in memory in another type; the array itself where that is its own and no copy is asked for."""
        return self if np.dtype(dtype) == self.dtype and not copy else self.__array__(dtype)

    def reshape(self, *shape: int) -> MappedArray:
        """The same rows as samples of another shape; the first axis stays."""
        sample = np.empty((1, *self.shape[1:]), bool).reshape(1, *shape[1:]).shape[1:]
        if shape[0] not in (-1, len(self)):
            raise ValueError(f"rows of a file keep their first axis, {len(self)}; got {shape}")
        return MappedArray(self._stored, self._rows, sample)

    def take(self, indices: np.ndarray, axis: int = 0) -> MappedArray:
        """The rows of `indices`, in that order, still in the file."""
        rows = np.arange(len(self))[indices] if self._rows is None else self._rows[indices]
        return MappedArray(self._stored, rows, self.shape[1:])

    def min(self, axis: int | None = None) -> Any:
        """The least number, or that of each column."""
        return np.min([block.min(axis) for block in blocks(self)], axis=0)

    def max(self, axis: int | None = None) -> Any:
        """The greatest number, or that of each column."""
        return np.max([block.max(axis) for block in blocks(self)], axis=0)

    def mean(self, axis: int | None = None, dtype: Any = np.float64) -> Any:
        """The mean of all numbers, or of each column: the same bits as in memory, where NumPy adds row to row."""
        if axis == 0 and self.size == len(self):  # a single column NumPy adds up in pairs
            return np.asarray(self).mean(axis, dtype)
        total = np.zeros(self.shape[1:], dtype)
        for block in blocks(self):
            total = np.concatenate([total[None], block], dtype=dtype).sum(axis=0)
        return total / len(self) if axis == 0 else (total / len(self)).mean()


Samples = np.ndarray | MappedArray
"""The inputs of a data set: in memory, or in a file."""


def blocks(samples: Samples) -> Iterator[np.ndarray]:
    """The rows in order, about `BLOCK_BYTES` of them at a time."""
    rows = BLOCK_ROWS * max(1, BLOCK_BYTES // max(1, BLOCK_ROWS * samples[:1].nbytes))
    for begin in range(0, len(samples), rows):
        yield samples[begin : begin + rows]
