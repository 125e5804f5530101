"""Losses: each returns the mean J of a batch and dJ/dy together, so that no pairing can be wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Protocol

from backends import Array, device_of
from nnbackprop.errors import DataError, ShapeError, UsageError
from nnbackprop.nn.layers.activations import sigmoid, softmax

NAN = float("nan")
"""One object for all: a kernel's scalars are cached by equality, and a NaN equals no other object."""


class Loss(Protocol):
    """J and dJ/dy of outputs y (n, k): `loss(xp, y, t, weights) -> (J 0-d, dy (n, k))`.

    J is the mean of the samples' own losses J_i, or sum w_i J_i / sum w_i with weights w (n,).
    """

    takes_labels: ClassVar[bool]
    """Whether t is integer labels (n,); otherwise it is targets (n, k) of y's dtype."""

    @property
    def threshold(self) -> float:
        """The value from which a single output (k = 1) predicts class 1, and an output of several is on."""

    def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """J and dJ/dy; ShapeError if t is not what `takes_labels` says."""

    def encode(self, xp: Any, y: Array, targets: Array) -> Array:
        """What the loss compares y (n, k) with, from targets of a data set: labels (n,) or floats (n, k)."""

    def probabilities(self, xp: Any, y: Array) -> Array:
        """Probabilities (n, k) of the outputs y."""


@dataclass(frozen=True)
class MeanSquaredError:
    """Squared distance from the targets, in one of two conventions.

    "half-sum": J = 1/(2n) sum_i sum_j (y_ij - t_ij)^2, dy = (y - t) / n: the sum over outputs, halved so that the
    2 of the derivative goes. "mean": J = 1/(nk) sum_i sum_j (y_ij - t_ij)^2, dy = 2 (y - t) / (nk), as PyTorch's.
    A class label is a row of targets: `on_value` in the label's column and `off_value` elsewhere.
    """

    reduction: Literal["half-sum", "mean"] = "half-sum"
    off_value: float = 0.0
    on_value: float = 1.0
    takes_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.reduction not in ("half-sum", "mean"):
            raise UsageError(f"MeanSquaredError reduces by 'half-sum' or 'mean', not by {self.reduction!r}.")
        _check_off_on(self.off_value, self.on_value, -math.inf, math.inf)

    @property
    def threshold(self) -> float:
        """Halfway between the targets of the two classes."""
        return (self.off_value + self.on_value) / 2

    def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """J = f/2 sum (y - t)^2, dy = f (y - t), with f = 1/n or 2/(nk) (derivation, D3, D15)."""
        _check_targets(y, t)
        n, k = y.shape
        e = y - t
        if weights is None:
            f = 1 / n if self.reduction == "half-sum" else 2 / (n * k)
            return xp.sum(e * e) * (f / 2), e * f
        dy = e * (_normalized_weights(xp, weights, n) * (1 if self.reduction == "half-sum" else 2 / k))
        return xp.sum(e * dy) * 0.5, dy

    def encode(self, xp: Any, y: Array, targets: Array) -> Array:
        """Floats (n, k) as they are; of labels (n,), rows of `off_value` and `on_value`."""
        return _rows_of_targets(xp, y, targets, self.off_value, self.on_value)

    def probabilities(self, xp: Any, y: Array) -> Array:
        """The outputs themselves, which need not sum to 1."""
        return y


@dataclass(frozen=True)
class SoftmaxCrossEntropy:
    """Softmax and cross-entropy of logits y (n, k) and labels t (n,) in one: dy = (p - q) / n.

    p = softmax(y), q = (1 - s) onehot(t) + s / k with s the label smoothing (Szegedy et al., CVPR 2016, sec. 7).
    J = -1/n sum_i sum_j q_ij log p_ij, and log p = y - log sum e^y needs no p that could be 0. In dJ/dy the
    Jacobian of softmax and the 1/p of the logarithm cancel (Bishop, Pattern Recognition and Machine Learning,
    eq. 4.109).
    A label out of 0 .. k-1 makes J NaN: looking at labels within a step would wait for the device.
    """

    label_smoothing: float = 0.0
    takes_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_smoothing(self.label_smoothing)

    @property
    def threshold(self) -> float:
        """A logit of 0."""
        return 0.0

    def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """J = -1/n sum q log p, dy = (p - q) / n (derivation, D25, D26)."""
        _check_labels_array(xp, y, t)
        (n, k), s = y.shape, self.label_smoothing
        z, e = xp.fuse(shifted_exp)(y, xp.max(y, axis=1, keepdims=True))
        total = xp.sum(e, axis=1, keepdims=True)
        columns = xp.reshape(xp.arange(k, dtype=xp.int32, device=device_of(t)), (1, -1))
        off_value, on_value = s / k, 1 - s + s / k  # q besides the label, and there
        kernel, labels = xp.fuse(softmax_cross_entropy), xp.reshape(t, (-1, 1))
        weight = 1 / n if weights is None else _normalized_weights(xp, weights, n)
        J, dy = kernel(z, e, total, labels, columns, k, off_value, on_value, weight, NAN)  # of each entry: (n, k)
        return xp.sum(J), dy

    def encode(self, xp: Any, y: Array, targets: Array) -> Array:
        """Labels (n,) as they are."""
        return targets

    def probabilities(self, xp: Any, y: Array) -> Array:
        """softmax(y)."""
        return softmax(xp, y)


