"""The accuracy that a user's own code reports: arrays whose shapes NumPy broadcasts without a warning.

(m, 1) compared with (m,) is an (m, m) table of every prediction against every label. Its mean is sum_k p_k q_k
with p and q the fractions of class k among predictions and labels: 1/K for balanced labels, whatever the
predictions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnbackprop.diagnostics.findings import Diagnosis, Finding, Level
from nnbackprop.errors import ShapeError

ID = "metric-broadcast"
TOLERANCE = 5e-4  # an accuracy printed as 10.0% is within this
LOSS_FALL = 0.95  # the last loss over the first


def check_metric(
    predictions: np.ndarray,
    labels: np.ndarray,
    reported: float | None = None,
    losses: Sequence[float] | None = None,
) -> Diagnosis:
    """Whether an accuracy was counted sample by sample.

    predictions  (m,) or (m, 1) class numbers, or (m, K) scores or one-hot rows; labels likewise
    reported     the accuracy your code prints, 0..1 or, above 1, in percent
    losses       the losses of the run, in order
    Raises ShapeError if they are not of the same number of samples.
    """
    p, t = np.asarray(predictions), np.asarray(labels)
    classes, truth = _class_numbers(p), _class_numbers(t)
    if classes is None or truth is None or len(classes) != len(truth):
        raise ShapeError(
            f"check_metric got predictions {p.shape} and labels {t.shape}, and needs as many of one as of the "
            "other, at least 1: (m,) or (m, 1) class numbers, or (m, K) rows with a number a class."
        )
    m, accuracy, broadcast_mean = len(truth), float(np.mean(classes == truth)), _broadcast_mean(classes, truth)
    reported_accuracy = reported / 100 if reported is not None and reported > 1 else reported
    evidence = (
        f"Predictions {p.shape} and labels {t.shape}: sample by sample {accuracy:.2%} are right, and as an "
        f"({m}, {m}) table of all against all {broadcast_mean:.2%}."
        f"{'' if reported_accuracy is None else f' Reported: {reported_accuracy:.2%}.'}"
    )
    if losses is not None and len(losses) > 1 and losses[-1] <= LOSS_FALL * losses[0]:
        evidence += f" Meanwhile the loss fell from {losses[0]:.4g} to {losses[-1]:.4g}: the network does learn."
    found = _explain(p, t, m, reported_accuracy, accuracy, broadcast_mean)
    if found is None:
        return Diagnosis(passed=(ID,))
    level, cause, fix = found
    return Diagnosis((Finding(ID, level, evidence=evidence, cause=cause, fix=fix),))


def _explain(
    p: np.ndarray, t: np.ndarray, m: int, reported: float | None, accuracy: float, broadcast_mean: float
) -> tuple[Level, str, str] | None:
    """Level, cause and fix where the `reported` accuracy of m samples is wrong, or the shapes make it so."""
    broadcasts = m > 1 and p.shape != t.shape and p.size == t.size == m
    by_table = reported is not None and abs(reported - broadcast_mean) <= TOLERANCE
    if reported is not None and abs(reported - accuracy) <= TOLERANCE and not (broadcasts and by_table):
        return None
    if broadcasts or by_table:
        cause = (
            "predictions == labels broadcasts a column (m, 1) against a row (m,) to every prediction against "
            "every label; the mean of that is near 1/K for a perfect network and for a broken one."
        )
        fix = "np.mean(predictions.ravel() == labels.ravel()), or nnbackprop.accuracy, which refuses such shapes."
        return "fault", cause, fix
    if reported is None:
        return None
    fix = "np.mean(predictions.argmax(axis=1) == labels.argmax(axis=1))"
    if p.shape == t.shape and p.ndim == 2 and abs(reported - float(np.mean(p == t))) <= TOLERANCE:
        cause = "One-hot rows were compared entry by entry: a wrong row is right in K - 2 of K places."
        return "fault", cause, fix
    cause = (
        "The reported number is neither: likely it was computed from other arrays, or from scores, not classes."
    )
    return "warning", cause, f"{fix}, on the arrays passed here."


def _class_numbers(a: np.ndarray) -> np.ndarray | None:
    """Class numbers (m,) from an array of any of the usual shapes; None if it has none of them."""
    if a.ndim == 2 and 1 not in a.shape and a.size:
        return a.argmax(axis=1)
    if not a.size or a.ndim not in (1, 2):
        return None
    flat = a.reshape(-1)
    if flat.dtype.kind != "f" or bool(np.all(flat == np.floor(flat))):
        return flat
    return (flat >= 0.5).astype(np.int64)  # probabilities of class 1


def _broadcast_mean(p: np.ndarray, t: np.ndarray) -> float:
    """The mean of the (m, m) table of every prediction against every label, sum_k p_k q_k, without the table."""
    values, codes = np.unique(np.concatenate([p, t]), return_inverse=True)
    fractions = (np.bincount(part, minlength=len(values)) / len(p) for part in np.split(codes, [len(p)]))
    return float(np.dot(*fractions))
