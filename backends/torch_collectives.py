"""Exchanges by torch.distributed: NCCL between GPUs, and Gloo between tensors on the CPU."""

from __future__ import annotations

import atexit
import socket
from typing import Any

import torch
import torch.distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from .collectives import Done, Processes


class TorchCollectives:
    """Those of the default process group, which is made by the first."""

    def __init__(self, processes: Processes, device: torch.device) -> None:
        self._size = processes.size
        if torch.distributed.is_initialized():
            return
        machines = processes.all_gather_object(socket.gethostname())
        host = "127.0.0.1" if len(set(machines)) == 1 else machines[0]  # a Mac may not find itself by its name
        store = None
        if processes.rank == 0:
            store = TCPStore(host, 0, self._size, is_master=True, wait_for_workers=False)
        port = processes.broadcast(store.port if store else 0)
        if store is None:
            store = TCPStore(host, port, self._size, is_master=False)
        library = "nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(library, store=store, rank=processes.rank, world_size=self._size)
        atexit.register(torch.distributed.destroy_process_group)

    def all_to_all(self, parts: torch.Tensor) -> tuple[torch.Tensor, Done]:
        """Row i to process i, row j from process j."""
        received = torch.empty_like(parts)
        work = torch.distributed.all_to_all_single(received, parts, async_op=True)
        return received, lambda: _done(work)

    def all_gather(self, part: torch.Tensor) -> tuple[torch.Tensor, Done]:
        """A row a process."""
        whole = part.new_empty((self._size, *part.shape))
        work = torch.distributed.all_gather(list(whole), part, async_op=True)
        return whole, lambda: _done(work)


def _done(work: Any) -> bool:
    return work.is_completed() and bool(work.wait())  # which raises errors, and orders the streams of a GPU
