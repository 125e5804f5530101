"""CUDA graphs by CuPy: its part of `captured_scan`."""

from __future__ import annotations

import ctypes
import sys
import traceback
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import cupy

from backends.tree import Array

from .cublas import CublasMatmul


@dataclass(frozen=True)
class GraphStats:
    """A captured graph in numbers: its steps, nodes, bytes of memory of its own and products by cuBLAS."""

    steps: int
    nodes: int
    pool_bytes: int
    products: int


@dataclass(frozen=True)
class CupyGraph:
    """A graph, and the blocks of memory that its kernels work in: held here, they are given to nobody else."""

    graph: Any
    blocks: tuple[Any, ...]
    products: int

    def replay(self) -> None:
        self.graph.launch()

    def stats(self, steps: int) -> GraphStats:
        return GraphStats(steps, _nodes(self.graph.graph), sum(block.size for block in self.blocks), self.products)


class CupyGraphRecorder:
    """Captures on a stream of its own, in relaxed mode: a pool may ask the device for memory meanwhile."""

    def __init__(self, matmul: CublasMatmul) -> None:
        self._matmul = matmul
        self._stream = cupy.cuda.Stream(non_blocking=True)

    def record(self, work: Callable[[], None]) -> CupyGraph:
        """Capture `work`, in a pool of its own that draws on the common one, whose limit then holds for it.

        On a pool that drew on the device, CuPy would answer a lack of memory by freeing blocks that the first
        kernels of this very graph work in. A pool that is dropped never gives back its free blocks, so it is
        emptied first; the graph holds what the pool had drawn.
        """
        blocks: list[Any] = []

        def allocate(size: int) -> Any:
            pointer = cupy.get_default_memory_pool().malloc(size)
            blocks.append(pointer.mem)
            return pointer

        pool, before = cupy.cuda.MemoryPool(allocate), self._matmul.calls
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
        return CupyGraph(graph, tuple(blocks), self._matmul.calls - before)

    def copy(self, array: Array) -> Array:
        return array.copy()

    def address(self, array: Array) -> Hashable:
        return array.data.ptr, array.strides

    def overlap(self, a: Array, b: Array) -> bool:
        return cupy.may_share_memory(a, b)


def _nodes(graph: int) -> int:
    """The nodes of a CUgraph; CuPy has no call for that."""
    driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    count = ctypes.c_size_t()
    status = driver.cuGraphGetNodes(ctypes.c_void_p(graph), None, ctypes.byref(count))
    if status:
        raise RuntimeError(f"The CUDA driver could not count the nodes of a graph (CUresult {status}).")
    return count.value
