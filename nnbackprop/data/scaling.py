"""Scaling of inputs, and of targets that are numbers: each kind is affine and fitted to the training data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from nnbackprop.errors import ScalingError, UsageError

from .dataset import Dataset, require_dataset
from .mapped import BLOCK_ROWS, Samples, blocks

ScalingKind = Literal["none", "unit", "standard", "per-feature", "rashid"]
TargetScalingKind = Literal["none", "standard", "mean"]
CHUNK_ROWS = BLOCK_ROWS  # 256 * 255^2 fits int32
LARGE_SHIFT = 2.0**14  # |mean| / std from which float32 loses more than 2^-10 of a standard deviation


@dataclass(frozen=True, eq=False)
class Scaling:
    """x' = x * scale + shift; both float64, 0-d or of a sample's shape.

    `target_scaling`, where there is one, is that of targets that are numbers, (k,): the network learns the scaled
    ones, and metrics and predictions are in the targets' own units again.
    """

    scale: np.ndarray
    shift: np.ndarray
    target_scaling: Scaling | None = None

    @classmethod
    def identity(cls) -> Scaling:
        """Inputs as they are."""
        return cls(np.array(1.0), np.array(0.0))

    def apply(self, inputs: Samples, dtype: str, copy: bool = True) -> np.ndarray:
        """Scaled inputs (..., *sample_shape) in `dtype`, computed in `dtype` as on a device.

        Numbers of float64 with a mean that is large beside their spread are scaled in float64 and rounded after.
        Without `copy` an array that has that dtype is written to.
        """
        x: np.ndarray = inputs.astype(dtype, copy=copy)
        x *= self.scale.astype(dtype)
        x += self.shift.astype(dtype)
        if inputs.dtype == np.float64 != x.dtype and (large := has_large_shift(self)).any():
            exact = np.asarray(inputs) * self.scale + self.shift
            np.copyto(x, exact.astype(dtype), where=large)
        return x

    def scale_targets(self, targets: np.ndarray, dtype: str) -> np.ndarray:
        """Scaled targets (n, k) in `dtype`, computed in float64: a mean far from 0 costs no digits."""
        if self.target_scaling is None:
            return targets.astype(dtype, copy=False)
        return (targets.astype(np.float64) * self.target_scaling.scale + self.target_scaling.shift).astype(dtype)

    def unscale_targets(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs (n, k) in the targets' own units, float64 where they were scaled."""
        if self.target_scaling is None:
            return outputs
        return (outputs.astype(np.float64) - self.target_scaling.shift) / self.target_scaling.scale

    def check(self, train: Dataset, dtype: str) -> None:
        """ScalingError, naming the first feature, unless scale and shift are finite numbers of `dtype`.

        So are those of targets in float64, in which they are scaled.
        """
        if self.target_scaling is not None:
            self.target_scaling._check_targets(train)
        with np.errstate(over="ignore"):
            finite = np.isfinite(self.scale.astype(dtype)) & np.isfinite(self.shift.astype(dtype))
        if finite.all():
            return
        j = int(np.argmin(finite))
        which = f"feature {j}" if finite.ndim else "all features"
        axis = 0 if finite.ndim else None
        low, high = (np.ravel(extreme(axis))[j] for extreme in (train.inputs.min, train.inputs.max))
        scale, shift = (float(np.broadcast_to(a, finite.shape).flat[j]) for a in (self.scale, self.shift))
        raise ScalingError(
            f"{train.source}: the scaling of {which}, whose values lie in {low:g} .. {high:g}, "
            f"is x * {scale:g} + {shift:g}, which {dtype} cannot hold. Their spread is too small or too large to "
            "divide by: put the values in another unit, so that they are of ordinary size, or take scale='none'.",
        )

    def _check_targets(self, train: Dataset) -> None:
        finite = np.isfinite(self.scale) & np.isfinite(self.shift)
        if finite.all():
            return
        j = int(np.argmin(finite))
        t = train.targets[:, j]
        raise ScalingError(
            f"{train.source}: the scaling of target {j}, whose values lie in {t.min():g} .. {t.max():g}, is one "
            "that float64 cannot hold. Their spread is too small or too large to divide by: put the values in "
            "another unit, so that they are of ordinary size."
        )


def fit_scaling(kind: str, train: Dataset, target_scale: TargetScalingKind = "none") -> Scaling:
    """The scaling of a kind, with statistics from the training part alone.

    `kind` is of the inputs:

    none         x
    unit         x / 255 for uint8 and for floats that are all whole numbers in 0..255 and not just 0 and 1;
                 other floats have their scale already, and stay
    standard     (x - mean) / std, both over all values of all samples (0.1307 and 0.3081 of 255 for MNIST)
    per-feature  (x - mean) / std of each feature; a feature constant in training is 0 everywhere;
                 a table's features of categories and missing values stay 0 and 1
    rashid       0.99 unit + 0.01, so that no input is 0 (Rashid, Make Your Own Neural Network, 2016)

    `target_scale` is of targets (n, k) that are numbers: none; standard, (t - mean) / std of each; mean, t / mean
    of each, so that rates stay positive. Predictions and metrics are in the targets' own units all the same.

    Raises:
        UsageError: a kind that is not known, or scaled targets of a data set whose targets are no numbers.
    """
    require_dataset(train, "fit_scaling")
    fitted = _fit_inputs(kind, train)
    if target_scale == "none":
        return fitted
    if target_scale not in get_args(TargetScalingKind) or train.task != "regression":
        raise UsageError(
            f"target_scale is {target_scale!r} and the task of {train.source} {train.task}: it must be one of "
            f"{', '.join(get_args(TargetScalingKind))}, and for another task than regression none."
        )
    return replace(fitted, target_scaling=_fit_targets(target_scale, train.targets.astype(np.float64)))


