"""NumPy: the library every machine has, and the one all others are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np

from .base import Backend, BackendError
from .elementwise import DTYPES, MIN_BLOCKED_SIZE, blockwise, flatten, unflatten
from .memory import keep_freed_memory
from .namespace import ElementwiseKernel, Namespace
from .numba_fuse import MIN_COMPILED_SIZE, compile_loop, compile_outer_product, compiler
from .numba_kernels import NUMBA_KERNELS
from .tree import Array


class NumpyBackend(Backend):
    """NumPy arrays on the CPU; its namespace is the Array API itself since NumPy 2.1."""

    name = "numpy"
    scan_consumes_state = False

    def __init__(self, device: str | None = None) -> None:
        if device not in (None, "cpu"):
            raise BackendError(
                f"The backend numpy works on the CPU alone and knows no device {device!r}.",
                "Use device='cpu', or for a GPU backend='cupy', torch or jax.",
            )
        self.device = "cpu"
        self.version = np.__version__
        self.xp = Namespace(
            np,
            _fuse,
            NUMBA_KERNELS,
            matmul=_matmul,
            matrix_transpose=_matrix_transpose,
            take=np.ndarray.take,
            astype=_astype,
        )
        keep_freed_memory()

    @property
    def fuses_elementwise(self) -> bool:
        """Whether numba is installed, which compiles kernels; asking imports it."""
        return compiler() is not None

    def asarray(self, array: np.ndarray, copy: bool = True) -> Array:
        return np.array(array, order="C") if copy else array

    def to_numpy(self, array: Array) -> np.ndarray:
        return np.array(array, order="C")

    # no other library warns of overflow
    scan = np.errstate(all="ignore")(Backend.scan)
    run_step = run_eagerly = np.errstate(all="ignore")(Backend.run_eagerly)


def _matmul(a: Array, b: Array) -> Array:
    """The product; a column by a row, as the gradient of a single sample is, element by element.

    np.matmul hands that to no BLAS and takes five times as long. There is one term to a sum: the bits are equal.
    """
    if not (a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] == 1):
        return np.matmul(a, b)
    compilable = a.size * b.size >= MIN_COMPILED_SIZE and a.dtype == b.dtype and a.dtype in DTYPES
    outer_product = compile_outer_product() if compilable else None
    return outer_product(a, b) if outer_product else np.multiply(a, b)


def _fuse(kernel: ElementwiseKernel, donate_argnums: tuple[int, ...] = ()) -> ElementwiseKernel:
    """The kernel on whole arrays: compiled where that pays, in blocks where they are large, else plain.

    Read-only arrays are not donated.
    """

    def fused(*operands: Any) -> Any:
        like = operands[0]
        if like.size < MIN_COMPILED_SIZE or (flat := flatten(operands)) is None:
            return kernel(np, *operands)
        writable = all(isinstance(flat[k], np.ndarray) and flat[k].flags.writeable for k in donate_argnums)
        outputs = donate_argnums if writable else ()
        loop = compile_loop(kernel, tuple(map(np.ndim, flat)), like.dtype, outputs)
        if loop is not None:
            return unflatten(loop(*flat), like.shape)
        if like.size < MIN_BLOCKED_SIZE or flat[0].ndim > 1:
            return kernel(np, *operands)
        result = blockwise(kernel, np, flat, outputs, lambda value: np.empty(like.size, value.dtype))
        return unflatten(result, like.shape)

    return fused


# NumPy's own functions first convert their arguments: two thirds of the time of a small array.


def _matrix_transpose(x: Array) -> Array:
    return x.mT


def _astype(x: Array, dtype: Any, copy: bool = True) -> Array:
    return x.astype(dtype, copy=copy)
