"""Metrics of predictions on the host: of each class, each label or each number, and how far to trust confidence.

They need all predictions at once, or one number a class, and are computed after an evaluation; what is counted
while a network learns is in nn/metrics.py. Weights (n,) of samples count as scikit-learn's sample_weight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CALIBRATION_BINS = 15  # as in Guo et al.


class ClassScores(NamedTuple):
    """Of each class or label, (k,): a precision, recall or F1 without anything to divide by is 0."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray  # how many samples are of it, or their weight

    def mean(self, weighted: bool = False) -> tuple[float, float, float]:
        """Precision, recall and F1, the mean over classes ("macro"), or weighted by support."""
        total = float(self.support.sum())
        weights = self.support if weighted and total else None
        return tuple(float(np.average(values, weights=weights)) for values in self[:3])  # type: ignore[return-value]


def class_scores(
    targets: np.ndarray, predicted: np.ndarray, n_classes: int, weights: np.ndarray | None = None
) -> ClassScores:
    """Of labels (n,) and predicted classes (n,)."""
    hits = targets == predicted
    w = np.ones(len(targets)) if weights is None else weights
    true_positives = np.bincount(targets, w * hits, n_classes)
    return _scores(true_positives, np.bincount(predicted, w, n_classes), np.bincount(targets, w, n_classes))


def label_scores(targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> ClassScores:
    """Of several labels at once, (n, k) bool each."""
    w = np.ones((len(targets), 1)) if weights is None else weights[:, np.newaxis]
    return _scores((w * (targets & predicted)).sum(0), (w * predicted).sum(0), (w * targets).sum(0))


def _scores(true_positives: np.ndarray, predicted: np.ndarray, support: np.ndarray) -> ClassScores:
    return ClassScores(
        _ratio(true_positives, predicted),
        _ratio(true_positives, support),
        _ratio(2 * true_positives, predicted + support),
        support,
    )


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros(np.shape(a)), where=b > 0)


def by_class(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities (n, k) of all classes; a single column is that of class 1."""
    if probabilities.shape[1] > 1:
        return probabilities
    return np.concatenate([1 - probabilities, probabilities], axis=1)


def confidence_of(predicted: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The probability (n,) of each predicted class (n,), of `probabilities` (n, k), or (n, 1) of class 1."""
    return by_class(probabilities)[np.arange(len(predicted)), predicted]


def top_k_accuracy(
    targets: np.ndarray, probabilities: np.ndarray, k: int, weights: np.ndarray | None = None
) -> float:
    """Share of samples whose label (n,) is among the k likeliest of `probabilities` (n, classes).

    Of equal probabilities the higher class comes first, as in scikit-learn's top_k_accuracy_score.
    """
    of_label = np.take_along_axis(probabilities, targets[:, np.newaxis], axis=1)
    later = np.arange(probabilities.shape[1]) > targets[:, np.newaxis]
    rank = ((probabilities > of_label) | ((probabilities == of_label) & later)).sum(axis=1)
    return float(np.average(rank < k, weights=weights))


class Calibration(NamedTuple):
    """Samples by their confidence, in bins of equal width that hold any, (m,)."""

    confidence: np.ndarray  # mean over a bin
    accuracy: np.ndarray
    share: np.ndarray  # of all samples

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean |accuracy - confidence|, 0 where 90% sure is right 9 times in 10."""
        return float(np.sum(self.share * np.abs(self.accuracy - self.confidence)))


def calibration(
    correct: np.ndarray, confidence: np.ndarray, weights: np.ndarray | None = None, bins: int = CALIBRATION_BINS
) -> Calibration:
    """How often predictions are right, (n,) bool, against the probability (n,) each was given.

    (Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017, eq. 3.) Bins are open
    below.
    """
    w = np.ones(len(correct)) if weights is None else weights
    which = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    weight = np.bincount(which, w, bins)
    held = weight > 0
    sums = (np.bincount(which, w * values, bins)[held] for values in (confidence, correct))
    mean_confidence, accuracy = (values / weight[held] for values in sums)
    return Calibration(mean_confidence, accuracy, weight[held] / weight.sum())


class NumberScores(NamedTuple):
    """Of each target that is a number, (k,); r2 is NaN where it does not vary."""

    rmse: np.ndarray
    mae: np.ndarray
    r2: np.ndarray


def number_scores(targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> NumberScores:
    """Of numbers (n, k) and their predictions (n, k)."""
    t, e = targets.astype(np.float64), predicted - targets.astype(np.float64)
    mse, mae = np.average(e * e, axis=0, weights=weights), np.average(np.abs(e), axis=0, weights=weights)
    spread = np.average((t - np.average(t, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
    r2 = 1 - np.divide(mse, spread, out=np.full_like(mse, np.nan), where=np.ptp(t, axis=0) > 0)
    return NumberScores(np.sqrt(mse), mae, r2)
