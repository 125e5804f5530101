"""Convolutions on the CPU: the formulas of nn/layers/conv.py as sums of products over tiles, without windows.

A kernel's row on an image with channels last is a run of kw channels numbers, so that each of the three products
is one loop over images, places and the kernel, with other strides. x is (n, rows, columns, channels), dz
(n, rows', columns', filters) and W (kh kw channels, filters). The results are the formulas' but for rounding, and
the same on any number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .numba_fuse import is_compilable
from .numba_tiles import Axis, Contraction, contract
from .tree import Array

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]

BLOCKS = 16
"""Parts of a batch that threads take, and whose gradients of W are added up: as many on every machine."""

MIN_PLACES = 25
"""Places of the smallest image z: of fewer, a whole matrix product is faster."""


class _Sizes(NamedTuple):
    """The lengths of a convolution's axes; `rows` and `columns` with the padding, `down` and `across` of z."""

    n: int
    rows: int
    columns: int
    channels: int
    down: int
    across: int
    filters: int


def conv2d(x: Array, W: Array, size: Pair, stride: Pair, padding: Padding) -> Array | None:
    """z (n, rows', columns', filters): z[r, s] = the sum over i, j of x[r stride + i, s stride + j] W[i, j]."""
    s, (kh, kw) = _sizes(x.shape, W.shape[1], size, stride, padding), size
    if W.shape[0] != kh * kw * s.channels or not _has_loop(s, x, W):
        return None
    row, run, z_row = s.columns * s.channels, kw * s.channels, s.across * s.filters
    terms = Contraction(
        images=Axis(s.n, s.rows * row, 0, s.down * z_row),
        outer=(Axis(s.down, stride[0] * row, 0, z_row),),
        rows=Axis(s.across, stride[1] * s.channels, 0, s.filters),
        columns=s.filters,
        sums=(Axis(kh, row, run * s.filters), Axis(run, 1, s.filters)),
        overwrites=True,
    )
    z = np.empty((s.n, s.down, s.across, s.filters), x.dtype)
    contract(terms, _pad(x, padding), W, z, _blocks(s.n))
    return z


def conv2d_weight_grad(x: Array, dz: Array, size: Pair, stride: Pair, padding: Padding) -> Array | None:
    """dW (kh kw channels, filters): dW[i, j] = the sum of x[r stride + i, s stride + j]^T dz[r, s]."""
    s, (kh, kw) = _sizes(x.shape, dz.shape[3], size, stride, padding), size
    if dz.shape[:3] != (s.n, s.down, s.across) or not _has_loop(s, x, dz):
        return None
    row, run, z_row = s.columns * s.channels, kw * s.channels, s.across * s.filters
    terms = Contraction(
        images=Axis(s.n, s.rows * row, s.down * z_row),
        outer=(Axis(kh, row, 0, run * s.filters),),
        rows=Axis(run, 1, 0, s.filters),
        columns=s.filters,
        sums=(Axis(s.down, stride[0] * row, z_row), Axis(s.across, stride[1] * s.channels, s.filters)),
    )
    blocks = _blocks(s.n)
    dW = np.zeros((len(blocks), kh * run, s.filters), x.dtype)
    contract(terms, _pad(x, padding), dz, dW, blocks)
    return np.sum(dW, axis=0)


def conv2d_input_grad(
    dz: Array, W: Array, shape: tuple[int, ...], size: Pair, stride: Pair, padding: Padding
) -> Array | None:
    """dx of `shape`: dz[r, s] W[i, j]^T, added at every place [r stride + i, s stride + j]."""
    s, (kh, kw) = _sizes(shape, dz.shape[3], size, stride, padding), size
    if dz.shape[:3] != (s.n, s.down, s.across) or not _has_loop(s, dz, W):
        return None
    row, weights, z_row = s.columns * s.channels, s.filters * s.channels, s.across * s.filters
    terms = Contraction(
        images=Axis(s.n, s.down * z_row, 0, s.rows * row),
        outer=(
            Axis(kh, 0, kw * weights, row),
            Axis(kw, 0, weights, s.channels),
            Axis(s.down, z_row, 0, stride[0] * row),
        ),
        rows=Axis(s.across, s.filters, 0, stride[1] * s.channels),
        columns=s.channels,
        sums=(Axis(1), Axis(s.filters, 1, s.channels)),
    )
    W = np.ascontiguousarray(W.reshape(kh * kw, s.channels, s.filters).swapaxes(1, 2))
    dx = np.zeros((s.n, s.rows, s.columns, s.channels), dz.dtype)
    contract(terms, dz, W, dx, _blocks(s.n))
    (top, bottom), (left, right) = padding
    return np.ascontiguousarray(dx[:, top : s.rows - bottom, left : s.columns - right, :])


def _sizes(shape: tuple[int, ...], filters: int, size: Pair, stride: Pair, padding: Padding) -> _Sizes:
    """Of images of `shape`."""
    rows, columns = (length + sum(lines) for length, lines in zip(shape[1:3], padding, strict=True))
    places = (rows - size[0]) // stride[0] + 1, (columns - size[1]) // stride[1] + 1
    return _Sizes(shape[0], rows, columns, shape[3], *places, filters)


def _has_loop(sizes: _Sizes, a: Array, b: Array) -> bool:
    """Whether the arrays are as the loops take them, and large enough to be worth the compiler."""
    return max(sizes.down, 0) * sizes.across >= MIN_PLACES and is_compilable(a, b)


def _pad(x: Array, padding: Padding) -> Array:
    """x with its lines of zeros."""
    return np.pad(x, ((0, 0), *padding, (0, 0))) if any(map(any, padding)) else x


def _blocks(n: int) -> list[tuple[int, int]]:
    """The first image and the one past the last of each part of a batch of n; sizes differ by one at most."""
    count = min(n, BLOCKS)
    return [(n * k // count, n * (k + 1) // count) for k in range(count)]
