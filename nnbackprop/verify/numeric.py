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
    values, noise = np.full(len(directions), np.nan), 0.0
    for step in STEPS:
        pending = np.flatnonzero(np.isnan(values))
        if not pending.size:
            break
        rows = [_measure(value, point, name, directions[i], step * length, J0) for i in pending.tolist()]
        D, straddled, rounding = map(np.array, zip(*rows, strict=True))
        typical = float(np.sqrt(np.nanmean(np.square(np.concatenate([D, values])))))
        good = straddled <= STRICT * tolerance * typical + rounding
        values[pending[good]] = D[good]
        noise = max(noise, *rounding[good].tolist(), 0.0)
    return Slopes(values, noise)


def _measure(
    value: Value, point: Tensors, name: str, v: np.ndarray, length: float, J0: float
) -> tuple[float, float, float]:
    """The slope along v, by how much its two tests disagree, and its rounding."""
    at, t = point[name], length / float(np.linalg.norm(v))
    up, down, half_up, half_down = (value({**point, name: at + s * v}) for s in (t, -t, t / 2, -t / 2))
    whole, half = (up - down) / (2 * t), (half_up - half_down) / t
    q, q_half = (up - 2 * J0 + down) / t, 2 * (half_up - 2 * J0 + half_down) / t
    rounding = ROUNDING * max(abs(up), abs(down), abs(J0)) / t
    return (4 * half - whole) / 3, max(abs(whole - half), abs(q - 2 * q_half) / 2), rounding


def entry(shape: tuple[int, ...], flat: int) -> np.ndarray:
    """The direction of one number: 1 at place `flat`, 0 elsewhere."""
    v = np.zeros(shape)
    v.reshape(-1)[flat] = 1.0
    return v
