"""Exchanges between GPUs by NCCL, as CuPy has it."""

from __future__ import annotations

import cupy
from cupyx.distributed import NCCLBackend

from .collectives import Done, Processes


class CupyCollectives:
    """On the current stream; the communicator is made over MPI."""

    def __init__(self, processes: Processes) -> None:
        self._size = processes.size
        self._nccl = NCCLBackend(processes.size, processes.rank, use_mpi=True)

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
