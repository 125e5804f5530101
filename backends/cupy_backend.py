"""CuPy: NumPy's operators on a CUDA device, and a chunk of training steps as one CUDA graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import array_api_compat.cupy
import cupy
import numpy as np

from backends.cuda.cupy_arrays import concat, kept, stack
from backends.cuda.cupy_bfloat16 import CupyNamespace, in_float32
from backends.cuda.cupy_errors import cuda_version, no_device, no_product
from backends.cuda.cupy_graph import Capture, CupyRecorder
from backends.cuda.cupy_products import Products
from backends.cuda.cupy_slots import CupyTransport
from backends.cuda.graphs import Replays
from backends.cuda.slots import by_slots

from .base import Array, Backend, ElementwiseKernel, Memory, Step, T, Tree
from .devices import check_index, cuda_index


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
        self._device = cupy.cuda.Device(index)
        self._device.use()
        self._products = self._multiply_once()
        self._replays = Replays(CupyRecorder(self._products))
        self._full = kept(cupy.full)
        self.xp = CupyNamespace(
            array_api_compat.cupy,
            self._fuse,
            matmul=self._products,
            arange=kept(cupy.arange),
            ones=kept(cupy.ones),
            full=self._full,
            concat=concat,
            stack=stack,
        )

    @property
    def fused(self) -> bool:
        """Always: `cupy.fuse` is part of CuPy."""
        return True

    @property
    def captures(self) -> tuple[Capture, ...]:
        """The CUDA graphs that `scan` has captured and still keeps."""
        return tuple(recording.capture(steps) for steps, recording in self._replays.recordings())

    def asarray(self, array: np.ndarray, copy: bool = True) -> Array:
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

    def free_memory(self) -> None:
        """Forget the captured graphs and give back what CuPy's pools keep for new arrays."""
        self._replays.forget()
        super().free_memory()
        with self._device:
            cupy.get_default_memory_pool().free_all_blocks()
            cupy.get_default_pinned_memory_pool().free_all_blocks()

    def limit_memory(self, size: int) -> None:
        """Let arrays take no more than `size` bytes of the device; CuPy raises a MemoryError beyond."""
        with self._device:
            cupy.get_default_memory_pool().set_limit(size=size)

    def use_tf32(self) -> None:
        """Let products of float32 round their factors to 10 bits, from now on."""
        self._products.tf32 = True
        self._replays.forget()

    def about(self) -> str:
        """The GPU, the CUDA version its driver goes up to, the one CuPy is built for, and who multiplies."""
        runtime, capability = cupy.cuda.runtime, self._device.compute_capability
        model = runtime.getDeviceProperties(self._device.id)["name"].decode()
        driver, built = cuda_version(runtime.driverGetVersion()), cuda_version(runtime.runtimeGetVersion())
        return (
            f"{model}, compute capability {capability[:-1]}.{capability[-1]}, driver up to CUDA {driver}, "
            f"CuPy for CUDA {built}, products by cuBLAS {self._products.version}"
        )

    def stream(self, chunks: Iterable[tuple[T, Tree]]) -> Iterator[tuple[T, Tree]]:
        """Each chunk copied from pinned memory while the device works on the one before it."""
        return by_slots(CupyTransport(self._device), chunks)

    def scan(self, step: Step, state: Tree, data: Tree, xs: Tree, last: Step | None = None) -> Tree:
        """Run the steps as captured CUDA graphs; what is new to a step, or cannot be captured, one by one."""
        with self._device:
            return self._replays.scan(step, state, data, xs, last)

    def _fuse(self, kernel: ElementwiseKernel, donated: tuple[int, ...] = ()) -> ElementwiseKernel:
        """One CUDA kernel of the formula, by `cupy.fuse`; it writes over what is donated.

        Its scalars go in as 0-d arrays of the first array's dtype: `cupy.fuse` takes a Python float for
        float64 and answers in float64 (cupy issue 9400).
        """

        @cupy.fuse(kernel_name=kernel.__name__)  # type: ignore[untyped-decorator]
        def cuda_kernel(*numbers: Any) -> Any:
            answer = kernel(self.xp, *numbers)
            if not donated:
                return answer
            values = answer if isinstance(answer, tuple) else (answer,)
            for k, value in zip(donated, values, strict=True):
                numbers[k][...] = value
            return None

        def fused(*numbers: Any) -> Any:
            dtype = numbers[0].dtype
            arrays = [a if isinstance(a, cupy.ndarray) else self._full((), a, dtype=dtype) for a in numbers]
            answer = cuda_kernel(*arrays)
            if not donated:
                return answer
            return arrays[donated[0]] if len(donated) == 1 else tuple(arrays[k] for k in donated)

        return in_float32(self.xp, fused)

    def _multiply_once(self) -> Products:
        """Allocate, multiply and look: a driver that lists a device may still not work with this build."""
        try:
            products, ones = Products(), cupy.ones((2, 2), dtype=cupy.float32)
            product = cupy.asnumpy(products(ones, ones))
        except Exception as error:
            raise no_product(self.device, cupy.cuda.runtime.runtimeGetVersion(), error) from error
        assert (product == 2).all(), product
        return products


def _count() -> int:
    runtime = cupy.cuda.runtime
    try:
        return runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise no_device(runtime.driverGetVersion(), runtime.runtimeGetVersion(), error) from error
