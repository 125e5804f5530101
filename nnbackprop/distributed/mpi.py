"""MPI, by mpi4py: nonblocking calls that are polled, so that signals are handled and a lost process is noticed."""

from __future__ import annotations

import math
import os
import socket
import sys
import time
from functools import cache
from typing import Any, TypeVar

import numpy as np

from backends import Array, Backend
from backends.collectives import Done
from nnbackprop._shared_memory import shared_memory
from nnbackprop._system_info import allowed_cores
from nnbackprop.errors import ProcessLostError, UsageError

from .communicator import Communicator, SingleProcess, sum_rows
from .environment import TIMEOUT, launched_size

T = TypeVar("T")

DEFAULT_TIMEOUT = 300.0  # seconds; the first process may be writing a large checkpoint
POLLS = 200  # of a call, before another process may have the core: gradients then took a third of the time
SPIN_SECONDS = 0.02  # without a pause: longer than gradients take to arrive
PAUSE = 0.001  # seconds between two looks after that
LOST = "it was stopped, or its machine was lost. Go on from the last checkpoint with --resume."
FORWARD_SECONDS = 0.1  # in which mpiexec passes on what was printed, before it ends all
yield_core = getattr(os, "sched_yield", lambda: time.sleep(0))


@cache
def communicator() -> Communicator:
    """The processes that `mpiexec` started with this one, or this one alone.

    Raises:
        UsageError: mpi4py is missing, or is of another MPI than `mpiexec`.
    """
    return MpiCommunicator() if launched_size() > 1 else SingleProcess()


