"""Pooling: the windows of an image by their maximum or their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from backends import Array, Formula
from nnbackprop.nn.initializers import InitRng
from nnbackprop.nn.rng import RngKey

from .base import Backward, Cache, LayerParams, Shape, use_python_numbers
from .windows import AxisWindow, Pair, image_shape, pair, sum_windows, window_counts, windows


@dataclass(frozen=True)
class _Pool2D:
    """A pooling of windows: `pool_size` and `stride` are numbers, or pairs for rows and columns."""

    pool_size: int | Pair = 2
    stride: int | Pair | None = None

    def __post_init__(self) -> None:
        use_python_numbers(self)
        _ = self._size, self._stride  # which check them

    @property
    def _size(self) -> Pair:
        return pair(self.pool_size, "pool_size")

    @property
    def _stride(self) -> Pair:
        return self._size if self.stride is None else pair(self.stride, "stride")

    def axis_windows(self, in_shape: Shape) -> tuple[AxisWindow, AxisWindow]:
        """The windows along rows and columns of images of `in_shape`."""
        down, across = zip(self._size, self._stride, strict=True)
        return AxisWindow(*down), AxisWindow(*across)

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        """No parameters; rows and columns are fewer."""
        places = window_counts(in_shape, self._size, self._stride, type(self).__name__)
        return {}, (*places, in_shape[2])


@dataclass(frozen=True)
class MaxPool2D(_Pool2D):
    """y[r, s, c] = max over i, j of x[r stride + i, s stride + j, c]: the largest of a window, channel by channel.

    x is (n, rows, columns, c), y (n, rows', columns', c) with rows' = (rows - size) // stride + 1; lines left over
    are not read. The stride is the pool size unless given. Backward: each dy goes to where its maximum was, in
    a tie to the first, row by row, as in PyTorch; overlapping windows add. (Ranzato, Huang, Boureau and LeCun,
    Unsupervised learning of invariant feature hierarchies, CVPR 2007.)

    Raises:
        UsageError: a pool size or stride that is not one or two whole numbers of at least 1.
        ShapeError: when built, samples that are not (rows, columns, channels), or smaller than a window.
    """

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Cache]:
        """The largest number of each window (derivation, D41)."""
        y = xp.native(Formula.MAX_POOL, max_pool)(x, self._size, self._stride)
        return y, (x, y)

    def backward(self, xp: Any, params: LayerParams, cache: Cache, dy: Array, need_dx: bool) -> Backward:
        """Each dy to where its maximum was (derivation, D42)."""
        if not need_dx:
            return None, {}
        x, y = cache
        return xp.native(Formula.MAX_POOL_VJP, max_pool_vjp)(x, y, dy, self._size, self._stride), {}


@dataclass(frozen=True)
class AveragePool2D(_Pool2D):
    """y[r, s, c] = the mean over i, j of x[r stride + i, s stride + j, c], channel by channel.

    Shapes, stride and errors as MaxPool2D. Backward: each dy, divided by the size of a window, goes to all of it.
    (LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, 1998, whose
    subsampling has a learnt scale and shift besides.)
    """

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Shape]:
        """The mean of each window (derivation, D43)."""
        parts = windows(x, self._size, self._stride)
        return sum(parts[1:], parts[0]) / len(parts), x.shape[1:]

    def backward(self, xp: Any, params: LayerParams, cache: Shape, dy: Array, need_dx: bool) -> Backward:
        """Each dy, divided by the window's size, to all of the window (derivation, D44)."""
        if not need_dx:
            return None, {}
        count = math.prod(self._size)
        return sum_windows(xp, [dy / count] * count, self._size, self._stride, cache), {}


@dataclass(frozen=True)
class GlobalAveragePool2D:
    """y[c] = the mean of x over its rows and columns: x (n, rows, columns, c), y (n, c).

    Backward: dx = dy / (rows columns) at every place. (Lin, Chen and Yan, Network in network, ICLR 2014, 3.2.)

    Raises:
        ShapeError: when built, samples that are not (rows, columns, channels).
    """

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        return {}, image_shape(in_shape, "GlobalAveragePool2D")[2:]

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Shape]:
        """The mean of each channel (derivation, D45)."""
        return xp.mean(x, axis=(1, 2)), tuple(x.shape)

    def backward(self, xp: Any, params: LayerParams, cache: Shape, dy: Array, need_dx: bool) -> Backward:
        """dx = dy / (rows columns) at every place (derivation, D45)."""
        if not need_dx:
            return None, {}
        n, rows, columns, c = cache
        return xp.broadcast_to(xp.reshape(dy / (rows * columns), (n, 1, 1, c)), cache), {}


def max_pool(xp: Any, x: Array, size: Pair, stride: Pair) -> Array:
    """The largest number of each window (derivation, D41)."""
    return reduce(xp.maximum, windows(x, size, stride))


def max_pool_vjp(xp: Any, x: Array, y: Array, dy: Array, size: Pair, stride: Pair) -> Array:
    """dx: each dy at the first place of its window that holds the maximum (derivation, D42)."""
    return sum_windows(xp, maximum_vjp(xp, windows(x, size, stride), y, dy), size, stride, x.shape[1:])


def maximum_vjp(xp: Any, parts: Sequence[Array], y: Array, dy: Array) -> list[Array]:
    """dy for the first of `parts` that equals their maximum y, 0 for the others (derivation, D42)."""
    shares, rest = [], dy
    for part in parts:
        shares.append(xp.astype(part == y, dy.dtype) * rest)
        rest = rest - shares[-1]
    return shares
