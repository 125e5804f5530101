"""Exchanges between GPUs by NCCL, as CuPy has it."""

from __future__ import annotations

from functools import cache

import cupy
from cupyx.distributed import NCCLBackend

from .collectives import Done, Processes


@cache
def _nccl(size: int, rank: int) -> NCCLBackend:
    """One for all trainings of this process; made over MPI."""
    return NCCLBackend(size, rank, use_mpi=True)


class CupyCollectives:
    """On the current stream."""

    def __init__(self, processes: Processes) -> None:
        self._size = processes.size
        self._nccl = _nccl(processes.size, processes.rank)

    def all_to_all(self, parts: cupy.ndarray) -> tuple[cupy.ndarray, Done]:
        """Row i to process i, row j from process j."""
        received = cupy.empty_like(parts)
        self._nccl.all_to_all(parts, received)
        return received, self._done()

    def all_gather(self, part: cupy.ndarray) -> tuple[cupy.ndarray, Done]:
        """A row a process."""
        whole = cupy.empty((self._size, part.size), part.dtype)
        self._nccl.all_gather(part, whole, part.size)
        return whole, self._done()

    def _done(self) -> Done:
        event = cupy.cuda.get_current_stream().record()
        return lambda: bool(event.done)
