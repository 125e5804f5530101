"""Communication between the processes that train a network: its protocol, and a process that trains alone."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np

from backends import Array, Backend
from nnbackprop._system_info import cores
from nnbackprop.training.sharding import Reducer

T = TypeVar("T")


class Communicator(Reducer, Protocol):
    """`size` processes, of which this is `rank`, and `local_rank` on its machine, with `cores` to itself.

    Methods are collective: every process calls them, in the same order, however long one of them takes.
    """

    local_rank: int
    cores: int


class SingleProcess:
    """A process that trains alone."""

    rank, size, local_rank, cores = 0, 1, 0, cores()

    def shard_buffer(self, shards: int, k: int, dtype: Any) -> np.ndarray:
        """Of its own."""
        return np.zeros((shards, k), dtype)

    def reduces_on_device(self, backend: Backend) -> bool:
        """On a CUDA device."""
        return backend.device.startswith("cuda")

    def sum_shards(self, shards: Array) -> Array:
        """The sum of the rows."""
        return sum_rows(shards)

    def all_gather(self, array: np.ndarray) -> np.ndarray:
        """The array itself."""
        return array.reshape(1, *array.shape)

    def all_gather_object(self, value: T) -> list[T]:
        """The value itself."""
        return [value]

    def broadcast(self, value: T) -> T:
        """The value itself."""
        return value


def sum_rows(rows: Array, out: np.ndarray | None = None) -> Array:
    """The sum of rows (m, k) in their order: (k,), in `out` or, where the library allows it, in the first row.

    np.sum may add in another order; this one makes the bits independent of how k is cut.
    """
    total, *others = (rows[i, ...] for i in range(rows.shape[0]))
    for row in others:
        if out is None:
            total += row
        else:
            total = np.add(total, row, out=out)
    return total