def shifted_exp(xp: Any, y: Array, top: Array) -> tuple[Array, Array]:
    """z = y - max y and e^z, which cannot overflow: an elementwise kernel."""
    z = y - top
    return z, xp.exp(z)


def softmax_cross_entropy(
    xp: Any,
    z: Array,
    e: Array,
    total: Array,
    label: Array,
    column: Array,
    classes: int,
    off_value: float,
    on_value: float,
    weight: float,
    nan: float,
) -> tuple[Array, Array]:
    """-q log p and p - q, each times the sample's weight, with log p = z - log total: an elementwise kernel.

    q is `on_value` in the label's column, else `off_value`. A label out of 0 .. classes - 1 gives NaN.
    """
    q = xp.astype(label == column, z.dtype) * (on_value - off_value) + off_value
    known = xp.logical_and(label >= 0, label < classes)
    return xp.where(known, q * (xp.log(total) - z) * weight, nan), (e / total - q) * weight


@dataclass(frozen=True)
class SigmoidBinaryCrossEntropy:
    """Sigmoid and cross-entropy of logits y (n, k) and targets t (n, k) in 0..1, each output for itself.

    J = -1/n sum_i sum_j (q log p + (1 - q) log(1 - p)), p = sigmoid(y), q = (1 - s) t + s / 2 with s the label
    smoothing, which is 1/n sum (log(1 + e^y) - q y); dy = (p - q) / n (Bishop, Pattern Recognition and Machine
    Learning, eq. 4.91).
    """

    label_smoothing: float = 0.0
    off_value: float = 0.0
    on_value: float = 1.0
    takes_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_smoothing(self.label_smoothing)
        _check_off_on(self.off_value, self.on_value, 0, 1)

    @property
    def threshold(self) -> float:
        """A logit of 0, the probability 1/2."""
        return 0.0

    def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """J = sum(log(1 + e^y) - q y) / n, dy = (p - q) / n (derivation, D27)."""
        _check_targets(y, t)
        n, s = y.shape[0], self.label_smoothing
        q = t * (1 - s) + s / 2
        terms = xp.fuse(binary_cross_entropy)(y, q, 0.0)
        if weights is None:
            return xp.sum(terms) * (1 / n), (sigmoid(xp, y) - q) * (1 / n)
        weight = _normalized_weights(xp, weights, n)
        return xp.sum(terms * weight), (sigmoid(xp, y) - q) * weight

    def encode(self, xp: Any, y: Array, targets: Array) -> Array:
        """Floats (n, k), several labels at once, as they are; of labels (n,), rows of the two values."""
        return _rows_of_targets(xp, y, targets, self.off_value, self.on_value)

    def probabilities(self, xp: Any, y: Array) -> Array:
        """sigmoid(y)."""
        return sigmoid(xp, y)


def binary_cross_entropy(xp: Any, y: Array, q: Array, zero: float) -> Array:
    """log(1 + e^y) - q y, as (max(y, 0) - q y) + log(1 + e^-|y|): an elementwise kernel.

    In this order nothing cancels. Where y is large and right the first term is 0, and the second, the loss, keeps
    all its digits: log(1 + e^y) on its own would have lost them to y.
    """
    return (xp.maximum(y, zero) - q * y) + xp.log1p(xp.exp(-xp.abs(y)))


