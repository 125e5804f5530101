"""How far two arrays are from each other: the one comparison of parity and replay."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Difference(NamedTuple):
    """max |a - b|, ||a - b|| and ||a - b|| / ||b||."""

    absolute: float
    norm: float
    relative: float


def difference(a: np.ndarray, b: np.ndarray) -> Difference:
    """Compare `a` with the reference `b`, of the same shape, in float64.

    All three are infinite where a - b has a NaN or an infinity. Where b is zero, the relative difference is 0 if a
    is zero too, else infinite.
    """
    a, b = a.astype(float), b.astype(float)  # squares of small float32 numbers would underflow
    with np.errstate(all="ignore"):  # inf - inf is handled below
        d = a - b
        absolute, distance, size = float(np.max(np.abs(d), initial=0.0)), norm(d), norm(b)
    if not (math.isfinite(distance) and math.isfinite(absolute)):
        return Difference(math.inf, math.inf, math.inf)
    if size == 0.0:
        return Difference(absolute, distance, 0.0 if distance == 0.0 else math.inf)
    return Difference(absolute, distance, distance / size)


def norm(*arrays: np.ndarray) -> float:
    """The Euclidean norm of all numbers of `arrays`, in float64."""
    squares = (np.sum(np.square(a, dtype=np.float64)) for a in arrays)
    return math.sqrt(sum(squares))  # np.linalg.norm wakes a thread pool for each tensor
