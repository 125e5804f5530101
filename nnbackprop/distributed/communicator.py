"""What processes that train together tell each other: a protocol, and a process that trains alone."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np

from nnbackprop._system_info import cores

T = TypeVar("T")


class Communicator(Protocol):
    """`size` processes, of which this is number `rank`, and `local_rank` on its machine, with `cores` to itself.

    Methods are collective: every process calls them, in the same order.
    """

    rank: int
    size: int
    local_rank: int
    cores: int

    def shard_memory(self, shards: int, k: int, dtype: Any) -> np.ndarray:
        """Zeros (shards, k) to be filled, from which `sum_shards` is fastest; k must be a multiple of `size`."""

    def sum_shards(self, shards: np.ndarray) -> np.ndarray:
        """The sum of all processes' `shards` (m, k), in the order of ranks and rows: (k,), valid until the next.

        k must be a multiple of `size`. `shards` may be overwritten.
        """

    def all_gather(self, array: np.ndarray) -> np.ndarray:
        """The arrays of all processes, which have one shape: (size, *shape)."""

    def gather_objects(self, value: T) -> list[T]:
        """The values of all processes, in the order of ranks; however long one of them takes."""

    def broadcast(self, value: T) -> T:
        """The value of process 0, however long it takes."""


class SingleProcess:
    """A process that trains alone."""

    rank, size, local_rank, cores = 0, 1, 0, cores()

    def shard_memory(self, shards: int, k: int, dtype: Any) -> np.ndarray:
        """Of its own."""
        return np.zeros((shards, k), dtype)

    def sum_shards(self, shards: np.ndarray) -> np.ndarray:
        """The sum of the rows, in the first of them."""
        return sum_rows(shards, shards[0]) if len(shards) > 1 else shards[0]

    def all_gather(self, array: np.ndarray) -> np.ndarray:
        """The array itself."""
        return array.reshape(1, *array.shape)

    def gather_objects(self, value: T) -> list[T]:
        """The value itself."""
        return [value]

    def broadcast(self, value: T) -> T:
        """The value itself."""
        return value


def sum_rows(rows: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The sum of rows (m, k) in their order, written to `out` (k,).

    np.sum may add in another order; this one makes the bits independent of how k is cut.
    """
    if len(rows) == 1:
        out[:] = rows[0]
        return out
    np.add(rows[0], rows[1], out=out)
    for row in rows[2:]:
        out += row
    return out
