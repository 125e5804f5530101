"""CuPy functions in fewer kernels, each of which is a node of a captured graph, and without host copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import cupy

from backends.tree import Array


def constant(create: Callable[..., Array]) -> Callable[..., Array]:
    """The creation function `create`, with its results cached: arrays that must not be written to.

    They are never freed, as captured graphs read them. A new one within a capture is refused: it would be created
    in the graph's memory, and not before the graph is launched.
    """

    @cache
    def cached(*arguments: Any, dtype: Any) -> Array:
        if cupy.cuda.get_current_stream().is_capturing():
            raise RuntimeError(f"the constant {create.__name__}{arguments} is new: no step before had it")
        return create(*arguments, dtype=dtype)

    return lambda *arguments, dtype, device=None: cached(*arguments, dtype=dtype)


def concat(arrays: Sequence[Array], axis: int = 0) -> Array:
    """`xp.concat` along an axis of at least 0; arrays of one shape by one kernel.

    CuPy's own takes a kernel for each array, and for more than eight copies a table of addresses from the host,
    which a capture does not allow.
    """
    first, count = arrays[0], len(arrays)
    if any((a.shape, a.dtype) != (first.shape, first.dtype) for a in arrays):
        return cupy.concatenate(arrays, axis=axis)
    before, size, after = first.shape[:axis], first.shape[axis], first.shape[axis + 1 :]
    result = cupy.empty((*before, count * size, *after), dtype=first.dtype)
    leading = (slice(None),) * axis
    copy_all(*(result[(*leading, slice(k * size, (k + 1) * size), ...)] for k in range(count)), *arrays)
    return result


def stack(arrays: Sequence[Array], axis: int = 0) -> Array:
    """`xp.stack` along a new axis of at least 0."""
    return concat([a[(*(slice(None),) * axis, None, ...)] for a in arrays], axis)


@cupy.fuse(kernel_name="copy_all")  # type: ignore[untyped-decorator]
def copy_all(*arrays: Array) -> None:
    """Copy the second half of `arrays` into the first."""
    half = len(arrays) // 2
    for target, a in zip(arrays[:half], arrays[half:], strict=True):
        target[...] = a


@cupy.fuse(kernel_name="sign")  # type: ignore[untyped-decorator]
def sign(x: Array) -> Array:
    """`xp.sign`; array_api_compat puts in the NaN by a boolean mask, which waits for the device."""
    return cupy.where(cupy.isnan(x), x, cupy.sign(x))


def kernel_name(function: Callable[..., Any]) -> str:
    """The name of a function as one of C's, which a lambda's is not; a callable object has none."""
    name = getattr(function, "__name__", "")
    return name if name.isidentifier() else "kernel"


def all_true(x: Array, axis: int | None = None) -> Array:
    """`xp.all` without CUB, whose kernels take seconds to compile."""
    accelerators = cupy._core.get_reduction_accelerators()
    cupy._core.set_reduction_accelerators([])
    try:
        return cupy.all(x, axis=axis)
    finally:
        cupy._core.set_reduction_accelerators(accelerators)
