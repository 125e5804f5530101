"""Steps of CuPy as one CUDA graph: what `graphs.Replays` needs of the library."""

from __future__ import annotations

import ctypes
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import cupy

from backends.base import Array

from .cupy_products import Products


@dataclass(frozen=True)
class Capture:
    """A captured graph in numbers: its steps, its nodes, the memory that is its own, its products by cuBLAS."""

    steps: int
    nodes: int
    pool_bytes: int
    products: int


@dataclass(frozen=True)
class CupyRecording:
    """A graph, and the blocks of memory its kernels work in: while it holds them nobody else is given one."""

    graph: Any
    blocks: tuple[Any, ...]
    products: int

    def replay(self) -> None:
        """Launch the graph on the current stream."""
        self.graph.launch()

    def capture(self, steps: int) -> Capture:
        """Its numbers; the nodes are counted by the driver."""
        return Capture(steps, _nodes(self.graph.graph), sum(block.size for block in self.blocks), self.products)


class CupyRecorder:
    """Captures what is asked of a stream of its own, so that what else the device does need not wait.

    The capture is CuPy's, in relaxed mode: a pool may ask the device for memory while it lasts.
    """

    def __init__(self, products: Products) -> None:
        self._products = products
        self._stream = cupy.cuda.Stream(non_blocking=True)

    def record(self, work: Callable[[], None]) -> CupyRecording:
        """Capture `work`, in a pool of its own that draws on the common one, whose limit so counts for it.

        On a pool that drew on the device, CuPy would answer a lack of memory by giving up free blocks: those that
        the first kernels of this very graph work in. A pool that is dropped with free blocks in it never gives
        them back, so that it is emptied first; the recording holds what it had drawn.
        """
        blocks: list[Any] = []
        pool, before = cupy.cuda.MemoryPool(_noting(blocks)), self._products.calls
        with cupy.cuda.using_allocator(pool.malloc), self._stream:
            self._stream.begin_capture()
            try:
                work()
                graph = self._stream.end_capture()
            except BaseException as error:
                with suppress(Exception):  # the capture may be invalid by now, and is over with this all the same
                    self._stream.end_capture()
                traceback.clear_frames(error.__traceback__)  # they hold arrays of the pool
                raise
            finally:
                pool.free_all_blocks()
        return CupyRecording(graph, tuple(blocks), self._products.calls - before)

    def copy(self, array: Array) -> Array:
        """A new array with the same numbers."""
        return array.copy()

    def overlap(self, a: Array, b: Array) -> bool:
        """Whether the stretches of memory they lie in overlap; told from addresses alone."""
        return cupy.may_share_memory(a, b)


def _noting(blocks: list[Any]) -> Callable[[int], Any]:
    """The common pool's allocator, which notes in `blocks` what it gives."""

    def allocate(size: int) -> Any:
        pointer = cupy.get_default_memory_pool().malloc(size)
        blocks.append(pointer.mem)
        return pointer

    return allocate


def _nodes(graph: int) -> int:
    """The nodes of a CUgraph; CuPy has no call for that."""
    driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    count = ctypes.c_size_t()
    status = driver.cuGraphGetNodes(ctypes.c_void_p(graph), None, ctypes.byref(count))
    if status:
        raise RuntimeError(f"The CUDA driver could not count the nodes of a graph (CUresult {status}).")
    return count.value