class MpiCommunicator:
    """All processes of `MPI.COMM_WORLD`. `bytes_sent` and `calls` count what arrays cost this process."""

    def __init__(self) -> None:
        mpi = _import_mpi()
        self.world = mpi.COMM_WORLD
        self.rank, self.size = self.world.rank, self.world.size
        machine = self.world.Split_type(mpi.COMM_TYPE_SHARED)
        self.local_rank, own = machine.rank, allowed_cores()
        self.cores = max(1, len(own) // machine.allgather(own).count(own))  # shared, or each process its own
        self.share_memory = machine.size == self.size
        self.timeout = _timeout()
        self.bytes_sent = self.calls = 0
        self._shared: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._host = MpiCollectives(self.world)
        self._device: tuple[Any, Any] = (None, None)  # a namespace and its `Collectives`

    def shard_buffer(self, shards: int, k: int, dtype: Any) -> np.ndarray:
        """In memory shared with the others, where all are on one machine that has room for it."""
        m, size = self.size * shards, np.dtype(dtype).itemsize
        memory = shared_memory((m + 1) * k * size, self) if self.share_memory else None
        if memory is None:
            return np.zeros((shards, k), dtype)
        lines = np.frombuffer(memory, dtype).reshape(m + 1, k)
        own = lines[self.rank * shards : (self.rank + 1) * shards]
        self._shared = own, lines[:m], lines[m]
        return own

    def reduces_on_device(self, backend: Backend) -> bool:
        """By NCCL, between GPUs of which each process has its own."""
        collectives = backend.collectives(self)
        if collectives is not None:
            self._device = backend.xp, collectives
        return collectives is not None

    def sum_shards(self, shards: Array) -> Array:
        """Reduce-scatter, then all-gather: each process sums its part of all rows, and gets the other sums."""
        if self._shared is not None and shards is self._shared[0]:
            return self._sum_shared(*self._shared)
        xp, collectives = (np, self._host) if isinstance(shards, np.ndarray) else self._device
        (m, k), n = shards.shape, self.size
        parts = xp.permute_dims(xp.reshape(shards, (m, n, k // n)), (1, 0, 2))  # a view where m is 1
        size = k // n * shards.dtype.itemsize * (n - 1)
        received, done = collectives.all_to_all(xp.reshape(parts, (n, -1)))
        self._wait(done, m * size)
        whole, done = collectives.all_gather(sum_rows(xp.reshape(received, (n * m, -1))))
        self._wait(done, size)
        return xp.reshape(whole, (-1,))

    def _sum_shared(self, own: np.ndarray, rows: np.ndarray, whole: np.ndarray) -> np.ndarray:
        """The same in shared memory, which has all rows and their sum."""
        k = len(whole) // self.size
        part, others = slice(self.rank * k, (self.rank + 1) * k), len(rows) - len(own)
        self._wait(self.world.Ibarrier().Test, others * k * whole.itemsize)  # all rows are written
        sum_rows(rows[:, part], whole[part])
        self._wait(self.world.Ibarrier().Test, (self.size - 1) * k * whole.itemsize)  # all parts are summed
        return whole

    def all_gather(self, array: np.ndarray) -> np.ndarray:
        """Arrays of any dtype, as bytes."""
        sent = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        received, done = self._host.all_gather(sent)
        self._wait(done, sent.nbytes * (self.size - 1))
        return received.view(array.dtype).reshape(self.size, *array.shape)

    def all_gather_object(self, value: T) -> list[T]:
        """Pickled; the processes are of one program."""
        self.barrier()  # mpi4py's own call hears no signal while it waits
        return self.world.allgather(value)

    def broadcast(self, value: T) -> T:
        """Pickled too, as `all_gather_object`."""
        self.barrier()
        return self.world.bcast(value)

    def barrier(self) -> None:
        """Wait until all processes have come here, however long one of them takes."""
        self._wait(self.world.Ibarrier().Test, 0, math.inf)

    def abort(self, status: int) -> None:
        """End all processes with this exit status."""
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(FORWARD_SECONDS)
        self.world.Abort(status)

    def _wait(self, done: Done, size: int, timeout: float | None = None) -> None:
        """Until a call is complete; ProcessLostError after `timeout` seconds, by default the environment's."""
        self.bytes_sent, self.calls = self.bytes_sent + size, self.calls + 1
        begin, limit = time.monotonic(), self.timeout if timeout is None else timeout
        while not self._is_done(done):
            waited = time.monotonic() - begin
            if waited > limit:
                raise ProcessLostError(
                    f"One of {self.size} processes has not answered for {waited:.0f} s: {LOST} {TIMEOUT}, in "
                    "the environment, is how many seconds to wait."
                )
            time.sleep(PAUSE) if waited > SPIN_SECONDS else yield_core()

    def _is_done(self, done: Done) -> bool:
        try:
            return any(done() for _ in range(POLLS))
        except RuntimeError as error:  # of NCCL or Gloo
            what = str(error).splitlines()[0]
            raise ProcessLostError(f"One of {self.size} processes has gone ({what}): {LOST}") from error


class MpiCollectives:
    """`Collectives` of arrays on the host, by nonblocking calls."""

    def __init__(self, world: Any) -> None:
        self._world = world

    def all_to_all(self, parts: np.ndarray) -> tuple[np.ndarray, Done]:
        """MPI_Ialltoall."""
        received = np.empty_like(parts)
        return received, self._world.Ialltoall(parts, received).Test

    def all_gather(self, part: np.ndarray) -> tuple[np.ndarray, Done]:
        """MPI_Iallgather."""
        whole = np.empty((self._world.size, part.size), part.dtype)
        return whole, self._world.Iallgather(part, whole).Test


def _import_mpi() -> Any:
    """mpi4py's MPI, which sees as many processes as were started."""
    started = launched_size()
    os.environ.setdefault("MPIR_CVAR_SUPPRESS_ABORT_MESSAGE", "1")  # ours says what happened
    try:
        import mpi4py

        mpi4py.rc.thread_level = "serialized"  # type: ignore[attr-defined]
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            f"{started} processes were started together, and mpi4py, by which they train one network, cannot be "
            f"imported ({error}): pip install mpi4py mpich, or start one process."
        ) from error
    if MPI.COMM_WORLD.size != started:
        library = MPI.Get_library_version().split(",")[0].splitlines()[0].strip()
        raise UsageError(
            f"{started} processes were started on {socket.gethostname()}, and the MPI of mpi4py ({library}) sees "
            f"{MPI.COMM_WORLD.size}: they would train alone. Start them by the mpiexec of that MPI, or install "
            "mpi4py against the MPI of yours."
        )
    return MPI


def _timeout() -> float:
    text = os.environ.get(TIMEOUT) or str(DEFAULT_TIMEOUT)
    try:
        if (seconds := float(text)) > 0:
            return seconds
    except ValueError:
        pass
    raise UsageError(f"{TIMEOUT} is {text!r} and must be a number of seconds above 0.")