LOSSES: dict[str, Callable[..., Loss]] = {
    "softmax-cross-entropy": SoftmaxCrossEntropy,
    "binary-cross-entropy": SigmoidBinaryCrossEntropy,
    "half-mse": partial(MeanSquaredError, "half-sum"),
    "mse": partial(MeanSquaredError, "mean"),
}
"""Losses by their names in a configuration."""


def one_hot(
    xp: Any, labels: Array, classes: int, dtype: Any, off_value: float = 0.0, on_value: float = 1.0
) -> Array:
    """(n, classes) of `dtype`: `on_value` where the column is the label in `labels` (n,), else `off_value`."""
    columns = xp.arange(classes, dtype=xp.int32, device=device_of(labels))  # int8 ends at 127
    hot = xp.astype(xp.reshape(labels, (-1, 1)) == xp.reshape(columns, (1, -1)), dtype)
    return hot if (off_value, on_value) == (0.0, 1.0) else hot * (on_value - off_value) + off_value


def _rows_of_targets(xp: Any, y: Array, targets: Array, off_value: float, on_value: float) -> Array:
    """Labels (n,) as rows like y's; for a single output, which stands for class 1, as a column."""
    if not xp.isdtype(targets.dtype, "integral"):
        return targets
    if len(targets.shape) != 1:
        raise ShapeError(
            f"Integer targets are class labels of shape (n,); got shape {tuple(targets.shape)}. Several labels at "
            "once are floats, 0 or 1 each: targets.astype('float32')."
        )
    if y.shape[1] == 1:
        return one_hot(xp, targets, 2, y.dtype, off_value, on_value)[:, 1:]
    return one_hot(xp, targets, y.shape[1], y.dtype, off_value, on_value)


def _normalized_weights(xp: Any, weights: Array, n: int) -> Array:
    """w_i / sum w as a column (n, 1); zeros where all weights are."""
    if tuple(weights.shape) != (n,):
        raise ShapeError(f"Sample weights have shape {tuple(weights.shape)}, and {n} samples need ({n},).")
    total = xp.sum(weights)
    return xp.reshape(weights / xp.where(total > 0, total, xp.ones_like(total)), (-1, 1))


def check_labels(labels: Any, classes: int) -> None:
    """DataError unless the host's `labels` (n,) are integers in 0 .. classes - 1; a loss cannot look at them."""
    if len(labels.shape) != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"Labels are {labels.dtype} of shape {tuple(labels.shape)}; integers of shape (n,) are needed, one "
            "class number a sample."
        )
    if not labels.shape[0]:
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"Labels lie in {low}..{high} and {classes} outputs need 0..{classes - 1}. Labels that begin at 1 "
            "want 1 taken off, or a class map as the readers of `nnbackprop.load` make it."
        )


def _is_batch(y: Array) -> bool:
    return len(y.shape) == 2 and min(y.shape) > 0


def _check_targets(y: Array, t: Array) -> None:
    if not _is_batch(y) or tuple(t.shape) != tuple(y.shape) or t.dtype != y.dtype:
        raise ShapeError(
            f"The loss got outputs {tuple(y.shape)} of {y.dtype} and targets {tuple(t.shape)} of {t.dtype}, and "
            "needs both (n, k), n and k at least 1, and of one dtype: a row of targets a sample, one_hot(xp, labels, "
            "k, y.dtype). Broadcasting would compare every sample with every other."
        )


def _check_labels_array(xp: Any, y: Array, t: Array) -> None:
    if not _is_batch(y) or tuple(t.shape) != (y.shape[0],) or not xp.isdtype(t.dtype, "integral"):
        raise ShapeError(
            f"The loss got outputs {tuple(y.shape)} and labels {tuple(t.shape)} of {t.dtype}, and needs outputs "
            "(n, k), n and k at least 1, and integer labels (n,), a class number a sample: labels.reshape(-1) of "
            "a column, argmax(axis=1) of one-hot rows, astype(int32) of floats."
        )


def _check_off_on(off_value: float, on_value: float, least: float, most: float) -> None:
    if not (least <= off_value < on_value <= most and math.isfinite(on_value - off_value)):
        within = "" if math.isinf(most) else f", both within {least}..{most}"
        raise UsageError(
            f"The target of wrong classes, off_value, must be below that of the right one, on_value{within}; "
            f"got {off_value} and {on_value}."
        )


def _check_smoothing(s: float) -> None:
    if not 0 <= s < 1:
        raise UsageError(f"Label smoothing is a share, at least 0 and below 1; got {s}.")
