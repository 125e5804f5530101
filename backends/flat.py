"""Whether one loop can run over several NumPy arrays: of one shape and dtype, contiguous, and scalars besides."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

DTYPES = frozenset(np.dtype(name) for name in ("float32", "float64", "int32"))


def varies(number: Any) -> bool:
    """Whether this is an array of more than one number; one that repeats a number (`broadcast_to`) is a scalar."""
    return isinstance(number, np.ndarray) and any(number.strides)


def alike(numbers: tuple[Any, ...]) -> bool:
    """Whether one loop can run over all arrays among `numbers`, the first of which is one."""
    like = numbers[0]
    if like.dtype not in DTYPES or not varies(like):
        return False
    for a in numbers[1:]:
        if varies(a):
            if a.shape != like.shape or a.dtype != like.dtype or not a.flags.c_contiguous:
                return False
        elif np.shape(a) not in ((), like.shape) or (like.dtype.kind == "i" and not _is_integer(a)):
            return False
    return like.flags.c_contiguous


def argument(number: Any, dtype: np.dtype) -> Any:
    """What a loop over flat arrays is called with: an array flat, one number in the arrays' dtype.

    Integers go as Python's, so that all of a rule's integers are 64 bits to numba, which else refuses a tuple
    of a key and a sum of keys.
    """
    if varies(number):
        return number.reshape(-1)
    scalar = dtype.type(number.flat[0] if isinstance(number, np.ndarray) else number)
    return scalar.item() if dtype.kind == "i" else scalar


def _is_integer(number: Any) -> bool:
    return number.dtype.kind == "i" if isinstance(number, np.ndarray) else isinstance(number, Integral)
