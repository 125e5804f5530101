"""What processes that each have a GPU exchange without the host: a protocol for NCCL by each library."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from .tree import Array

T = TypeVar("T")

Done = Callable[[], bool]
"""Whether an exchange is complete; raises what ended it. To be called until it is."""


class Processes(Protocol):
    """Processes that were started together, of which this is number `rank`; the methods are collective."""

    rank: int
    size: int

    def all_gather_object(self, value: T) -> list[T]:
        """The values of all processes, in the order of ranks."""

    def broadcast(self, value: T) -> T:
        """The value of process 0."""


class Collectives(Protocol):
    """Exchanges of arrays on the devices of all processes, whose arrays have one shape; collective."""

    def all_to_all(self, parts: Array) -> tuple[Array, Done]:
        """Row i of `parts` (size, k), contiguous, goes to process i; row j of the result comes from process j."""

    def all_gather(self, part: Array) -> tuple[Array, Done]:
        """The arrays (k,) of all processes: (size, k)."""


def have_own_gpus(processes: Processes, gpu: Any) -> bool:
    """Whether no two processes are on one GPU, by its name on its machine; None is none; collective."""
    found = processes.all_gather_object((socket.gethostname(), gpu))
    return len(set(found)) == len(found) and all(gpu is not None for _, gpu in found)
