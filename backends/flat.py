"""Several NumPy arrays as one loop can run over them: flat, of one length and dtype, and plain numbers besides."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

DTYPES = frozenset(np.dtype(name) for name in ("float32", "float64", "int32"))


def flatten(numbers: Sequence[Any]) -> list[Any] | None:
    """Arrays flat, as views of what they were, and Python numbers for whatever is one number.

    An array that repeats one number (`broadcast_to`) is one number. None where no one loop can run over them: the
    first is no array, shapes or dtypes are several, or not of `DTYPES`, one does not lie contiguous, or a number
    among integers is none.
    """
    like, flat = numbers[0], []
    if like.dtype not in DTYPES or not any(like.strides):
        return None
    for a in numbers:
        if not isinstance(a, np.ndarray):
            if like.dtype.kind == "i" and not isinstance(a, Integral):
                return None
            flat.append(a.item() if isinstance(a, np.generic) else a)
        elif any(a.strides):
            if a.shape != like.shape or a.dtype != like.dtype or not a.flags.c_contiguous:
                return None
            flat.append(a.reshape(-1))
        elif a.shape not in ((), like.shape) or (like.dtype.kind == "i" and a.dtype.kind != "i"):
            return None
        else:
            flat.append(a.item(0))
    return flat


def shaped(answer: Any, shape: tuple[int, ...]) -> Any:
    """What a loop over flat arrays made, an array or a tuple of them, in the shape they had."""
    if isinstance(answer, tuple):
        return tuple(out.reshape(shape) for out in answer)
    return answer.reshape(shape)
