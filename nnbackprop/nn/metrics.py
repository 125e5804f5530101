"""What is counted while a network learns: the share of right answers, and who was taken for whom."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnbackprop.errors import ShapeError

Array = Any


def decide(xp: Any, y: Array, threshold: float) -> Array:
    """Predicted class of each row of outputs y (n, k), int32 (n,).

    The largest output wins; a single output (k = 1) says class 1 from `threshold` on.
    """
    if y.shape[1] == 1:
        return xp.astype(y[:, 0] >= threshold, xp.int32)
    return xp.astype(xp.argmax(y, axis=1), xp.int32)


def count_correct(xp: Any, y: Array, labels: Array, threshold: float) -> Array:
    """How many rows of outputs y (n, k) say the class in `labels` (n,) int32; 0-d int32."""
    return xp.sum(xp.astype(decide(xp, y, threshold) == labels, xp.int32), dtype=xp.int32)


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


def confusion(predictions: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Counts (classes, classes) int64: row the true class, column the predicted one."""
    return np.bincount(labels.astype(np.int64) * classes + predictions, minlength=classes**2).reshape(
        classes, classes
    )
