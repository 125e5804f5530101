"""Numeric derivatives: central differences that know their own rounding, and notice when they straddle a kink.

A derivative along v is measured at two step lengths, D(t) = (J(+t) - J(-t)) / 2t and D(t/2), and taken as
(4 D(t/2) - D(t)) / 3, whose error is of order t^4 (Richardson). At a kink, where the slope jumps by d a share u of
the step away, the two differ by d/2 ((1-u) - max(1-2u, 0)), and the one-sided slopes by q(t) = d (1-u), where a
smooth J has q(t) = 2 q(t/2). The two tests fail to notice a kink at different u, so one of them always does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Tensors = Mapping[str, np.ndarray]
Value = Callable[[Tensors], float]

STEPS = (1e-4, 1e-5, 1e-6)
"""Step lengths, each tried where the one before straddled a kink, as shares of the tensor's norm."""

ROUNDING = 32 * float(np.finfo(np.float64).eps)
"""Relative error granted to a value of J: some tens of roundings, as in a sum over a batch."""

TINY = (1e-9, 1e-7)
"""Step lengths at which J's own error is looked for: noise shows at the first, a staircase at the second."""

SEEN = 16.0
"""Deviations of that error that are granted."""

SMALLEST = 1e-2
"""A tensor whose numbers are smaller than this is moved as if they were of this size."""

STRICT = 0.1
"""The two tests must agree to this share of the tolerance: what they miss is then well below it."""


@dataclass(frozen=True)
class Slopes:
    """dJ along each direction, float64 (k,), NaN where a kink was in the way; `noise` is what rounding adds."""

    values: np.ndarray
    noise: float


def slopes(value: Value, point: Tensors, name: str, directions: Sequence[np.ndarray], tolerance: float) -> Slopes:
    """Derivatives of J along `directions`, each of the shape of tensor `name`, at `point`.

    A slope is accepted where both tests agree to a tenth of `tolerance` of the directions' typical slope, and
    rounding.
    """
    at = point[name]
    length = max(float(np.linalg.norm(at)), SMALLEST * at.size**0.5)
    J0 = value(point)
    error = _error_of(value, point, name, directions[0], length, J0)
    values, noise = np.full(len(directions), np.nan), 0.0
    for step in STEPS:
        pending = np.flatnonzero(np.isnan(values))
        if not pending.size:
            break
        rows = [_measure(value, point, name, directions[i], step * length, J0) for i in pending.tolist()]
        D, straddled, t = map(np.array, zip(*rows, strict=True))
        known = np.concatenate([D, values])
        known = known[np.isfinite(known)]
        typical = float(np.sqrt(np.mean(known**2))) if known.size else 0.0
        good = straddled <= STRICT * tolerance * typical + error / t
        values[pending[good]] = D[good]
        noise = max(noise, *(error / t[good]).tolist(), 0.0)
    return Slopes(values, noise)


def _error_of(value: Value, point: Tensors, name: str, v: np.ndarray, length: float, J0: float) -> float:
    """The error of a value of J: some roundings, or what is seen where J should be a straight line.

    A logarithm of 1 - a, with a near 1, has lost digits before J is ever rounded. Over steps far too short for J
    to bend, on one side of a kink here, its fourth differences are noise, of a deviation sqrt(70) that of J (More
    and Wild, Estimating computational noise, 2011).
    """
    at, error = point[name], ROUNDING * abs(J0)
    for step in TINY:
        t = step * length / float(np.linalg.norm(v))
        line = np.array([value({**point, name: at + i * t * v}) for i in range(1, 10)])
        seen = float(np.sqrt(np.mean(np.diff(line, 4) ** 2) / 70))
        error = max(error, SEEN * seen) if np.isfinite(seen) else error
    return error


def _measure(
    value: Value, point: Tensors, name: str, v: np.ndarray, length: float, J0: float
) -> tuple[float, float, float]:
    """The slope along v, by how much its two tests disagree, and the step in units of v."""
    at, t = point[name], length / float(np.linalg.norm(v))
    up, down, half_up, half_down = (value({**point, name: at + s * v}) for s in (t, -t, t / 2, -t / 2))
    whole, half = (up - down) / (2 * t), (half_up - half_down) / t
    q, q_half = (up - 2 * J0 + down) / t, 2 * (half_up - 2 * J0 + half_down) / t
    return (4 * half - whole) / 3, max(abs(whole - half), abs(q - 2 * q_half) / 2), t


def entry(shape: tuple[int, ...], flat: int) -> np.ndarray:
    """The direction of one number: 1 at place `flat`, 0 elsewhere."""
    v = np.zeros(shape)
    v.reshape(-1)[flat] = 1.0
    return v
