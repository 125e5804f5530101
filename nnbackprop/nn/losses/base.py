"""What losses share: the base class, targets of labels, sample weights, and checks of what they are given."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from backends import Array, device_of
from nnbackprop.errors import DataError, ShapeError, UsageError
from nnbackprop.nn.layers.base import use_python_numbers


class Loss(ABC):
    """J and dJ/dy of outputs y (n, k): `loss(xp, y, t, weights) -> (J 0-d, dy (n, k))`.

    J is the mean of the samples' own losses J_i, or sum w_i J_i / sum w_i with weights w (n,).
    """

    takes_labels: ClassVar[bool] = False
    """Whether t is integer labels (n,); otherwise it is targets (n, k) of y's dtype."""

    gives_probabilities: ClassVar[bool] = False
    """Whether `predictions` are probabilities: softmax or sigmoid of y."""

    link: ClassVar[Literal["identity", "log"]] = "identity"
    """With "log" outputs are the logarithms of what is predicted: no target may be negative."""

    def __post_init__(self) -> None:
        use_python_numbers(self)

    @property
    def threshold(self) -> float:
        """The value from which a single output (k = 1) predicts class 1, and an output of several is on."""
        return 0.5

    @abstractmethod
    def __call__(self, xp: Any, y: Array, t: Array, weights: Array | None = None) -> tuple[Array, Array]:
        """J and dJ/dy; ShapeError if t is not what `takes_labels` says."""

    def encode_targets(self, xp: Any, y: Array, targets: Array) -> Array:
        """What y (n, k) is compared with: floats (n, k) as they are; of labels (n,), rows of 0 and 1."""
        return rows_of_targets(xp, y, targets, 0.0, 1.0)

    def predictions(self, xp: Any, y: Array) -> Array:
        """What the outputs y predict, (n, k): probabilities, or numbers in the units of the targets."""
        return y


def one_hot(
    xp: Any, labels: Array, classes: int, dtype: Any, off_value: float = 0.0, on_value: float = 1.0
) -> Array:
    """(n, classes) of `dtype`: `on_value` where the column is the label in `labels` (n,), else `off_value`."""
    columns = xp.arange(classes, dtype=xp.int32, device=device_of(labels))  # int8 ends at 127
    hot = xp.astype(xp.reshape(labels, (-1, 1)) == xp.reshape(columns, (1, -1)), dtype)
    return hot if (off_value, on_value) == (0.0, 1.0) else hot * (on_value - off_value) + off_value


def rows_of_targets(xp: Any, y: Array, targets: Array, off_value: float, on_value: float) -> Array:
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


def normalized_weights(xp: Any, weights: Array, n: int) -> Array:
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
            f"Labels lie in {low}..{high} and {classes} classes need 0..{classes - 1}. Labels that begin at 1 "
            "want 1 taken off, or a class map as the readers of `nnbackprop.load` make it."
        )


def _is_batch(y: Array) -> bool:
    return len(y.shape) == 2 and min(y.shape) > 0


def check_targets(y: Array, t: Array) -> None:
    """ShapeError unless y and t are both (n, k) of one dtype."""
    if not _is_batch(y) or tuple(t.shape) != tuple(y.shape) or t.dtype != y.dtype:
        raise ShapeError(
            f"The loss got outputs {tuple(y.shape)} of {y.dtype} and targets {tuple(t.shape)} of {t.dtype}, and "
            "needs both (n, k), n and k at least 1, and of one dtype: a row of targets a sample, "
            "one_hot(xp, labels, k, y.dtype). "
            "Broadcasting would compare every sample with every other."
        )


def check_labels_array(xp: Any, y: Array, t: Array) -> None:
    """ShapeError unless y is (n, k) and t integers (n,)."""
    if not _is_batch(y) or tuple(t.shape) != (y.shape[0],) or not xp.isdtype(t.dtype, "integral"):
        raise ShapeError(
            f"The loss got outputs {tuple(y.shape)} and labels {tuple(t.shape)} of {t.dtype}, and needs outputs "
            "(n, k), n and k at least 1, and integer labels (n,), a class number a sample: labels.reshape(-1) of "
            "a column, argmax(axis=1) of one-hot rows, astype(int32) of floats."
        )


def check_off_on(off_value: float, on_value: float, least: float, most: float) -> None:
    """UsageError unless least <= off_value < on_value <= most, both finite."""
    if not (least <= off_value < on_value <= most and math.isfinite(on_value - off_value)):
        within = "" if math.isinf(most) else f", both within {least}..{most}"
        raise UsageError(
            f"The target of wrong classes, off_value, must be below that of the right one, on_value{within}; "
            f"got {off_value} and {on_value}."
        )
