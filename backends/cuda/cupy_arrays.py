"""What makes and joins CuPy's arrays, in fewer kernels: each one in a captured step is a node, and takes time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import cupy

from backends.base import Array


def kept(make: Callable[..., Array]) -> Callable[..., Array]:
    """`make`, whose array is made once and handed out for every call alike: a constant, which nobody may write to.

    It is kept for good, as captured graphs read it. One that is new while a graph is captured is refused: it
    would be made in the graph's memory, and not before the graph is launched.
    """

    @cache
    def once(*arguments: Any, dtype: Any) -> Array:
        if cupy.cuda.get_current_stream().is_capturing():
            raise RuntimeError(f"the constant {make.__name__}{arguments} is new: no step before had it")
        return make(*arguments, dtype=dtype)

    def constant(*arguments: Any, dtype: Any, device: Any = None) -> Array:
        return once(*arguments, dtype=dtype)

    return constant


def concat(arrays: Sequence[Array], axis: int = 0) -> Array:
    """The arrays one after the other along `axis`, counted from the first; those of one shape by one kernel.

    CuPy's own takes a kernel for each, and of more than eight reads their addresses out of a table that it copies
    from the host, which no capture allows.
    """
    first, count = arrays[0], len(arrays)
    if any((a.shape, a.dtype) != (first.shape, first.dtype) for a in arrays):
        return cupy.concatenate(arrays, axis=axis)
    before, size, after = first.shape[:axis], first.shape[axis], first.shape[axis + 1 :]
    whole = cupy.empty((*before, count * size, *after), dtype=first.dtype)
    skip = (slice(None),) * axis
    fill(*(whole[(*skip, slice(k * size, (k + 1) * size), ...)] for k in range(count)), *arrays)
    return whole


def stack(arrays: Sequence[Array], axis: int = 0) -> Array:
    """The arrays side by side along a new `axis`, counted from the first."""
    return concat([a[(*(slice(None),) * axis, None, ...)] for a in arrays], axis)


@cupy.fuse(kernel_name="fill")  # type: ignore[untyped-decorator]
def fill(*arrays: Array) -> None:
    """Each of the first half of `arrays` with what is in its fellow of the second half."""
    half = len(arrays) // 2
    for place, a in zip(arrays[:half], arrays[half:], strict=True):
        place[...] = a
