"""bfloat16 on CuPy by `ml_dtypes`: offered where it works, and computed in float32 in `cupy.fuse`."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import cupy
import numpy as np

from backends.namespace import ElementwiseKernel, Namespace
from backends.tree import Array

try:
    import ml_dtypes
except ImportError:
    BFLOAT16 = None
else:
    BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


class CupyNamespace(Namespace):
    """CuPy's names, and `bfloat16` where a layer can be computed in it, which is tried at its first use.

    It cannot with CuPy before 14, NumPy before 2.1.2, CUDA before 12.2, or on an old GPU.
    """

    @cached_property
    def bfloat16(self) -> np.dtype:
        """The type, as CuPy takes it; AttributeError where there is none."""
        if BFLOAT16 is None:
            raise AttributeError("ml_dtypes is not installed")
        try:
            x = self.astype(cupy.ones((2, 2), dtype=cupy.float32), BFLOAT16)
            z = self.matmul(x, x)
            z += x
            y = cupy.asnumpy(self.astype(self.maximum(z, self.zeros_like(z)) * z, cupy.float32))
        except Exception as error:
            raise AttributeError(f"CuPy does not compute in bfloat16 here: {error}") from error
        assert (y == 9).all(), y
        return BFLOAT16


def in_float32(xp: Any, fused: ElementwiseKernel) -> ElementwiseKernel:
    """`fused` on bfloat16 arrays: computed in float32, and the results rounded.

    Kernels fused by CuPy 14.2 have no cast to bfloat16.
    """

    def rounded(*operands: Any) -> Any:
        wide = [xp.astype(a, cupy.float32) if _is_bfloat16(a) else a for a in operands]
        result = fused(*wide)
        if not any(map(_is_bfloat16, operands)):
            return result
        if isinstance(result, tuple):
            return tuple(xp.astype(a, BFLOAT16) for a in result)
        return xp.astype(result, BFLOAT16)

    return rounded


def _is_bfloat16(a: Array) -> bool:
    return BFLOAT16 is not None and isinstance(a, cupy.ndarray) and a.dtype == BFLOAT16  # float64 equals None
