"""PyTorch: its tensors as plain arrays, on the CPU or a CUDA device. Its autograd is never asked."""

from __future__ import annotations

import os
from typing import Any

import array_api_compat.torch
import numpy as np
import torch

from backends.cuda.graphs import Replays
from backends.cuda.torch_graph import TorchRecorder

from .base import Array, Backend, BackendError, ElementwiseKernel, Memory, Namespace, Step, Tree
from .blocks import LARGE, by_blocks
from .devices import check_index, cuda_index
from .flat import shaped
from .memory import keep_freed_memory, memory_errors


class TorchBackend(Backend):
    """torch.Tensor on `cpu` or `cuda:N`; without a device word, CUDA where PyTorch finds it."""

    name = "torch"

    def __init__(self, device: str | None = None) -> None:
        index = cuda_index(self.name, device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if index is not None:
            _check_cuda(index)
        self.device = "cpu" if index is None else f"cuda:{index}"
        self.version = torch.__version__
        self.xp = Namespace(
            array_api_compat.torch,
            self._in_blocks if index is None else None,
            # torch's own, which ask no questions about dtypes that the mathematics has answered
            matmul=torch.matmul,
            take=_take,
            astype=_astype,
        )
        keep_freed_memory()
        self._device = torch.device(self.device)
        self._replays: Replays | None = None
        if index is not None:
            with torch.cuda.device(self._device):
                self._replays = Replays(TorchRecorder())

    def asarray(self, array: np.ndarray, copy: bool = True) -> Array:
        """Copy a host array to the device."""
        return torch.from_numpy(np.array(array, order="C")).to(self._device)

    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy a tensor to the host, C-contiguous; waits for it."""
        return np.array(array.detach().cpu().numpy(), order="C")

    def synchronize(self) -> None:
        """Wait for the CUDA device; the CPU is always done."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def memory(self) -> Memory:
        """What tensors take on the CUDA device, and what is free there or kept by PyTorch for new ones."""
        if self._device.type != "cuda":
            return Memory(None, None)
        free, _ = torch.cuda.mem_get_info(self._device)
        used = torch.cuda.memory_allocated(self._device)
        return Memory(used, free + torch.cuda.memory_reserved(self._device) - used)

    def scan(self, step: Step, state: Tree, data: Tree, xs: Tree, last: Step | None = None) -> Tree:
        """Run the steps with autograd's bookkeeping off: on CUDA as captured graphs, else one by one."""
        with torch.no_grad(), memory_errors(RuntimeError, "memory"):
            if self._replays is None:
                return super().scan(step, state, data, xs, last)
            with torch.cuda.device(self._device):
                return self._replays.scan(step, state, data, xs, last)

    def about(self) -> str:
        """The name of the CUDA device."""
        return "" if self._replays is None else torch.cuda.get_device_name(self._device)

    def use_tf32(self) -> None:
        """Let CUDA products of float32 round their factors to 10 bits; PyTorch has one such switch a process."""
        if self._replays is None:
            super().use_tf32()
        else:
            torch.set_float32_matmul_precision("high")
            self._replays.forget()

    def limit_memory(self, size: int) -> None:
        """Let tensors take at most `size` bytes of the CUDA device."""
        if self._replays is None:
            super().limit_memory(size)
        else:
            _, total = torch.cuda.mem_get_info(self._device)
            torch.cuda.set_per_process_memory_fraction(min(1.0, size / total), self._device)

    def deterministic(self) -> None:
        """Let PyTorch refuse algorithms that have no fixed order, and cuBLAS work in one workspace a stream.

        Both hold for the whole process; cuBLAS reads its variable when it first multiplies.
        """
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)

    def free_memory(self) -> None:
        """Forget the captured graphs and give back what PyTorch keeps for new tensors."""
        super().free_memory()
        if self._replays is not None:
            self._replays.forget()
            torch.cuda.empty_cache()

    def _in_blocks(self, kernel: ElementwiseKernel, donated: tuple[int, ...] = ()) -> ElementwiseKernel:
        """The kernel on whole tensors; where they are large, by blocks that stay in the processor's cache."""

        def fused(*numbers: Any) -> Any:
            like = numbers[0]
            arrays = [a for a in numbers if isinstance(a, torch.Tensor) and a.ndim]
            large = like.numel() >= LARGE and not torch.is_grad_enabled()
            if not large or not all(a.shape == like.shape and a.is_contiguous() for a in arrays):
                return kernel(self.xp, *numbers)
            flat = [a.reshape(-1) if isinstance(a, torch.Tensor) and a.ndim else a for a in numbers]
            answer = by_blocks(kernel, self.xp, flat, donated, lambda v: torch.empty(like.numel(), dtype=v.dtype))
            return shaped(answer, like.shape)

        return fused


def _take(x: Array, indices: Array, axis: int) -> Array:
    return torch.index_select(x, axis, indices)


def _astype(x: Array, dtype: Any, copy: bool = True) -> Array:
    return x.to(dtype, copy=copy)


def _check_cuda(index: int) -> None:
    if torch.version.cuda is None:
        raise BackendError(
            f"PyTorch {torch.__version__} is a build without CUDA.",
            "Install a CUDA build (https://pytorch.org/get-started/locally), or use --device cpu.",
        )
    if not torch.cuda.is_available():
        raise BackendError(
            f"PyTorch {torch.__version__} finds no CUDA device.",
            "Check the driver with nvidia-smi, or use --device cpu.",
        )
    check_index("torch", index, torch.cuda.device_count())
