"""CuPy: NumPy's operators on a CUDA device, and a chunk of training steps as one CUDA graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import array_api_compat.cupy
import cupy
import numpy as np

from backends.cuda.arrays import all_true, concat, constant, kernel_name, sign, stack
from backends.cuda.bfloat16 import CupyNamespace, in_float32
from backends.cuda.captured_scan import CapturedScan
from backends.cuda.cublas import CublasMatmul
from backends.cuda.cupy_graph_recorder import CupyGraphRecorder, GraphStats
from backends.cuda.double_buffer import double_buffered
from backends.cuda.errors import cuda_version, no_device, no_product
from backends.cuda.foreach import foreach
from backends.cuda.row_kernels import fuse_rowwise

from .base import Backend, Memory, Step, T
from .collectives import Collectives, Processes, have_own_gpus
from .devices import check_index, parse_device
from .namespace import ElementwiseKernel
from .tree import Array, Tree


class CupyBackend(Backend):
    """cupy.ndarray on `cuda:N`, which becomes the current device of the calling thread.

    That matters, since CuPy's creation functions ignore their `device` argument.
    """

    name = "cupy"
    launch_bound = True

    def __init__(self, device: str | None = None) -> None:
        _, index = parse_device(self.name, device or "cuda", ("cuda",))
        check_index(self.name, index, _device_count())
        self.device = f"cuda:{index}"
        self.version = cupy.__version__
        self._device = cupy.cuda.Device(index)
        self._device.use()
        self._matmul = self._checked_matmul()
        self._captured = CapturedScan(CupyGraphRecorder(self._matmul), super().scan)
        self._full = constant(cupy.full)
        self.xp = CupyNamespace(
            array_api_compat.cupy,
            self._fuse,
            matmul=self._matmul,
            arange=constant(cupy.arange),
            ones=constant(cupy.ones),
            full=self._full,
            concat=concat,
            stack=stack,
            sign=sign,
            all=all_true,
            fuse_rowwise=cache(lambda kernel: fuse_rowwise(self.xp, kernel)),
            foreach=lambda *update: foreach(self.xp, *update),
        )

    @property
    def fuses_elementwise(self) -> bool:
        return True

    @property
    def graphs(self) -> tuple[GraphStats, ...]:
        """The CUDA graphs that `scan` has captured and keeps."""
        return tuple(graph.stats(steps) for steps, graph in self._captured.graphs())

    def asarray(self, array: np.ndarray, copy: bool = True) -> Array:
        with self._device:
            return cupy.array(array, order="C")

    def to_numpy(self, array: Array) -> np.ndarray:
        with self._device:
            return cupy.asnumpy(array, order="C")

    def synchronize(self) -> None:
        self._device.synchronize()

    def memory(self) -> Memory:
        with self._device:
            pool = cupy.get_default_memory_pool()
            free, _ = cupy.cuda.runtime.memGetInfo()
            return Memory(pool.used_bytes(), free + pool.free_bytes())

    def empty_cache(self) -> None:
        self._captured.clear()
        super().empty_cache()
        with self._device:
            cupy.get_default_memory_pool().free_all_blocks()
            cupy.get_default_pinned_memory_pool().free_all_blocks()

    def limit_memory(self, size: int) -> None:
        with self._device:
            cupy.get_default_memory_pool().set_limit(size=size)

    def use_tf32(self) -> None:
        self._matmul.tf32 = True
        self._captured.clear()

    @property
    def description(self) -> str:
        runtime, capability = cupy.cuda.runtime, self._device.compute_capability
        model = runtime.getDeviceProperties(self._device.id)["name"].decode()
        driver, built = cuda_version(runtime.driverGetVersion()), cuda_version(runtime.runtimeGetVersion())
        return (
            f"{model}, compute capability {capability[:-1]}.{capability[-1]}, driver up to CUDA {driver}, "
            f"CuPy for CUDA {built}, products by cuBLAS {self._matmul.version}"
        )

    def prefetch(self, chunks: Iterable[tuple[T, Tree]]) -> Iterator[tuple[T, Tree]]:
        return double_buffered(self._device, chunks)

    def scan(self, step: Step, state: Tree, constants: Tree, batches: Tree, last_step: Step | None = None) -> Tree:
        with self._device:
            return self._captured.scan(step, state, constants, batches, last_step)

    def collectives(self, processes: Processes) -> Collectives | None:
        with self._device:
            gpu = self._device.pci_bus_id if cupy.cuda.nccl.available else None
            if not have_own_gpus(processes, gpu):
                return None
            from .cupy_collectives import CupyCollectives

            return CupyCollectives(processes)

    def run_eagerly(self, step: Step, state: Tree, constants: Tree, batch: Tree) -> Tree:
        with self._device:
            return step(state, constants, batch)

    def _fuse(self, kernel: ElementwiseKernel, donate_argnums: tuple[int, ...] = ()) -> ElementwiseKernel:
        """One CUDA kernel of the formula, by `cupy.fuse`; it writes over what is donated.

        Its scalars go in as 0-d arrays of the first array's dtype: `cupy.fuse` takes a Python float for
        float64 and answers in float64 (cupy issue 9400).
        """

        @cupy.fuse(kernel_name=kernel_name(kernel))  # type: ignore[untyped-decorator]
        def cuda_kernel(*operands: Any) -> Any:
            result = kernel(self.xp, *operands)
            if not donate_argnums:
                return result
            values = result if isinstance(result, tuple) else (result,)
            # an operand that is returned must not be read after another output was written over it
            values = tuple(value.copy() if any(value is a for a in operands) else value for value in values)
            for k, value in zip(donate_argnums, values, strict=True):
                operands[k][...] = value
            return None

        def fused(*operands: Any) -> Any:
            dtype = operands[0].dtype
            arrays = [a if isinstance(a, cupy.ndarray) else self._full((), a, dtype=dtype) for a in operands]
            result = cuda_kernel(*arrays)
            if not donate_argnums:
                return result
            return (
                arrays[donate_argnums[0]] if len(donate_argnums) == 1 else tuple(arrays[k] for k in donate_argnums)
            )

        return in_float32(self.xp, fused)

    def _checked_matmul(self) -> CublasMatmul:
        """cuBLAS, after one product: a driver that lists a device may still not work with this build of CuPy."""
        try:
            matmul, ones = CublasMatmul(), cupy.ones((2, 2), dtype=cupy.float32)
            product = cupy.asnumpy(matmul(ones, ones))
        except Exception as error:
            raise no_product(self.device, cupy.cuda.runtime.runtimeGetVersion(), error) from error
        assert (product == 2).all(), product
        return matmul


def _device_count() -> int:
    runtime = cupy.cuda.runtime
    try:
        return runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise no_device(runtime.driverGetVersion(), runtime.runtimeGetVersion(), error) from error
