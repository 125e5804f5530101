"""Chunks copied to a CUDA device while it computes: two buffers that take turns.

While kernels read the chunk in one buffer, a thread writes the next chunk into the other: into its pinned memory,
from where a copy stream takes it to its device memory. Three waits keep a chunk whole, and there are no others:
the host waits for the last copy out of the pinned memory, a copy for the last use of the buffer, and a use for the
copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from queue import SimpleQueue
from typing import Any

import cupy
import cupyx
import numpy as np

from backends.base import T
from backends.prefetch import prefetch
from backends.tree import Array, Tree, leaves, tree_unflatten

BUFFERS = 2

ALIGNMENT = 256
"""Bytes that the address of an array on a device is a multiple of, as if it had been allocated by itself."""


def double_buffered(device: cupy.cuda.Device, chunks: Iterable[tuple[T, Tree]]) -> Iterator[tuple[T, Tree]]:
    """`Backend.prefetch` on `device`, for the current stream of the thread that reads the chunks."""
    with device:
        compute_stream = cupy.cuda.get_current_stream()
        copy_stream = cupy.cuda.Stream(non_blocking=True)  # the null stream would wait for any other
        buffers = [_Buffer(device, compute_stream, copy_stream) for _ in range(BUFFERS)]
    free_buffers: SimpleQueue[_Buffer | None] = SimpleQueue()
    for buffer in buffers:
        free_buffers.put(buffer)

    def filled_buffers() -> Iterator[tuple[T, _Buffer, Tree]]:
        for label, tree in chunks:
            buffer = free_buffers.get()
            if buffer is None:
                return
            yield label, buffer, buffer.fill(tree)

    filled = prefetch(filled_buffers(), BUFFERS)
    try:
        for label, buffer, arrays in filled:
            buffer.begin_use()
            yield label, arrays
            buffer.end_use()
            free_buffers.put(buffer)
    finally:
        free_buffers.put(None)
        filled.close()
        # the memory goes back to the pools, which do not wait for copies
        for buffer in buffers:
            buffer.copied.synchronize()


class _Buffer:
    """Pinned host memory and device memory of one size, with events for the last copy and the last use.

    CuPy's pool hands out at once what was freed, in the stream that it was allocated in. Kernels of its last owner
    are in the order of the compute stream, so the device memory is allocated there.
    """

    def __init__(self, device: cupy.cuda.Device, compute_stream: Any, copy_stream: Any) -> None:
        self._device, self._compute_stream, self._copy_stream = device, compute_stream, copy_stream
        self._host = np.empty(0, np.uint8)
        self._memory: Array = None
        # `block`: a waiting thread sleeps and does not spin
        self.copied, self._used = (cupy.cuda.Event(block=True, disable_timing=True) for _ in range(2))

    def fill(self, tree: Tree) -> Tree:
        """Views of the device memory, where the arrays of `tree` will be once `copied` is reached."""
        arrays = leaves(tree)
        *offsets, size = accumulate((-(-a.nbytes // ALIGNMENT) * ALIGNMENT for a in arrays), initial=0)
        with self._device:
            self.copied.synchronize()
            if size > self._host.size:
                self._allocate(size)
            for at, a in zip(offsets, arrays, strict=True):
                _view_at(self._host, at, a)[...] = a
            self._copy_stream.wait_event(self._used)
            self._memory[:size].set(self._host[:size], stream=self._copy_stream)
            self._copy_stream.record(self.copied)
            views = (_view_at(self._memory, at, a) for at, a in zip(offsets, arrays, strict=True))
            return tree_unflatten(tree, views)

    def begin_use(self) -> None:
        """Make kernels launched from now on wait for the chunk."""
        with self._device:
            self._compute_stream.wait_event(self.copied)

    def end_use(self) -> None:
        """Let the next chunk be copied once the kernels launched so far are done."""
        with self._device:
            self._compute_stream.record(self._used)

    def _allocate(self, size: int) -> None:
        with self._compute_stream:
            self._host, self._memory = cupyx.empty_pinned(size, dtype=np.uint8), cupy.empty(size, dtype=cupy.uint8)
        self._compute_stream.record(self._used)


def _view_at(memory: Array, at: int, like: np.ndarray) -> Array:
    """The bytes of `memory` from `at` on, with the shape and dtype of `like`."""
    return memory[at : at + like.nbytes].view(like.dtype).reshape(like.shape)
