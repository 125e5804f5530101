"""Central differences with an estimate of their own rounding error, which detect kinks.

A derivative along v is taken at two step lengths, D(t) = (J(+t) - J(-t)) / 2t and D(t/2), and extrapolated to
(4 D(t/2) - D(t)) / 3, whose error is of order t^4 (Richardson). At a kink, where the slope jumps by d a share u of
the step away, the two differ by d/2 ((1-u) - max(1-2u, 0)), and the second differences by q(t) = d (1-u), where a
smooth J has q(t) = 2 q(t/2). The two tests are blind to a kink at different u, so one of them always sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Tensors = Mapping[str, np.ndarray]
Value = Callable[[Tensors], float]

STEP_LENGTHS = (1e-4, 1e-5, 1e-6)
"""Step lengths as shares of the tensor's norm; each is tried where the one before met a kink."""

RELATIVE_ROUNDING_ERROR = 32 * float(np.finfo(np.float64).eps)
"""Relative rounding error allowed in a value of J, as a sum over a batch makes it."""

NOISE_STEP_LENGTHS = (1e-9, 1e-7)
"""Step lengths at which J's noise is measured: rounding shows at the first, a staircase at the second."""

NOISE_DEVIATIONS = 16.0
"""Standard deviations of that noise that are allowed."""

MIN_RMS = 1e-2
"""A tensor with a smaller root mean square than this is moved as if it had this one."""

KINK_TOLERANCE = 0.1
"""The two kink tests must agree to this share of the tolerance."""


@dataclass(frozen=True)
class Derivatives:
    """dJ along each direction, float64 (k,), NaN where J has a kink; `noise` is their rounding error."""

    values: np.ndarray
    noise: float

    @property
    def kinks(self) -> int:
        """How many directions met a kink."""
        return int(np.count_nonzero(np.isnan(self.values)))


def relative_error(difference: float, size: float, noise: float, tolerance: float) -> float:
    """difference / size, or what counts as at most `tolerance` where the noise of the derivatives explains it."""
    scale = max(size, noise / tolerance) if difference <= noise else size
    return difference / scale if scale else 0.0


def derivatives(
    value: Value, point: Tensors, name: str, directions: Sequence[np.ndarray], tolerance: float
) -> Derivatives:
    """Derivatives of J at `point` along `directions`, each of the shape of tensor `name`.

    One is accepted where both kink tests agree to a tenth of `tolerance` of the directions' typical derivative,
    and rounding.
    """
    at = point[name]
    length = max(float(np.linalg.norm(at)), MIN_RMS * at.size**0.5)
    J0 = value(point)
    error = max(
        RELATIVE_ROUNDING_ERROR * abs(J0), NOISE_DEVIATIONS * _noise(value, point, name, directions[0], length)
    )
    values, noise = np.full(len(directions), np.nan), 0.0
    for step in STEP_LENGTHS:
        pending = np.flatnonzero(np.isnan(values))
        if not pending.size:
            break
        rows = [_extrapolated(value, point, name, directions[i], step * length, J0) for i in pending.tolist()]
        D, disagreement, t = map(np.array, zip(*rows, strict=True))
        finite = np.concatenate([D, values])
        finite = finite[np.isfinite(finite)]
        typical = float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0
        good = disagreement <= KINK_TOLERANCE * tolerance * typical + error / t
        values[pending[good]] = D[good]
        noise = max(noise, *(error / t[good]).tolist(), 0.0)
    return Derivatives(values, noise)


def partial_derivatives(
    value: Value, point: Tensors, name: str, entries: Sequence[int], tolerance: float
) -> Derivatives:
    """Derivatives with respect to single entries of tensor `name`, by their flat index.

    Where all steps of the tensor's size met a kink, or left a domain, those of the entry's own size are
    tried.
    """
    directions = [np.zeros(point[name].shape) for _ in entries]
    for v, i in zip(directions, entries, strict=True):
        v.flat[i] = 1.0
    found = derivatives(value, point, name, directions, tolerance)
    values, noise = found.values.copy(), found.noise
    for k in np.flatnonzero(np.isnan(values)).tolist():
        size = abs(float(point[name].flat[entries[k]]))
        if size and (near := _near_entry(value, point, name, directions[k], size, tolerance)):
            values[k], noise = near[0], max(noise, near[1])
    return Derivatives(values, noise)


def _near_entry(
    value: Value, point: Tensors, name: str, v: np.ndarray, size: float, tolerance: float
) -> tuple[float, float] | None:
    """The derivative along v by steps that are shares of `size`, and its noise; None where none is exact."""
    J0 = value(point)
    error = max(RELATIVE_ROUNDING_ERROR * abs(J0), NOISE_DEVIATIONS * _noise(value, point, name, v, size))
    for step in STEP_LENGTHS:
        D, disagreement, t = _extrapolated(value, point, name, v, step * size, J0)
        if max(disagreement, error / t) <= KINK_TOLERANCE * tolerance * abs(D):
            return D, error / t
    return None


def _noise(value: Value, point: Tensors, name: str, v: np.ndarray, length: float) -> float:
    """Standard deviation of the noise in J along v.

    A logarithm of 1 - a, with a near 1, has lost digits before J is rounded. Over steps too short for J to bend,
    its fourth differences are noise, of a deviation sqrt(70) that of J (More and Wild, Estimating computational
    noise, 2011).
    """
    largest = 0.0
    for step in NOISE_STEP_LENGTHS:
        t = step * length / float(np.linalg.norm(v))
        line = np.array([value({**point, name: point[name] + i * t * v}) for i in range(1, 10)])
        deviation = float(np.sqrt(np.mean(np.diff(line, 4) ** 2) / 70))
        largest = max(largest, deviation) if np.isfinite(deviation) else largest
    return largest


def _extrapolated(
    value: Value, point: Tensors, name: str, v: np.ndarray, length: float, J0: float
) -> tuple[float, float, float]:
    """The derivative along v, by how much its two kink tests disagree, and the step in units of v."""
    at, t = point[name], length / float(np.linalg.norm(v))
    up, down, half_up, half_down = (value({**point, name: at + s * v}) for s in (t, -t, t / 2, -t / 2))
    whole, half = (up - down) / (2 * t), (half_up - half_down) / t
    q, q_half = (up - 2 * J0 + down) / t, 2 * (half_up - 2 * J0 + half_down) / t
    return (4 * half - whole) / 3, max(abs(whole - half), abs(q - 2 * q_half) / 2), t
