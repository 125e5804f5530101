"""GEMM arguments for row-major products, judged by a GEMM written from the definition of BLAS."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from backends.cuda.gemm import MAX_SIZE, Gemm, gemm


def layout(a: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return a.shape, tuple(stride // a.itemsize for stride in a.strides)


def blas(call: Gemm, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """C = op(A) op(B), where element (i, j) of X is memory[i + j ldx]: the reference dgemm, entry by entry."""
    memory = [as_memory(x) for x in (b, a)]  # our call's first operand is b
    out = np.full(call.ldc * call.n, np.nan)
    for i, j in product(range(call.m), range(call.n)):
        terms = []
        for p in range(call.k):
            left = (p + i * call.lda) if call.transa else (i + p * call.lda)
            right = (j + p * call.ldb) if call.transb else (p + j * call.ldb)
            terms.append(memory[0][left] * memory[1][right])
        out[i + j * call.ldc] = sum(terms)
    return out.reshape(call.n, call.m)


def as_memory(x: np.ndarray) -> np.ndarray:
    """What lies from an array's first element on, to the end of its last."""
    length = 1 + sum((n - 1) * s // x.itemsize for n, s in zip(x.shape, x.strides, strict=True))
    return np.lib.stride_tricks.as_strided(x, (length,), (x.itemsize,))


def operands(rows: int, columns: int, seed: int) -> dict[str, np.ndarray]:
    """A (rows, columns) matrix in every way it may lie."""
    rng = np.random.default_rng(seed)
    return {
        "by rows": rng.standard_normal((rows, columns)),
        "transposed": rng.standard_normal((columns, rows)).mT,
        "part of wider rows": rng.standard_normal((rows, columns + 3))[:, 1 : columns + 1],
        "part of longer columns": rng.standard_normal((columns, rows + 2)).mT[1 : rows + 1, :],
        "every other row": rng.standard_normal((2 * rows, columns))[::2, :],
    }


SIZES = [(1, 1, 1), (3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 5), (3, 1, 1), (1, 4, 1)]


@pytest.mark.parametrize(("rows", "inner", "columns"), SIZES)
def test_gemm_multiplies_operands_of_any_layout(rows: int, inner: int, columns: int) -> None:
    pairs = product(operands(rows, inner, 1).values(), operands(inner, columns, 2).values())
    for a, b in pairs:
        call = gemm(layout(a), layout(b))
        assert call is not None
        assert min(call.lda, call.ldb, call.ldc) >= 1
        assert call.lda >= (call.k if call.transa else call.m)  # what BLAS demands of leading dimensions
        assert call.ldb >= (call.n if call.transb else call.k)
        np.testing.assert_allclose(blas(call, a, b), np.einsum("ij,jk->ik", a, b), rtol=1e-13, atol=1e-14)


def test_transposed_operand_is_a_flag_and_no_copy() -> None:
    """x^T dz with x (120, 784) and dz (120, 512): the transpose is a flag, not an array."""
    x, dz = np.empty((120, 784)), np.empty((120, 512))
    assert gemm(layout(x.mT), layout(dz)) == Gemm(False, True, 512, 784, 120, 512, 784, 512)


def strided(shape: tuple[int, int], strides: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return shape, strides


FITS = strided((4, 2), (2, 1))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (strided((3, 4), (8, 2)), FITS),  # every other column: neither rows nor columns lie together
        (strided((3, 4), (2, 1)), FITS),  # rows that overlap, as a sliding window's do
        (strided((3, 4), (1, 2)), FITS),  # columns that do
        (strided((3, 4), (0, 1)), FITS),  # one row three times, as broadcast_to makes it
        (strided((3, 4), (-4, 1)), FITS),  # upside down
        (strided((3, 5), (5, 1)), FITS),  # no product at all
        (strided((0, 4), (4, 1)), FITS),
        (strided((3, 0), (1, 1)), strided((0, 2), (2, 1))),
        (strided((3, 4), (MAX_SIZE + 1, 1)), FITS),
    ],
)
def test_layout_that_gemm_cannot_read_gives_none(a: tuple, b: tuple) -> None:
    assert gemm(a, b) is None
