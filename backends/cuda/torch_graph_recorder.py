"""CUDA graphs by PyTorch: its part of `captured_scan`."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch

from backends.base import Array


class TorchGraphRecorder:
    """Captures by PyTorch's own context manager, in a memory pool that is the graph's alone.

    PyTorch's guide warms up on a side stream, for the sake of its autograd, which has no part in this.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # of the current device

    def record(self, work: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """Capture `work`; other threads may move data meanwhile."""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        capture = torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local")
        with torch.cuda.stream(stream), capture:  # a capture that fails leaves its own stream current
            work()
        return graph

    def copy(self, array: Array) -> Array:
        return array.clone()

    def address(self, array: Array) -> Hashable:
        return array.data_ptr(), array.stride()

    def overlap(self, a: Array, b: Array) -> bool:
        return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
