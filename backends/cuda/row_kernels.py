"""Formulas of a matrix's rows, with reductions along a row, as one CUDA kernel: for few columns, a thread a row.

To `cupy.fuse`, which takes elementwise formulas alone, a matrix is handed as its columns: the numbers of a row are
then elements of different arrays, and their maximum is one more operator between them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, reduce
from operator import add
from typing import Any

import array_api_compat.numpy
import cupy
import numpy as np

from backends.namespace import ElementwiseKernel, Namespace, RowKernel
from backends.tree import Array

from .arrays import kernel_name

MAX_COLUMNS = 16
"""Columns of the widest matrix: in each matrix, one takes 32 bytes of the 4 kB that parameters may take."""

DTYPES = frozenset(map(np.dtype, ("float32", "float64")))

HOST = Namespace(array_api_compat.numpy)

Columns = tuple[Array, ...]


def fuse_rowwise(xp: Any, kernel: RowKernel) -> RowKernel:
    """`Namespace.fuse_rowwise` by one launch; many columns, and dtypes not in `DTYPES`, operator by operator."""
    fuse_columns = cache(_fuse_columns)
    results: dict[Any, list[tuple[tuple[int, ...], np.dtype]]] = {}

    def fused(matrix: Array, *others: Any) -> Any:
        n, k = matrix.shape
        if not 2 <= k <= MAX_COLUMNS or matrix.dtype not in DTYPES:
            return kernel(xp, matrix, *others)
        operands = [
            a if isinstance(a, cupy.ndarray) else xp.full((), a, dtype=matrix.dtype) for a in (matrix, *others)
        ]
        key = tuple((a.shape[1:], a.dtype) for a in operands)
        if key not in results:
            results[key] = _results(kernel, operands)
        outs = [cupy.empty((n, *shape), dtype) for shape, dtype in results[key]]
        columns = [_columns(a, n) for a in (*operands, *outs)]
        widths = tuple(map(len, columns))
        fuse_columns(xp, kernel, widths, len(outs))(*(column for a in columns for column in a))
        return tuple(outs) if len(outs) > 1 else outs[0]

    return fused


def _results(kernel: RowKernel, operands: list[Array]) -> list[tuple[tuple[int, ...], np.dtype]]:
    """Of each result, the shape of a row, and the dtype: NumPy's, of one row of zeros."""
    with np.errstate(all="ignore"):
        row = kernel(HOST, *(np.zeros(a.shape and (1, *a.shape[1:]), a.dtype) for a in operands))
    return [(a.shape[1:], a.dtype) for a in (row if isinstance(row, tuple) else (row,))]


def _columns(a: Array, n: int) -> Columns:
    """Of a matrix (n, k), column (n, 1) or row (1, k); an array of fewer axes is one itself."""
    if a.ndim < 2:
        return (a,)
    rows = slice(None) if a.shape[0] == n else 0
    return tuple(a[rows, j] for j in range(a.shape[1]))


def _fuse_columns(xp: Any, kernel: RowKernel, widths: tuple[int, ...], outs: int) -> Callable[..., None]:
    """The formula of operands that have `widths` columns each; it writes over the last `outs` of them."""

    @cupy.fuse(kernel_name=kernel_name(kernel))  # type: ignore[untyped-decorator]
    def columns_kernel(*columns: Any) -> None:
        left = iter(columns)
        arrays = [tuple(next(left) for _ in range(width)) for width in widths]
        operands = [a if len(a) > 1 else a[0] for a in arrays[:-outs]]
        result = kernel(_ColumnNamespace(xp), *operands)
        results = (result,) if outs == 1 else result
        for targets, values in zip(arrays[-outs:], results, strict=True):
            for target, value in zip(targets, values if len(targets) > 1 else (values,), strict=True):
                target[...] = value

    return columns_kernel


class _ColumnNamespace:
    """The `xp` of a formula of rows in which a matrix is a tuple of columns."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp

    def fuse(self, kernel: ElementwiseKernel) -> ElementwiseKernel:
        """The kernel on every column."""

        def fused(*operands: Any) -> Any:
            widths = [len(a) for a in operands if isinstance(a, tuple)]
            if not widths:
                return kernel(self._xp, *operands)
            results = tuple(
                kernel(self._xp, *(a[j] if isinstance(a, tuple) else a for a in operands))
                for j in range(widths[0])
            )
            return tuple(zip(*results, strict=True)) if isinstance(results[0], tuple) else results

        return fused

    def max(self, x: Columns, axis: int, keepdims: bool) -> Array:
        return reduce(self._xp.maximum, x)

    def sum(self, x: Columns, axis: int, keepdims: bool) -> Array:
        return reduce(add, x)

    def argmax(self, x: Columns, axis: int) -> Array:
        """The first of the largest, NaN above all."""
        xp, largest, index = self._xp, x[0], 0
        for j, column in enumerate(x[1:], 1):
            larger = xp.logical_and(largest == largest, xp.logical_not(column <= largest))
            largest, index = xp.where(larger, column, largest), xp.where(larger, j, index)
        return index
