"""CuPy: NumPy's operators on a CUDA device."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import array_api_compat.cupy
import cupy
import numpy as np

from .base import Array, Backend, Memory, Namespace, Rule, Step, Tree
from .cupy_errors import no_device, no_product
from .devices import check_index, cuda_index

_CONSTANTS = 1024
"""Scalars of rules kept on the device: moving one costs a copy, and from step to step they are the same."""


class CupyBackend(Backend):
    """cupy.ndarray on `cuda:N`, which becomes the current device of the calling thread.

    That matters, since CuPy's creation functions ignore their `device` argument.
    """

    name = "cupy"

    def __init__(self, device: str | None = None) -> None:
        index = cuda_index(self.name, device or "cuda", cpu=False) or 0
        check_index(self.name, index, _count())
        self.device = f"cuda:{index}"
        self.version = cupy.__version__
        self.xp = Namespace(array_api_compat.cupy, self._fuse)
        self._device = cupy.cuda.Device(index)
        self._device.use()
        self._constant = lru_cache(maxsize=_CONSTANTS)(_constant)
        self._multiply_once()

    @property
    def fused(self) -> bool:
        """Always: `cupy.fuse` is part of CuPy."""
        return True

    def asarray(self, array: np.ndarray) -> Array:
        """Copy a host array to the device; CuPy stages it through its pool of pinned memory."""
        with self._device:
            return cupy.array(array, order="C")

    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy an array to the host, C-contiguous; waits for it."""
        with self._device:
            return cupy.asnumpy(array, order="C")

    def synchronize(self) -> None:
        """Wait for the device."""
        self._device.synchronize()

    def memory(self) -> Memory:
        """What CuPy's arrays take on the device, and what is free there or kept by CuPy's pool for new ones."""
        with self._device:
            pool = cupy.get_default_memory_pool()
            free, _ = cupy.cuda.runtime.memGetInfo()
            return Memory(pool.used_bytes(), free + pool.free_bytes())

    def loop(self, step: Step, state: Tree, data: Tree, xs: Tree, last: Step | None = None) -> Tree:
        """Run the steps one by one; the device works through them while the host is ahead."""
        with self._device:
            return super().loop(step, state, data, xs, last)

    def _fuse(self, rule: Rule) -> Rule:
        """One kernel of the rule, by `cupy.fuse`.

        Its scalars go in as 0-d arrays of the first array's dtype: `cupy.fuse` takes a Python float for
        float64 and answers in float64 (cupy issue 9400).
        """

        @cupy.fuse(kernel_name=rule.__name__)  # type: ignore[untyped-decorator]
        def kernel(*numbers: Any) -> Any:
            return rule(self.xp, *numbers)

        def fused(*numbers: Any) -> Any:
            dtype = numbers[0].dtype
            return kernel(*(a if isinstance(a, cupy.ndarray) else self._constant(a, dtype) for a in numbers))

        return fused

    def _multiply_once(self) -> None:
        """Allocate, multiply and look: a driver that lists a device may still not work with this build."""
        try:
            ones = cupy.ones((2, 2), dtype=cupy.float32)
            product = cupy.asnumpy(cupy.matmul(ones, ones))
        except Exception as error:
            raise no_product(self.device, cupy.cuda.runtime.runtimeGetVersion(), error) from error
        assert (product == 2).all(), product


def _constant(number: Any, dtype: Any) -> Array:
    return cupy.asarray(number, dtype=dtype)


def _count() -> int:
    runtime = cupy.cuda.runtime
    try:
        return runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise no_device(runtime.driverGetVersion(), runtime.runtimeGetVersion(), error) from error
