"""The floor: the matrix products of a step and nothing else, into arrays that are allocated already."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.workloads import Problem
from nnbackprop.nn.layers.base import Params


class Products:
    """Forward x W, backward x^T dz for each layer and dz W^T for all but the first; cuBLAS's on a GPU."""

    def __init__(self, problem: Problem) -> None:
        array, self.multiply, self.wait = on_cuda(problem) if problem.device != "cpu" else on_host()
        dtype, rng, n = problem.workload.dtype, np.random.default_rng(0), problem.batch
        weights = [layer["W"] for layer in problem.weights]
        widths = [weights[0].shape[0], *(W.shape[1] for W in weights)]
        self.W = [array(W) for W in weights]
        self.x = [array(rng.random((n, width)).astype(dtype)) for width in widths]
        self.dz = [array(np.empty((n, width), dtype)) for width in widths]
        self.dW = [array(np.empty_like(W)) for W in weights]
        self.y = [array(np.empty((n, k), dtype)) for _, k in pairwise(widths)]

    def prepare(self, rows: np.ndarray) -> int:
        return len(rows)

    def run(self, batches: int) -> None:
        for _ in range(batches):
            self.step()
        self.wait()

    def step(self) -> None:
        """The products of one step."""
        for x, W, y in zip(self.x, self.W, self.y, strict=False):
            self.multiply(x, W, y)
        for i in reversed(range(len(self.W))):
            self.multiply(self.x[i].T, self.x[i + 1], self.dW[i])
            if i:
                self.multiply(self.x[i + 1], self.W[i].T, self.dz[i])

    def weights(self) -> Params:
        raise NotImplementedError("the products alone do not train")


def numpy_product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """out = a b; a column by a row, of a single sample, is faster without BLAS."""
    (np.multiply if a.shape[1] == 1 else np.matmul)(a, b, out=out)


Calls = tuple[Callable[..., Any], Callable[..., Any], Callable[[], None]]


def on_host() -> Calls:
    """Arrays, NumPy's products, nothing to wait for."""
    return np.array, numpy_product, lambda: None


def on_cuda(problem: Problem) -> Calls:
    """Arrays, products by CuPy's own cuBLAS handle, and the wait for the device."""
    import cupy
    from cupy.cublas import gemm
    from cupy.cuda.device import get_cublas_handle
    from cupy_backends.cuda.libs.cublas import setMathMode

    device = cupy.cuda.Device(int(problem.device.partition(":")[2] or 0))
    device.use()
    setMathMode(get_cublas_handle(), 3 if problem.tf32 else 0)  # CUBLAS_TF32_TENSOR_OP_MATH, CUBLAS_DEFAULT_MATH
    return cupy.array, lambda a, b, out: gemm("N", "N", a, b, out=out), device.synchronize


make = Products
