"""What is counted while a network learns: accuracy, or errors of numbers, or F1 of several labels at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np

from backends import Array, Tree, device_of
from nnbackprop.errors import ShapeError
from nnbackprop.nn.losses import Loss

if TYPE_CHECKING:
    from nnbackprop.data.scaling import Scaling


ROUNDINGS_OF_SUMS = 64
"""How many times eps of its largest term a difference of two sums must be to be more than their rounding."""


class Metrics(Protocol):
    """Sums over batches on the device, and what they come to.

    Every sum is weighted where samples have weights (n,): it adds w_i in the place of 1.
    """

    more_is_better: ClassVar[Mapping[str, bool]]
    """Of each metric, by name."""

    def zeros(self, xp: Any, like: Array) -> dict[str, Array]:
        """The sums before the first batch, of the dtype and on the device of `like`."""

    def update(self, xp: Any, sums: Tree, y: Array, targets: Array, weights: Array | None = None) -> Tree:
        """`sums` with a batch's outputs y (n, k) and targets added."""

    def compute(self, sums: Mapping[str, Any], weight: float) -> dict[str, float]:
        """The metrics by name, from sums on the host and the sum of all weights, or the number of samples."""


@dataclass(frozen=True)
class ClassificationMetrics:
    """accuracy: the share of samples whose prediction is their label."""

    threshold: float = 0.0
    more_is_better: ClassVar[Mapping[str, bool]] = {"accuracy": True}

    def zeros(self, xp: Any, like: Array) -> dict[str, Array]:
        """One sum."""
        return {"correct": _zeros(xp, (), like)}

    def update(self, xp: Any, sums: Tree, y: Array, targets: Array, weights: Array | None = None) -> Tree:
        """Add the number of labels (n,) that y predicts."""
        if y.shape[1] == 1:
            correct = xp.fuse(matches)(_largest_output(xp, y, self.threshold), targets, sums["correct"])
        else:
            correct = xp.fuse_rowwise(argmax_matches)(y, targets, sums["correct"])
        return {"correct": sums["correct"] + _total(xp, correct, weights)}

    def compute(self, sums: Mapping[str, Any], weight: float) -> dict[str, float]:
        """correct / weight."""
        return {"accuracy": float(sums["correct"]) / weight}


@dataclass(frozen=True)
class RegressionMetrics:
    """rmse and mae over all numbers, and r2 = 1 - sum (y - t)^2 / sum (t - mean t)^2, the mean over outputs.

    `center` is about the mean of each target, (k,), such as that of the training data: sums of (t - center)^2 lose
    no digits to a mean far from 0. Where targets are scaled, `unit` (k,) is what a scaled 1 is in their own units,
    which rmse and mae are in. With a log link the outputs are the logarithms of what is predicted. `dtype` is that
    of the sums, whose rounding is no variance of targets.
    """

    center: tuple[float, ...]
    unit: tuple[float, ...] = ()
    link: Literal["identity", "log"] = "identity"
    dtype: str = "float64"
    more_is_better: ClassVar[Mapping[str, bool]] = {"rmse": False, "mae": False, "r2": True}

    def zeros(self, xp: Any, like: Array) -> dict[str, Array]:
        """Four sums for each of the k outputs."""
        names = ("squared_error", "absolute_error", "target", "squared_target")
        return {name: _zeros(xp, (len(self.center),), like) for name in names}

    def update(self, xp: Any, sums: Tree, y: Array, targets: Array, weights: Array | None = None) -> Tree:
        """Add the errors of y, and the targets' distances from the center."""
        options = {"dtype": y.dtype, "device": device_of(y)}
        y = xp.exp(y) if self.link == "log" else y
        e, d = y - targets, targets - xp.concat([xp.full((1,), c, **options) for c in self.center])
        w = xp.ones((1, y.shape[0]), **options) if weights is None else xp.reshape(weights, (1, -1))
        added = {"squared_error": e * e, "absolute_error": xp.abs(e), "target": d, "squared_target": d * d}
        return {name: sums[name] + xp.matmul(w, a)[0, :] for name, a in added.items()}

    def compute(self, sums: Mapping[str, Any], weight: float) -> dict[str, float]:
        """The three; r2 is NaN where a target does not vary by more than rounding."""
        names = "squared_error", "absolute_error", "target", "squared_target"
        squared, absolute, t, tt = ([float(value) for value in sums[name]] for name in names)
        k = len(self.center)
        units = self.unit or (1.0,) * k
        spread = [b - a * a / weight for a, b in zip(t, tt, strict=True)]
        rounding = ROUNDINGS_OF_SUMS * float(np.finfo(self.dtype).eps)
        r2 = [1 - e / s if s > rounding * b else math.nan for e, s, b in zip(squared, spread, tt, strict=True)]
        mse = sum(e * u * u for e, u in zip(squared, units, strict=True)) / (k * weight)
        mae = sum(e * u for e, u in zip(absolute, units, strict=True)) / (k * weight)
        return {"rmse": math.sqrt(mse), "mae": mae, "r2": sum(r2) / k}


