"""Pooling on the CPU: numba takes the windows of images in one pass over memory.

The formulas of nn/layers/pooling.py slice an array for each place of the window. These loops give the same
numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .numba_fuse import compiler, is_compilable
from .tree import Array

Pair = tuple[int, int]


def max_pool(x: Array, size: Pair, stride: Pair) -> Array | None:
    """The largest number of each window, (n, rows', columns', channels)."""
    if not is_compilable(x):
        return None
    n, rows, columns, channels = x.shape
    y = np.empty((n, (rows - size[0]) // stride[0] + 1, (columns - size[1]) // stride[1] + 1, channels), x.dtype)
    _compiled(_pool)(x.reshape(-1), y.reshape(-1), x.shape, y.shape[1:3], size, stride)
    return y


def max_pool_vjp(x: Array, y: Array, dy: Array, size: Pair, stride: Pair) -> Array | None:
    """dx of windows that do not overlap: each dy where its maximum was, in a tie at the first."""
    if size != stride or not is_compilable(x, y, dy):
        return None
    dx = np.zeros_like(x)
    flat = (a.reshape(-1) for a in (x, y, dy, dx))
    _compiled(_pool_vjp)(*flat, np.empty(x.shape[3], x.dtype), x.shape, y.shape[1:3], size)
    return dx


@cache
def _compiled(loop: Callable[..., None]) -> Any:
    return compiler().njit(loop, error_model="numpy")


# Arrays are flat, and their indices unsigned: numba then looks for no negative ones, and LLVM copies whole runs of
# numbers. Views of rows would be counted, which takes longer than copying one.


def _pool(x: Any, y: Any, shape: tuple[int, ...], places: Pair, size: Pair, stride: Pair) -> None:
    n, rows, columns, channels = shape
    count, at = np.uint64(channels), np.uint64(0)
    for image in range(n):
        for r in range(places[0]):
            for s in range(places[1]):
                for i in range(size[0]):
                    for j in range(size[1]):
                        row, column = r * stride[0] + i, s * stride[1] + j
                        begin = np.uint64(((image * rows + row) * columns + column) * channels)
                        for c in range(count):
                            v, largest = x[begin + c], y[at + c]
                            # NaN stays, as in maximum
                            y[at + c] = v if i + j == 0 or v > largest or v != v else largest
                at += count


def _pool_vjp(
    x: Any, y: Any, dy: Any, dx: Any, remaining: Any, shape: tuple[int, ...], places: Pair, size: Pair
) -> None:
    n, rows, columns, channels = shape
    count, at = np.uint64(channels), np.uint64(0)
    for image in range(n):
        for r in range(places[0]):
            for s in range(places[1]):
                for c in range(count):
                    remaining[c] = dy[at + c]
                for i in range(size[0]):
                    for j in range(size[1]):
                        row, column = r * size[0] + i, s * size[1] + j
                        begin = np.uint64(((image * rows + row) * columns + column) * channels)
                        for c in range(count):
                            left = remaining[c]
                            share = left if x[begin + c] == y[at + c] else left - left  # 0, or NaN of an infinity
                            dx[begin + c] = share
                            remaining[c] = left - share
                at += count
