"""Matrix products by calls to cuBLAS: CuPy refuses its own while a stream is captured (cupy issue 6290).

The library is the one that CuPy has loaded, found by the way CuPy finds it (cuda-pathfinder) and called through
ctypes. It has a handle of its own, since CuPy sets its handle's stream at every call, and with that drops its
workspace. Captured or not, a product is the same call with the same workspace, so that it has the same bits.
"""

from __future__ import annotations

import ctypes
from typing import Any
from weakref import finalize

import cupy
import numpy as np
from cuda.pathfinder import load_nvidia_dynamic_lib

from backends.tree import Array

from .bfloat16 import BFLOAT16
from .gemm import Gemm, gemm

WORKSPACE = 32 * 2**20
"""Bytes that cuBLAS may use; this many on Hopper, by its manual, and fewer before."""

# Of cublas_api.h and library_types.h: operations, data types, compute types, the algorithm.
_NO_TRANSPOSE, _TRANSPOSE = 0, 1
_FLOAT, _DOUBLE, _HALF, _BFLOAT = 0, 1, 2, 14
_IN_FLOAT, _IN_TF32, _IN_DOUBLE = 68, 77, 70
_DEFAULT_ALGORITHM = -1

_TYPES: dict[Any, tuple[int, int, Any]] = {
    np.dtype(np.float16): (_HALF, _IN_FLOAT, ctypes.c_float),
    np.dtype(np.float32): (_FLOAT, _IN_FLOAT, ctypes.c_float),
    np.dtype(np.float64): (_DOUBLE, _IN_DOUBLE, ctypes.c_double),
}
"""By dtype: the operands' type, the compute type, and the type of alpha and beta."""
if BFLOAT16 is not None:
    _TYPES[BFLOAT16] = (_BFLOAT, _IN_FLOAT, ctypes.c_float)

_MIXED = {np.dtype(np.float32), BFLOAT16}
"""Operands that a layer in bfloat16 may have: CuPy makes float32 of bfloat16 and a Python float."""

_INT, _POINTER = ctypes.c_int, ctypes.c_void_p
_SIGNATURES = {
    "cublasCreate_v2": [ctypes.POINTER(_POINTER)],
    "cublasDestroy_v2": [_POINTER],
    "cublasGetVersion_v2": [_POINTER, ctypes.POINTER(_INT)],
    "cublasSetStream_v2": [_POINTER, _POINTER],
    "cublasSetWorkspace_v2": [_POINTER, _POINTER, ctypes.c_size_t],
    "cublasGemmEx": [
        *(_POINTER, _INT, _INT, _INT, _INT, _INT, _POINTER),  # handle, transa, transb, m, n, k, alpha
        *(_POINTER, _INT, _INT, _POINTER, _INT, _INT, _POINTER),  # A, type, lda, B, type, ldb, beta
        *(_POINTER, _INT, _INT, _INT, _INT),  # C, type, ldc, computed in, algorithm
    ],
}


class CublasMatmul:
    """`xp.matmul` on the current device: a callable of two arrays.

    `calls` counts the products by cuBLAS; with `tf32`, those of float32 round their operands to 10 bits.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
        for name, arguments in _SIGNATURES.items():
            getattr(self._library, name).argtypes = arguments
        self._library.cublasGetStatusName.argtypes = [_INT]
        self._library.cublasGetStatusName.restype = ctypes.c_char_p
        self._handle = _POINTER()
        self._call("cublasCreate_v2", ctypes.byref(self._handle))
        finalize(self, self._library.cublasDestroy_v2, self._handle).atexit = False
        self._workspace = cupy.empty(WORKSPACE, dtype=cupy.uint8)
        self._stream: int | None = None
        self.calls = 0
        self.tf32 = False

    @property
    def version(self) -> str:
        """Of the library, such as 13.1.0."""
        number = _INT()
        self._call("cublasGetVersion_v2", self._handle, ctypes.byref(number))
        return f"{number.value // 10000}.{number.value // 100 % 100}.{number.value % 100}"

    def __call__(self, a: Array, b: Array) -> Array:
        """The product of matrices or vectors; CuPy multiplies what cuBLAS cannot."""
        if a.ndim == b.ndim == 1 and a.shape == b.shape:
            return cupy.sum(a * b)
        if a.ndim == 1 and b.ndim == 2:
            return self(a.reshape(1, -1), b)[0, :]
        if a.ndim == 2 and b.ndim == 1:
            return self(a, b.reshape(-1, 1))[:, 0]
        if a.dtype != b.dtype and {a.dtype, b.dtype} == _MIXED:
            return self(a.astype(BFLOAT16, copy=False), b.astype(BFLOAT16, copy=False))
        if a.ndim != 2 or b.ndim != 2 or a.dtype != b.dtype or a.dtype not in _TYPES:
            return cupy.matmul(a, b)
        product = gemm(*((x.shape, tuple(stride // x.itemsize for stride in x.strides)) for x in (a, b)))
        return cupy.matmul(a, b) if product is None else self._multiply(product, a, b)

    def _multiply(self, product: Gemm, a: Array, b: Array) -> Array:
        stream = cupy.cuda.get_current_stream().ptr
        if stream != self._stream:  # setting one drops the workspace that was set before
            self._call("cublasSetStream_v2", self._handle, stream)
            self._call("cublasSetWorkspace_v2", self._handle, self._workspace.data.ptr, WORKSPACE)
            self._stream = stream
        dtype, compute_type, scalar = _TYPES[a.dtype]
        compute_type = _IN_TF32 if self.tf32 and dtype == _FLOAT else compute_type
        c = cupy.empty((product.n, product.m), dtype=a.dtype)
        self._call(
            "cublasGemmEx",
            self._handle,
            *(_TRANSPOSE if transposed else _NO_TRANSPOSE for transposed in (product.transa, product.transb)),
            *(product.m, product.n, product.k, ctypes.byref(scalar(1))),
            *(b.data.ptr, dtype, product.lda, a.data.ptr, dtype, product.ldb, ctypes.byref(scalar(0))),
            *(c.data.ptr, dtype, product.ldc, compute_type, _DEFAULT_ALGORITHM),
        )
        self.calls += 1
        return c

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            status_name = self._library.cublasGetStatusName(status).decode()
            raise RuntimeError(f"cuBLAS answered {name} with {status_name}.")