def _fit_inputs(kind: str, train: Dataset) -> Scaling:
    if kind not in get_args(ScalingKind):
        raise UsageError(f"scaling {kind!r} is unknown; {', '.join(get_args(ScalingKind))} are known.")
    if kind == "per-feature" and train.preprocessing is not None:
        scaling, fixed = _standardize(train.inputs, axis=0), train.preprocessing.is_indicator
        return Scaling(np.where(fixed, 1.0, scaling.scale), np.where(fixed, 0.0, scaling.shift))
    if kind in ("standard", "per-feature"):
        return _standardize(train.inputs, axis=0 if kind == "per-feature" else None)
    unit = 1 / 255 if kind != "none" and _has_byte_values(train.inputs) else 1.0
    scale, shift = (0.99 * unit, 0.01) if kind == "rashid" else (unit, 0.0)
    return Scaling(np.array(scale), np.array(shift))


def _fit_targets(kind: str, targets: np.ndarray) -> Scaling:
    """With std 1 where a target is constant, and mean 1 where it is not above 0.

    Not finite where float64 does not hold mean, std or their inverse.
    """
    with np.errstate(all="ignore"):
        mean = targets.mean(axis=0)
        if kind == "mean":
            scale = 1 / np.where(mean > 0, mean, 1.0)
            return Scaling(np.where(np.isinf(mean), np.nan, scale), np.zeros_like(scale))
        std = targets.std(axis=0)
        constant = targets.min(axis=0) == targets.max(axis=0)
        scale = np.where(constant, 1.0, np.where(np.isinf(std), np.nan, 1 / std))
        return Scaling(scale, -mean * scale)


def has_large_shift(scaling: Scaling) -> np.ndarray:
    """Bool of the shape of `shift`: where float64 inputs are scaled in float64, as float32 would lose digits."""
    return np.abs(scaling.shift) > LARGE_SHIFT


def moments(inputs: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Mean and (population) variance of each feature, float64 of a sample's shape.

    Of uint8 they come from integer sums, and so are the same bits on every machine.
    """
    flat, shape = inputs.reshape(len(inputs), -1), inputs.shape[1:]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, variance = _byte_moments(flat) if inputs.dtype == np.uint8 else _float_moments(flat)
    return mean.reshape(shape), variance.reshape(shape)


def _byte_moments(inputs: Samples) -> tuple[np.ndarray, np.ndarray]:
    n = len(inputs)
    total, squares = np.zeros((2, inputs.shape[1]), np.int64)
    for chunk in _chunks(inputs):
        x = chunk.astype(np.int32)
        total += x.sum(axis=0)
        squares += np.einsum("ij,ij->j", x, x)
    return _moments_of_sums(n, total, squares)


def _moments_of_sums(n: int, total: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance by the sums of n values and of their squares, int64.

    In Python's integers, as n times the squares is beyond int64 from 12 million bytes of 255 on.
    """
    difference = n * squares.astype(object) - total.astype(object) ** 2
    return total / n, difference.astype(np.float64) / n**2


def _float_moments(inputs: Samples) -> tuple[np.ndarray, np.ndarray]:
    """In two passes, as sums of squares cancel."""
    mean = np.asarray(inputs.mean(axis=0, dtype=np.float64))
    squares = np.zeros(inputs.shape[1])
    for chunk in _chunks(inputs):
        squares += np.square(chunk - mean).sum(axis=0)
    return mean, squares / len(inputs)


def _chunks(inputs: Samples) -> Iterator[np.ndarray]:
    for block in blocks(inputs):
        for row in range(0, len(block), CHUNK_ROWS):
            yield block[row : row + CHUNK_ROWS]


def _has_byte_values(inputs: Samples) -> bool:
    if inputs.dtype == np.uint8:
        return True
    return bool(
        1 < inputs.max() <= 255 and inputs.min() >= 0 and all(np.all(x == np.floor(x)) for x in blocks(inputs))
    )


def _standardize(inputs: Samples, axis: int | None) -> Scaling:
    """(x - mean) / std, and 0 of what is constant; not finite where float64 does not hold std or its inverse.

    Over all features by the law of total variance, Var x = E[Var(x | feature)] + Var(E[x | feature]).
    """
    constant = inputs.min(axis) == inputs.max(axis)
    mean, variance = moments(inputs)
    with np.errstate(all="ignore"):
        if axis is None:
            mean, variance = mean.mean(), variance.mean() + mean.var()
        std = np.sqrt(variance)
        scale = np.where(constant, 0.0, np.where(np.isinf(std), np.nan, 1 / std))
        return Scaling(scale, -mean * scale)
