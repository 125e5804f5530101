"""Arguments of a column-major GEMM for a product of row-major matrices; no library is needed.

BLAS reads memory down the columns, so that it sees of a row-major matrix the transpose. C = A B is asked for as
C^T = B^T A^T: the same memory, the operands exchanged, nothing copied.
"""

from __future__ import annotations

from typing import NamedTuple

Layout = tuple[tuple[int, ...], tuple[int, ...]]
"""Shape and strides of an array, the strides counted in elements."""

MAX_SIZE = 2**31 - 1
"""The largest number that BLAS takes for a size."""


class Gemm(NamedTuple):
    """Arguments of GEMM for C = A B with C row-major; its first operand is B and its second A.

    C^T (m, n) = op(B) op(A), where op transposes what column-major reading shows if `transa`, or `transb`, is set.
    """

    transa: bool
    transb: bool
    m: int
    n: int
    k: int
    lda: int
    ldb: int
    ldc: int


def gemm(a: Layout, b: Layout) -> Gemm | None:
    """How GEMM computes a b, a (r, k) and b (k, c), into a row-major (r, c); None where it cannot.

    It can where each of the two lies row by row or column by column, with gaps between those or none.
    """
    (rows, inner), (other, columns) = a[0], b[0]
    first, second = _operand(b), _operand(a)
    sizes = rows, columns, inner
    if first is None or second is None or inner != other or min(sizes) < 1:
        return None
    call = Gemm(first[0], second[0], columns, rows, inner, first[1], second[1], columns)
    return call if max(call) <= MAX_SIZE else None


def _operand(layout: Layout) -> tuple[bool, int] | None:
    """Whether a matrix must be transposed from what it is when read row by row, and its leading dimension.

    Along an axis of length 1 a stride says nothing.
    """
    (rows, columns), (down, right) = layout
    if (right == 1 or columns == 1) and (down >= columns or rows == 1):
        return False, down if rows > 1 else columns
    if (down == 1 or rows == 1) and right >= rows:
        return True, right
    return None
