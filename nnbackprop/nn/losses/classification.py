"""Losses of logits: softmax for one of several classes, sigmoid for each output by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from backends import Array, device_of
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.activations import sigmoid, softmax

from .base import Loss, check_labels_array, check_off_on, check_targets, normalized_weights, rows_of_targets

NAN = float("nan")
"""One object for all: a kernel's scalars are cached by equality, and a NaN equals no other object."""


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """Softmax and cross-entropy of logits y (n, k) and labels t (n,) in one: dy = (p - q) / n.

    p = softmax(y), q = (1 - s) onehot(t) + s / k with s the label smoothing (Szegedy et al., CVPR 2016, sec. 7).
    J = -1/n sum_i sum_j q_ij log p_ij, and log p = y - log sum e^y needs no p that could be 0. In dJ/dy the
    Jacobian of softmax and the 1/p of the logarithm cancel (Bishop, Pattern Recognition and Machine Learning,
    eq. 4.109).
    A label out of 0 .. k-1 makes J NaN: looking at labels within a step would wait for the device.
    """

    label_smoothing: float = 0.0
    takes_labels: ClassVar[bool] = True
    gives_probabilities: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_smoothing(self.label_smoothing)

    @property
    def threshold(self) -> float:
        """A logit of 0."""
        return 0.0

    def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """J = -1/n sum q log p, dy = (p - q) / n (derivation, D25, D26)."""
        check_labels_array(xp, y, t)
        (n, k), s = y.shape, self.label_smoothing
        columns = xp.reshape(xp.arange(k, dtype=xp.int32, device=device_of(t)), (1, -1))
        off_value, on_value = s / k, 1 - s + s / k  # q besides the label, and there
        kernel, labels = xp.fuse_rowwise(softmax_cross_entropy), xp.reshape(t, (-1, 1))
        weight = 1 / n if weights is None else normalized_weights(xp, weights, n)
        J, dy = kernel(y, labels, columns, k, off_value, on_value, weight, NAN)  # of each entry: (n, k)
        return xp.sum(J), dy

    def encode_targets(self, xp: Any, y: Array, targets: Array) -> Array:
        """Labels (n,) as they are."""
        return targets

    def predictions(self, xp: Any, y: Array) -> Array:
        """softmax(y)."""
        return softmax(xp, y)


def softmax_cross_entropy(xp: Any, y: Array, *operands: Any) -> tuple[Array, Array]:
    """The terms (n, k) of J and dJ/dy, from logits y (n, k) and the rest of `cross_entropy`: a kernel of rows."""
    z, e = xp.fuse(shifted_exp)(y, xp.max(y, axis=1, keepdims=True))
    return xp.fuse(cross_entropy)(z, e, xp.sum(e, axis=1, keepdims=True), *operands)


def shifted_exp(xp: Any, y: Array, top: Array) -> tuple[Array, Array]:
    """z = y - max y and e^z, which cannot overflow: an elementwise kernel."""
    z = y - top
    return z, xp.exp(z)


def cross_entropy(
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
    surprise = xp.where(q > 0, xp.log(total) - z, q)  # 0 where q is: z may be -inf there
    return xp.where(known, q * surprise * weight, nan), (e / total - q) * weight


@dataclass(frozen=True)
class SigmoidBinaryCrossEntropy(Loss):
    """Sigmoid and cross-entropy of logits y (n, k) and targets t (n, k) in 0..1, each output for itself.

    J = -1/n sum_i sum_j (q log p + (1 - q) log(1 - p)), p = sigmoid(y), q = (1 - s) t + s / 2 with s the label
    smoothing, which is 1/n sum (log(1 + e^y) - q y); dy = (p - q) / n (Bishop, Pattern Recognition and Machine
    Learning, eq. 4.91).
    """

    label_smoothing: float = 0.0
    off_value: float = 0.0
    on_value: float = 1.0
    gives_probabilities: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_smoothing(self.label_smoothing)
        check_off_on(self.off_value, self.on_value, 0, 1)

    @property
    def threshold(self) -> float:
        """A logit of 0, the probability 1/2."""
        return 0.0

    def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """J = sum(log(1 + e^y) - q y) / n, dy = (p - q) / n (derivation, D27)."""
        check_targets(y, t)
        n, s = y.shape[0], self.label_smoothing
        q = t * (1 - s) + s / 2
        terms = xp.fuse(binary_cross_entropy)(y, q, 0.0)
        if weights is None:
            return xp.sum(terms) * (1 / n), (sigmoid(xp, y) - q) * (1 / n)
        weight = normalized_weights(xp, weights, n)
        return xp.sum(terms * weight), (sigmoid(xp, y) - q) * weight

    def encode_targets(self, xp: Any, y: Array, targets: Array) -> Array:
        """Floats (n, k), several labels at once, as they are; of labels (n,), rows of the two values."""
        return rows_of_targets(xp, y, targets, self.off_value, self.on_value)

    def predictions(self, xp: Any, y: Array) -> Array:
        """sigmoid(y)."""
        return sigmoid(xp, y)


def binary_cross_entropy(xp: Any, y: Array, q: Array, zero: float) -> Array:
    """log(1 + e^y) - q y, as (max(y, 0) - q y) + log(1 + e^-|y|): an elementwise kernel.

    In this order nothing cancels. Where y is large and right the first term is 0, and the second, the loss, keeps
    all its digits: log(1 + e^y) on its own would have lost them to y.
    """
    return (xp.maximum(y, zero) - q * y) + xp.log1p(xp.exp(-xp.abs(y)))


def _check_smoothing(s: float) -> None:
    if not 0 <= s < 1:
        raise UsageError(f"Label smoothing is a share, at least 0 and below 1; got {s}.")