@dataclass(frozen=True)
class MultilabelMetrics:
    """subset_accuracy, the share of samples with every label right, and f1 = 2 TP / (2 TP + FP + FN).

    An output predicts its label from `threshold` on; targets (n, k) are 0 or 1. That is the micro average of F1.
    """

    threshold: float = 0.0
    more_is_better: ClassVar[Mapping[str, bool]] = {"subset_accuracy": True, "f1": True}

    def zeros(self, xp: Any, like: Array) -> dict[str, Array]:
        """Three sums."""
        return {name: _zeros(xp, (), like) for name in ("exact_matches", "true_positives", "positives")}

    def update(self, xp: Any, sums: Tree, y: Array, targets: Array, weights: Array | None = None) -> Tree:
        """Add samples with every label right; labels predicted and true; labels predicted plus true."""
        dtype, predicted, true = y.dtype, y >= self.threshold, targets >= 0.5
        exact = xp.all(predicted == true, axis=1)
        p, t = xp.astype(predicted, dtype), xp.astype(true, dtype)
        true_positives, positives = xp.sum(p * t, axis=1), xp.sum(p + t, axis=1)
        added = {
            "exact_matches": xp.astype(exact, dtype),
            "true_positives": true_positives,
            "positives": positives,
        }
        return {name: sums[name] + _total(xp, a, weights) for name, a in added.items()}

    def compute(self, sums: Mapping[str, Any], weight: float) -> dict[str, float]:
        """exact matches / weight, and 2 TP / (predicted + true), or 0 without any positive."""
        matches, true_positives, positives = (
            float(sums[name]) for name in ("exact_matches", "true_positives", "positives")
        )
        return {"subset_accuracy": matches / weight, "f1": 2 * true_positives / positives if positives else 0.0}


def metrics_for(
    loss: Loss, targets: np.ndarray | None = None, scaling: Scaling | None = None, dtype: str = "float64"
) -> Metrics:
    """The metrics of a loss, host targets, labels (n,) unless they are floats (n, k), and the targets' scaling.

    They are summed in `dtype`.
    """
    if targets is None or targets.dtype.kind in "iu":
        return ClassificationMetrics(loss.threshold)
    if loss.gives_probabilities:
        return MultilabelMetrics(loss.threshold)
    center = targets.mean(axis=0, dtype="float64")
    if scaling is None:
        return RegressionMetrics(tuple(center.tolist()), (), loss.link, dtype)
    center, unit = center * scaling.scale + scaling.shift, 1 / scaling.scale
    return RegressionMetrics(tuple(center.tolist()), tuple(unit.tolist()), loss.link, dtype)


def predicted_classes(xp: Any, y: Array, threshold: float) -> Array:
    """Predicted class of each row of outputs y (n, k), int32 (n,).

    The largest output wins; a single output (k = 1) predicts class 1 from `threshold` on.
    """
    return xp.astype(_largest_output(xp, y, threshold), xp.int32)


def confusion_counts(xp: Any, y: Array, targets: Array, threshold: float, n_classes: int) -> Array:
    """How many samples of each class (n,) the outputs y (n, k) predict as each, (n_classes^2,), in y's dtype.

    Flat, true class by true class. It is a product of two tables of 0 and 1.
    """
    classes = xp.reshape(xp.arange(n_classes, dtype=xp.int32, device=device_of(y)), (1, -1))
    true, predicted = (
        xp.astype(xp.reshape(labels, (-1, 1)) == classes, y.dtype)
        for labels in (xp.astype(targets, xp.int32), predicted_classes(xp, y, threshold))
    )
    return xp.reshape(xp.matmul(xp.matrix_transpose(true), predicted), (-1,))


def argmax_matches(xp: Any, y: Array, label: Array, like: Array) -> Array:
    """[argmax y = label] of y (n, k) and labels (n,), in the dtype of `like`: a kernel of rows."""
    return xp.fuse(matches)(xp.argmax(y, axis=1), label, like)


def matches(xp: Any, predicted: Array, label: Array, like: Array) -> Array:
    """[predicted = label] in the dtype of `like`: an elementwise kernel, for integers of any two widths."""
    return xp.astype(predicted == label, like.dtype)


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Share of `predictions` (n,) equal to `labels` (n,), in 0..1.

    ShapeError unless both are (n,): comparing (n, 1) with (n,) makes an (n, n) table of every prediction
    against every label, whose mean is near 1/K whatever the network has learnt.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.ndim != 1 or predictions.shape != labels.shape or not predictions.size:
        raise ShapeError(
            f"accuracy got predictions of shape {predictions.shape} and labels of shape {labels.shape}, and "
            "needs both as (n,) with n of at least 1. NumPy would broadcast (n, 1) against (n,) to an (n, n) "
            "table whose mean says nothing about the network: pass predictions.ravel() and labels.ravel(), or "
            "predictions.argmax(axis=1) for one column a class."
        )
    return float(np.mean(predictions == labels))


def _zeros(xp: Any, shape: tuple[int, ...], like: Array) -> Array:
    return xp.zeros(shape, dtype=like.dtype, device=device_of(like))


def _largest_output(xp: Any, y: Array, threshold: float) -> Array:
    """`predicted_classes` in the integers that the library's argmax gives."""
    return xp.astype(y[:, 0] >= threshold, xp.int32) if y.shape[1] == 1 else xp.argmax(y, axis=1)


def _total(xp: Any, values: Array, weights: Array | None) -> Array:
    """The sum of values (n,), each times its weight."""
    return xp.sum(values if weights is None else values * weights)
