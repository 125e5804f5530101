"""Losses of numbers: squared, absolute and Huber error, Poisson likelihood and the pinball loss of quantiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from backends import Array
from nnbackprop.errors import ShapeError, UsageError

from .base import Loss, check_off_on, check_targets, normalized_weights, rows_of_targets


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """Squared distance from the targets, in one of two conventions.

    "mean": J = 1/(nk) sum_i sum_j (y_ij - t_ij)^2, dy = 2 (y - t) / (nk), as PyTorch's. "half-sum":
    J = 1/(2n) sum_i sum_j (y_ij - t_ij)^2, dy = (y - t) / n, the sum over outputs, halved so that the 2 of the
    derivative goes.
    A class label is a row of targets: `on_value` in the label's column and `off_value` elsewhere.
    """

    reduction: Literal["mean", "half-sum"] = "mean"
    off_value: float = 0.0
    on_value: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reduction not in ("mean", "half-sum"):
            raise UsageError(f"MeanSquaredError reduces by 'mean' or 'half-sum', not by {self.reduction!r}.")
        check_off_on(self.off_value, self.on_value, -math.inf, math.inf)

    @property
    def threshold(self) -> float:
        """Halfway between the targets of the two classes."""
        return (self.off_value + self.on_value) / 2

    def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """J = f/2 sum (y - t)^2, dy = f (y - t), with f = 1/n or 2/(nk) (derivation, D3, D15)."""
        check_targets(y, t)
        n, k = y.shape
        e = y - t
        if weights is None:
            f = 1 / n if self.reduction == "half-sum" else 2 / (n * k)
            return xp.sum(e * e) * (f / 2), e * f
        dy = e * (normalized_weights(xp, weights, n) * (1 if self.reduction == "half-sum" else 2 / k))
        return xp.sum(e * dy) * 0.5, dy

    def encode_targets(self, xp: Any, y: Array, targets: Array) -> Array:
        """Floats (n, k) as they are; of labels (n,), rows of `off_value` and `on_value`."""
        return rows_of_targets(xp, y, targets, self.off_value, self.on_value)


@dataclass(frozen=True)
class MeanAbsoluteError(Loss):
    """Distance from the targets: J = 1/(nk) sum_i sum_j |y_ij - t_ij|, as PyTorch's L1Loss.

    Its least is at the median of the targets, so that a few that lie far out count no more than others.
    """

    def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """J = sum |y - t| / (nk), dy = sign(y - t) / (nk), 0 where y = t (derivation, D32)."""
        check_targets(y, t)
        return _mean(xp, xp.fuse(absolute_error)(y, t), weights)


def absolute_error(xp: Any, y: Array, t: Array) -> tuple[Array, Array]:
    """|e| and its slope sign(e), with e = y - t: an elementwise kernel."""
    e = y - t
    return xp.abs(e), xp.sign(e)


@dataclass(frozen=True)
class Huber(Loss):
    """Squared error near the targets, absolute error beyond `delta` (Huber, Ann. Math. Statist., 1964).

    J = 1/(nk) sum_i sum_j h(y_ij - t_ij), h(e) = e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2), as
    PyTorch's HuberLoss. In units of the targets: where a run scales them, `delta` counts standard deviations.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.delta < math.inf:
            raise UsageError(f"The delta of a Huber loss is a finite number above 0; got {self.delta}.")

    def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """J = sum h(y - t) / (nk), dy = clip(y - t, -delta, delta) / (nk) (derivation, D33)."""
        check_targets(y, t)
        return _mean(xp, xp.fuse(huber)(y, t, -self.delta, self.delta), weights)


def huber(xp: Any, y: Array, t: Array, low: float, high: float) -> tuple[Array, Array]:
    """c (e - c / 2) and its slope c, with e = y - t and c = e within low .. high: an elementwise kernel.

    Within them c = e and the first is e^2 / 2; beyond, c = +-delta and it is delta (|e| - delta / 2).
    """
    e = y - t
    c = xp.minimum(xp.maximum(e, low), high)
    return c * (e - c * 0.5), c


@dataclass(frozen=True)
class PoissonNLL(Loss):
    """Negative log-likelihood of counts t >= 0 that are Poisson distributed with the rate e^y.

    J = 1/(nk) sum_i sum_j (e^y_ij - t_ij y_ij), as PyTorch's PoissonNLLLoss: log t!, which no y changes, is left
    out. The outputs are logarithms of rates, so that every one of them is a rate.
    """

    link: ClassVar[Literal["identity", "log"]] = "log"

    @property
    def threshold(self) -> float:
        """The logarithm of a rate of 1."""
        return 0.0

    def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """J = sum (e^y - t y) / (nk), dy = (e^y - t) / (nk) (derivation, D34)."""
        check_targets(y, t)
        return _mean(xp, xp.fuse(poisson)(y, t), weights)

    def encode_targets(self, xp: Any, y: Array, targets: Array) -> Array:
        """Floats (n, k) as they are; of labels (n,), rows of 0 and 1, which need an output a class."""
        if y.shape[1] == 1 and xp.isdtype(targets.dtype, "integral"):
            raise ShapeError(
                "PoissonNLL is for counts and got class labels for a single output: give counts as floats (n, 1), "
                "or take SigmoidBinaryCrossEntropy for two classes."
            )
        return rows_of_targets(xp, y, targets, 0.0, 1.0)

    def predictions(self, xp: Any, y: Array) -> Array:
        """The rates e^y."""
        return xp.exp(y)


def poisson(xp: Any, y: Array, t: Array) -> tuple[Array, Array]:
    """e^y - t y and its slope e^y - t: an elementwise kernel."""
    rate = xp.exp(y)
    return rate - t * y, rate - t


@dataclass(frozen=True)
class Pinball(Loss):
    """Quantile regression: the least J is where a share `quantile` of the targets lies below the outputs.

    J = 1/(nk) sum_i sum_j max(q (t_ij - y_ij), (1 - q) (y_ij - t_ij)) (Koenker and Bassett, 1978), as
    scikit-learn's mean_pinball_loss. A quantile of 0.5 is half the absolute error.
    """

    quantile: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.quantile < 1:
            raise UsageError(f"A quantile lies between 0 and 1, both excluded; got {self.quantile}.")

    def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """J = sum s (y - t) / (nk), dy = s / (nk), s = 1 - q if y > t, -q if y < t (derivation, D35)."""
        check_targets(y, t)
        return _mean(xp, xp.fuse(pinball)(y, t, 0.5 - self.quantile), weights)


def pinball(xp: Any, y: Array, t: Array, lean: float) -> tuple[Array, Array]:
    """s e and its slope s = sign(e) / 2 + (1/2 - q), with e = y - t and lean = 1/2 - q: an elementwise kernel.

    Where y = t the slope is the mean of those on both sides.
    """
    e = y - t
    slope = xp.sign(e) * 0.5 + lean
    return slope * e, slope


def _mean(xp: Any, each: tuple[Array, Array], weights: Array | None) -> tuple[Array, Array]:
    """J and dJ/dy of the terms (n, k) of each output and their slopes: the mean, weighted by sample."""
    terms, slopes = each
    n, k = terms.shape
    if weights is None:
        return xp.sum(terms) * (1 / (n * k)), slopes * (1 / (n * k))
    weight = normalized_weights(xp, weights, n) * (1 / k)
    return xp.sum(terms * weight), slopes * weight
