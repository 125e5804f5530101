"""PyTorch: its tensors as plain arrays, on the CPU or a GPU. Its autograd is not used."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import array_api_compat.torch
import numpy as np
import torch

from backends.cuda.captured_scan import CapturedScan

from .base import Backend, BackendError, Memory, Step
from .collectives import Collectives, Processes, have_own_gpus
from .devices import check_index, parse_device
from .elementwise import MIN_BLOCKED_SIZE, blockwise, flatten, unflatten
from .memory import keep_freed_memory, raise_memory_error
from .namespace import ElementwiseKernel, Namespace
from .numba_fuse import MIN_COMPILED_SIZE, compile_loop, compiler
from .numba_kernels import NUMBA_KERNELS
from .tree import Array, Tree

COMPILED_DTYPES = {torch.float32, torch.float64, torch.int32}


class TorchBackend(Backend):
    """torch.Tensor on `cpu`, `cuda:N`, `mps` (a Mac's GPU) or `xpu:N` (Intel's); by default CUDA, or the CPU.

    On `mps` and `xpu` in float32 only, and step by step.
    """

    name = "torch"

    def __init__(self, device: str | None = None) -> None:
        kind, index = parse_device(
            self.name, device or ("cuda" if torch.cuda.is_available() else "cpu"), ("cpu", "cuda", "mps", "xpu")
        )
        if kind == "cuda":
            _check_cuda(index)
        elif kind != "cpu":
            _check_laptop_gpu(kind, index)
        self.device = kind if kind in ("cpu", "mps") else f"{kind}:{index}"
        self.has_float64 = kind in ("cpu", "cuda")
        self.version = torch.__version__
        self.xp = Namespace(
            array_api_compat.torch,
            self._fuse if kind == "cpu" else None,
            {name: partial(_on_numpy_views, native) for name, native in NUMBA_KERNELS.items()}
            if kind == "cpu"
            else None,
            # torch's own functions: those of array_api_compat spend time on the promotion of dtypes
            matmul=torch.matmul,
            take=_take,
            astype=_astype,
            maximum=_maximum,
            minimum=_minimum,
        )
        keep_freed_memory()
        self._device = torch.device(self.device)
        self._captured: CapturedScan | None = None
        if kind == "cuda":
            with torch.cuda.device(self._device):
                self._captured = CapturedScan(TorchGraphRecorder(), super().scan)

    @property
    def fuses_elementwise(self) -> bool:
        """On a CPU, where numba is installed."""
        return self._device.type == "cpu" and compiler() is not None

    def asarray(self, array: np.ndarray, copy: bool = True) -> Array:
        self.check_dtype(array.dtype)
        return torch.from_numpy(np.array(array, order="C")).to(self._device)

    def to_numpy(self, array: Array) -> np.ndarray:
        return np.array(array.detach().cpu().numpy(), order="C")

    def synchronize(self) -> None:
        if self._device.type == "mps":
            torch.mps.synchronize()
        elif self._device.type != "cpu":
            torch.get_device_module(self._device).synchronize(self._device)

    def memory(self) -> Memory:
        if self._device.type == "cpu":
            return Memory(None, None)
        if self._device.type == "mps":
            used = torch.mps.current_allocated_memory()
            return Memory(used, torch.mps.recommended_max_memory() - used)
        if self._device.type == "xpu":
            used = torch.xpu.memory_allocated(self._device)
            return Memory(used, torch.xpu.get_device_properties(self._device).total_memory - used)
        free, _ = torch.cuda.mem_get_info(self._device)
        used = torch.cuda.memory_allocated(self._device)
        return Memory(used, free + torch.cuda.memory_reserved(self._device) - used)

    def memory_errors(self) -> contextlib.AbstractContextManager[None]:
        return raise_memory_error(RuntimeError, "memory")

    def scan(self, step: Step, state: Tree, constants: Tree, batches: Tree, last_step: Step | None = None) -> Tree:
        with torch.no_grad(), self.memory_errors():
            if self._captured is None:
                return super().scan(step, state, constants, batches, last_step)
            with torch.cuda.device(self._device):
                return self._captured.scan(step, state, constants, batches, last_step)

    def collectives(self, processes: Processes) -> Collectives | None:
        has_nccl = self._device.type == "cuda" and torch.distributed.is_nccl_available()
        gpu = str(torch.cuda.get_device_properties(self._device).uuid) if has_nccl else None
        if not have_own_gpus(processes, gpu):
            return None
        from .torch_collectives import TorchCollectives

        return TorchCollectives(processes, self._device)

    def run_eagerly(self, step: Step, state: Tree, constants: Tree, batch: Tree) -> Tree:
        with torch.no_grad(), self.memory_errors():
            if self._captured is None:
                return step(state, constants, batch)
            with torch.cuda.device(self._device):
                return step(state, constants, batch)

    @property
    def description(self) -> str:
        if self._device.type in ("cuda", "xpu"):
            return torch.get_device_module(self._device).get_device_name(self._device)
        others = [kind for kind in ("mps", "xpu") if self._device.type == "cpu" and _has(kind)]
        return "".join(f"also on this machine's GPU, with device='{kind}'" for kind in others)

    def use_tf32(self) -> None:
        # PyTorch has one such switch for the whole process
        if self._captured is None:
            super().use_tf32()
        else:
            torch.set_float32_matmul_precision("high")
            self._captured.clear()

    def limit_memory(self, size: int) -> None:
        if self._captured is None:
            super().limit_memory(size)
        else:
            _, total = torch.cuda.mem_get_info(self._device)
            torch.cuda.set_per_process_memory_fraction(min(1.0, size / total), self._device)

    def use_deterministic(self) -> None:
        """Refuse algorithms without a fixed order, and give cuBLAS one workspace a stream, for the whole process.

        cuBLAS reads its variable when it first multiplies.
        """
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)

    def empty_cache(self) -> None:
        super().empty_cache()
        if self._captured is not None:
            self._captured.clear()
        if self._device.type != "cpu":
            torch.get_device_module(self._device).empty_cache()

    def _fuse(self, kernel: ElementwiseKernel, donate_argnums: tuple[int, ...] = ()) -> ElementwiseKernel:
        """The kernel on whole tensors: by numba if it is installed, in blocks where they are large, else plain."""

        def fused(*operands: Any) -> Any:
            like = operands[0]
            if torch.is_grad_enabled():
                return kernel(self.xp, *operands)
            if (
                like.numel() >= MIN_COMPILED_SIZE
                and (result := _compiled(kernel, operands, donate_argnums)) is not None
            ):
                return unflatten(result, like.shape)
            arrays = [a for a in operands if isinstance(a, torch.Tensor) and a.ndim]
            if like.numel() < MIN_BLOCKED_SIZE or not all(
                a.shape == like.shape and a.is_contiguous() for a in arrays
            ):
                return kernel(self.xp, *operands)
            flat = [a.reshape(-1) if isinstance(a, torch.Tensor) and a.ndim else a for a in operands]
            result = blockwise(
                kernel, self.xp, flat, donate_argnums, lambda v: torch.empty(like.numel(), dtype=v.dtype)
            )
            return unflatten(result, like.shape)

        return fused


def _compiled(kernel: ElementwiseKernel, operands: Sequence[Any], donated: tuple[int, ...]) -> Any:
    """numba's loop, flat, over NumPy's views of tensors on the CPU; None where it does not compile."""
    dtypes = {a.dtype for a in operands if isinstance(a, torch.Tensor)}
    if compiler() is None or not dtypes <= COMPILED_DTYPES:  # NumPy has no bfloat16
        return None
    flat = flatten([a.numpy() if isinstance(a, torch.Tensor) else a for a in operands])
    if flat is None:
        return None
    loop = compile_loop(kernel, tuple(map(np.ndim, flat)), flat[0].dtype, donated)
    if loop is None:
        return None
    result = loop(*flat)
    return tuple(map(torch.from_numpy, result)) if isinstance(result, tuple) else torch.from_numpy(result)


def _on_numpy_views(native: Callable[..., Any], *arguments: Any) -> Any:
    """numba's loop over NumPy's views of tensors on the CPU; None where it has none."""
    tensors = [a for a in arguments if isinstance(a, torch.Tensor)]
    if torch.is_grad_enabled() or not {a.dtype for a in tensors} <= COMPILED_DTYPES:
        return None
    result = native(*(a.numpy() if isinstance(a, torch.Tensor) else a for a in arguments))
    return None if result is None else torch.from_numpy(result)


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


def _take(x: Array, indices: Array, axis: int) -> Array:
    return torch.index_select(x, axis, indices)


def _astype(x: Array, dtype: Any, copy: bool = True) -> Array:
    return x.to(dtype, copy=copy)


# torch.maximum would make a tensor of a Python number, by a copy from the host that a CUDA graph cannot capture


def _maximum(a: Array, b: Array) -> Array:
    if isinstance(a, torch.Tensor):
        return torch.maximum(a, b) if isinstance(b, torch.Tensor) else torch.clamp(a, min=b)
    return torch.clamp(b, min=a)


def _minimum(a: Array, b: Array) -> Array:
    if isinstance(a, torch.Tensor):
        return torch.minimum(a, b) if isinstance(b, torch.Tensor) else torch.clamp(a, max=b)
    return torch.clamp(b, max=a)


def _check_cuda(index: int) -> None:
    if torch.version.cuda is None:
        raise BackendError(
            f"PyTorch {torch.__version__} is a build without CUDA.",
            "Install a CUDA build (https://pytorch.org/get-started/locally), or use device='cpu'.",
        )
    if not torch.cuda.is_available():
        raise BackendError(
            f"PyTorch {torch.__version__} finds no CUDA device.",
            "Check the driver with nvidia-smi, or use device='cpu'.",
        )
    check_index("torch", index, torch.cuda.device_count())


def _has(kind: str) -> bool:
    """Whether this build of PyTorch works with the machine's GPU of that kind, `mps` or `xpu`."""
    module = torch.backends.mps if kind == "mps" else torch.xpu
    return module.is_available()


def _check_laptop_gpu(kind: str, index: int) -> None:
    if not _has(kind):
        needed = "a Mac with an Apple chip" if kind == "mps" else "an Intel GPU, its driver and a build for XPU"
        raise BackendError(
            f"PyTorch {torch.__version__} finds no device {kind}.",
            f"It needs {needed} (https://pytorch.org/get-started/locally): use device='cpu'.",
        )
    check_index("torch", index, 1 if kind == "mps" else torch.xpu.device_count(), kind)
