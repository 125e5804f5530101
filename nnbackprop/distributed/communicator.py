"""What processes that train together tell each other: a protocol, and a process that trains alone."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np

from backends import Array, Backend
from nnbackprop._system_info import cores
from nnbackprop.training.sharding import Reducer

T = TypeVar("T")


class Communicator(Reducer, Protocol):
    """`size` processes, of which this is number `rank`, and `local_rank` on its machine, with `cores` to itself.

    Methods are collective: every process calls them, in the same order, however long one of them takes.
    """

    local_rank: int
    cores: int


class SingleProcess:
    """A process that trains alone."""

    rank, size, local_rank, cores = 0, 1, 0, cores()

    def shard_memory(self, shards: int, k: int, dtype: Any) -> np.ndarray:
        """Of its own."""
        return np.zeros((shards, k), dtype)

    def sums_on_device(self, backend: Backend) -> bool:
        """On a CUDA device."""
        return backend.device.startswith("cuda")

    def sum_shards(self, shards: Array) -> Array:
        """The sum of the rows; of the host's, in the first of them."""
        return sum_rows(shards, shards[0] if isinstance(shards, np.ndarray) else None)

    def all_gather(self, array: np.ndarray) -> np.ndarray:
        """The array itself."""
        return array.reshape(1, *array.shape)

    def gather_objects(self, value: T) -> list[T]:
        """The value itself."""
        return [value]

    def broadcast(self, value: T) -> T:
        """The value itself."""
        return value


def sum_rows(rows: Array, out: np.ndarray | None = None) -> Array:
    """The sum of rows (m, k) in their order: (k,), in `out`, or in an array of its own where m is not 1.

    np.sum may add in another order; this one makes the bits independent of how k is cut.
    """
    if rows.shape[0] == 1:
        return rows[0, ...]
    total = rows[0, ...] + rows[1, ...] if out is None else np.add(rows[0], rows[1], out=out)
    for i in range(2, rows.shape[0]):
        total += rows[i, ...]
    return total
