"""`fuse` on the CPU: numba compiles an elementwise kernel into one pass over memory.

NumPy and PyTorch make a pass for each operator. Adam's update of 400,000 float32 numbers, 15 operators, took
3.6 ms in NumPy and 0.12 ms in one pass. One thread only: numba's pool and OpenBLAS's fight over the cores, and a
step with both took four times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .namespace import ElementwiseKernel
from .tree import Array

MIN_COMPILED_SIZE = 1 << 12
"""Elements of the smallest array worth a compiled loop: a small network never waits for the compiler."""

EXACTLY_ROUNDED = frozenset({"abs", "maximum", "minimum", "sqrt"})
"""Functions whose results IEEE 754 defines exactly, and which numba vectorises.

A kernel that calls others is not compiled: numba's exp, tanh and where take 4 to 80 times as long as NumPy's, and
exp and tanh round differently.
"""


@lru_cache(maxsize=1)
def compiler() -> Any:
    """The module numba, or None where it is not installed or does not work with this NumPy."""
    try:
        import numba
    except Exception:
        return None
    return numba


def is_compilable(first: Array, *others: Array) -> bool:
    """Whether arrays are as loops over flat numbers take them, and the first is large enough for the compiler."""
    suited = all(a.flags.c_contiguous and a.dtype == first.dtype for a in (first, *others))
    large = first.size >= MIN_COMPILED_SIZE
    return suited and large and first.dtype in (np.float32, np.float64) and compiler() is not None


class _NameRecorder:
    """NumPy, recording the names that are used."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.used.add(name)
        return getattr(np, name)


@lru_cache(maxsize=256)
def compile_loop(
    kernel: ElementwiseKernel, ndims: tuple[int, ...], dtype: np.dtype, donated: tuple[int, ...] = ()
) -> Callable[..., Any] | None:
    """The compiled loop over operands of `ndims` axes; None where the kernel is not one that numba compiles.

    That is over flat arrays and scalars, or over matrices (n, k), rows (k,) that go with each row of theirs, and
    scalars.

    Integers agree with NumPy's, floats to 2 ulp. Scalars are cast to the arrays' dtype first, so that a kernel's
    arithmetic among scalars alone is rounded to it, and NumPy's is in double: 1 - 0.999 is off by 1e-5 in float32.
    numba computes integers in 64 bits: a kernel must be right modulo 2^32 whatever stands above, so no comparison
    and no division.
    """
    xp = _NameRecorder()
    probe = [np.ones((1,) * ndim, dtype) if ndim else dtype.type(1) for ndim in ndims]
    try:
        with np.errstate(all="ignore"):
            result = kernel(xp, *probe)
    except Exception:  # of a formula that takes no plain numbers: the caller evaluates it on whole arrays
        return None
    outs: tuple[Array, ...] = result if isinstance(result, tuple) else (result,)
    if (
        not xp.used <= EXACTLY_ROUNDED
        or any(np.ndim(o) != max(ndims) for o in outs)
        or (numba := compiler()) is None
    ):
        return None
    try:
        # not inlined, a long kernel is not vectorised
        inner = numba.njit(kernel, error_model="numpy", forceinline=True)
        source = _loop_source(inner, ndims, dtype, [o.dtype for o in outs], donated, isinstance(result, tuple))
        loop = numba.njit(source, error_model="numpy")
        # compiled by a first call: only then does numba raise what it cannot compile
        loop(*(a if ndim else a.item() for a, ndim in zip(probe, ndims, strict=True)))
    except Exception:  # a NumbaError, or a TypeError of a callable that is no function
        return None
    return loop


@lru_cache(maxsize=1)
def compile_outer_product() -> Callable[[Array, Array], Array] | None:
    """a b for a column a (m, 1) and a row b (1, k); None without numba.

    NumPy takes four times as long for 784 by 100, as it begins anew at every row. There is one term to a sum: the
    bits are equal.
    """
    if (numba := compiler()) is None:
        return None

    def outer_product(a: Array, b: Array) -> Array:
        y = np.empty((a.shape[0], b.shape[1]), a.dtype)
        for i in range(a.shape[0]):
            for j in range(b.shape[1]):
                y[i, j] = a[i, 0] * b[0, j]
        return y

    return numba.njit(outer_product)


def _loop_source(
    inner: ElementwiseKernel,
    ndims: tuple[int, ...],
    dtype: np.dtype,
    outs: Sequence[np.dtype],
    donated: Sequence[int],
    returns_tuple: bool,
) -> Callable[..., Any]:
    """The loop as Python for numba, such as this of `sgd_kernel` where nothing is donated.

        def loop(a0, a1, a2):
            a2 = np.float32(a2)
            y0 = np.empty(a0.shape, np.float32)
            for i in range(a0.shape[0]):
                y0[i] = inner(np, a0[i], a1[i], a2)
            return y0

    Of matrices, two loops go over `a0[i, j]` and the `a1[j]` of a row.

    A donated array is written under its own name: under a second one, LLVM would assume an overlap, and not
    vectorise. Integers stay Python's, so that all of a kernel's are 64 bits to numba, which else refuses a tuple
    of a key and a sum of keys.
    """
    names, indices = [f"a{k}" for k in range(len(ndims))], ["i"] if max(ndims) == 1 else ["i", "j"]
    at = {0: "", 1: f"[{indices[-1]}]", 2: "[i, j]"}
    scalars = [a for a, ndim in zip(names, ndims, strict=True) if not ndim and dtype.kind == "f"]
    elements = [a + at[ndim] for a, ndim in zip(names, ndims, strict=True)]
    ys = [names[k] for k in donated] or [f"y{k}" for k in range(len(outs))]
    new = [] if donated else [f"y{k} = np.empty(a0.shape, np.{d.name})" for k, d in enumerate(outs)]
    lines = [
        f"def loop({', '.join(names)}):",
        *(f"    {line}" for line in (*(f"{a} = np.{dtype.name}({a})" for a in scalars), *new)),
        *(f"    {' ' * axis}for {index} in range(a0.shape[{axis}]):" for axis, index in enumerate(indices)),
        f"        {', '.join(y + at[max(ndims)] for y in ys)} = inner(np, {', '.join(elements)})",
        f"    return {', '.join(ys)}{',' if returns_tuple else ''}",
    ]
    scope: dict[str, Any] = {"np": np, "inner": inner}
    exec("\n".join(lines), scope)
    return scope["loop"]
