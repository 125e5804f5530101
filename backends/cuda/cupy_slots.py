"""Chunks moved to a CUDA device by CuPy: what `slots.by_slots` needs of the library."""

from __future__ import annotations

from typing import Any

import cupy
import cupyx
import numpy as np

from backends.base import Array


class CupyTransport:
    """Copies in a stream of its own, for whatever stream is current to the thread that makes it.

    CuPy's pool keeps what was freed by the stream it was allocated in, and hands it out at once: that is safe for
    whoever goes on in that stream. So a slot's room is allocated in the stream it will be read in.
    """

    def __init__(self, device: cupy.cuda.Device) -> None:
        self.device = device
        with device:
            self.uses = cupy.cuda.get_current_stream()
            self.copies = cupy.cuda.Stream(non_blocking=True)  # the null stream would wait for any other

    def event(self) -> Any:
        """One that a thread sleeps on, and does not spin."""
        return cupy.cuda.Event(block=True, disable_timing=True)

    def pinned(self, size: int) -> np.ndarray:
        """Bytes of CuPy's pool of pinned memory."""
        return cupyx.empty_pinned(size, dtype=np.uint8)

    def room(self, size: int) -> Array:
        """Bytes of CuPy's pool, in the order of `uses`."""
        with self.uses:
            return cupy.empty(size, dtype=cupy.uint8)

    def send(self, host: np.ndarray, room: Array) -> None:
        """Copy from pinned memory, which needs the host no longer than to ask for it."""
        room[: host.size].set(host, stream=self.copies)

    def view(self, room: Array, at: int, like: np.ndarray) -> Array:
        """The bytes of `room` from `at` on as an array such as `like`; it keeps the room from being freed."""
        return room[at : at + like.nbytes].view(like.dtype).reshape(like.shape)
