"""The metric: an accuracy near 1/K while the loss falls, from shapes that NumPy broadcasts without a word.

(m, 1) compared with (m,) is an (m, m) table of every prediction against every label. Its mean is sum_k p_k q_k
with p and q the shares of class k among predictions and labels: 1/K for balanced labels, whatever was predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nnbackprop.diagnostics.findings import Diagnosis, Finding
from nnbackprop.errors import ShapeError

ID = "metric-broadcast"
NEAR = 5e-4  # an accuracy printed as 10.0% is within this
FALLS = 0.95  # the last loss over the first


def examine_metric(
    predictions: np.ndarray,
    labels: np.ndarray,
    reported: float | None = None,
    losses: Sequence[float] | None = None,
) -> Diagnosis:
    """Whether an accuracy counted what it should: both ways of counting, side by side.

    predictions  (m,) or (m, 1) class numbers, or (m, K) scores or one-hot rows; labels likewise
    reported     the accuracy your code prints, 0..1 or, above 1, in percent
    losses       the losses of the run, in order
    Raises ShapeError if they are not of the same number of samples.
    """
    p, t = np.asarray(predictions), np.asarray(labels)
    classes, truth = _classes(p), _classes(t)
    if classes is None or truth is None or len(classes) != len(truth):
        raise ShapeError(
            f"examine_metric got predictions {p.shape} and labels {t.shape}, and needs as many of one as of the "
            "other, at least 1: (m,) or (m, 1) class numbers, or (m, K) rows with a number a class."
        )
    honest, table = float(np.mean(classes == truth)), _table(classes, truth)
    share = reported / 100 if reported is not None and reported > 1 else reported
    finding = _finding(p, t, honest, table, share)
    if finding is None:
        return Diagnosis(passed=(ID,))
    return Diagnosis((replace(finding, evidence=finding.evidence + _falling(losses)),))


def _classes(a: np.ndarray) -> np.ndarray | None:
    """Class numbers (m,) from an array of any of the usual shapes; None if it is of none."""
    if a.ndim == 2 and 1 not in a.shape and a.size:
        return a.argmax(axis=1)
    if not a.size or a.ndim not in (1, 2):
        return None
    flat = a.reshape(-1)
    if flat.dtype.kind != "f" or bool(np.all(flat == np.floor(flat))):
        return flat
    return (flat >= 0.5).astype(np.int64)  # probabilities of class 1


def _table(p: np.ndarray, t: np.ndarray) -> float:
    """The mean of the (m, m) table of every prediction against every label, sum_k p_k q_k, without the table."""
    values, mine = np.unique(p, return_counts=True)
    others, theirs = np.unique(t, return_counts=True)
    _, i, j = np.intersect1d(values, others, return_indices=True)
    return float(np.dot(mine[i].astype(np.float64), theirs[j])) / (len(p) * len(t))


def _finding(p: np.ndarray, t: np.ndarray, honest: float, table: float, reported: float | None) -> Finding | None:
    """What the shapes say, and which count the reported number is."""
    m = len(t) if t.ndim == 1 else max(t.shape)
    broadcasts = m > 1 and p.shape != t.shape and p.size == t.size == m
    right = reported is not None and abs(reported - honest) <= NEAR
    by_table = reported is not None and abs(reported - table) <= NEAR
    if right and not (broadcasts and by_table):
        return None
    said = "" if reported is None else f" Reported: {reported:.2%}."
    if broadcasts or by_table:
        sure = 0.99 if broadcasts and by_table else 0.9 if reported is None or by_table else 0.5
        return _table_finding(f"{_shapes(p, t)}: {_counts(honest, table, m)}.{said}", sure)
    if reported is None:
        return None
    if p.shape == t.shape and p.ndim == 2 and abs(reported - float(np.mean(p == t))) <= NEAR:
        return _entries_finding(
            f"{_shapes(p, t)}: sample by sample {honest:.2%} are right, entry by entry {reported:.2%}."
        )
    return _unexplained(f"{_shapes(p, t)}: {_counts(honest, table, m)}.{said}")


def _shapes(p: np.ndarray, t: np.ndarray) -> str:
    return f"Predictions {p.shape} and labels {t.shape}"


def _counts(honest: float, table: float, m: int) -> str:
    return f"sample by sample {honest:.2%} are right, and as an ({m}, {m}) table of all against all {table:.2%}"


def _falling(losses: Sequence[float] | None) -> str:
    if losses is None or len(losses) < 2 or losses[-1] > FALLS * losses[0]:
        return ""
    return f" Meanwhile the loss fell from {losses[0]:.4g} to {losses[-1]:.4g}: the network does learn."


def _table_finding(evidence: str, confidence: float) -> Finding:
    return Finding(
        ID,
        "fault",
        evidence,
        "predictions == labels broadcasts a column (m, 1) against a row (m,) to every prediction against every "
        "label; the mean of that is near 1/K for a perfect network and for a broken one.",
        "np.mean(predictions.ravel() == labels.ravel()), or nnbackprop.accuracy, which refuses such shapes.",
        confidence,
    )


def _entries_finding(evidence: str) -> Finding:
    return Finding(
        ID,
        "fault",
        evidence,
        "One-hot rows compared entry by entry count zeros that agree: a wrong row is right in K - 2 of K places.",
        "np.mean(predictions.argmax(axis=1) == labels.argmax(axis=1))",
        0.95,
    )


def _unexplained(evidence: str) -> Finding:
    return Finding(
        ID,
        "warning",
        evidence,
        "The reported number is neither count: it was taken of other arrays, or of scores in place of classes.",
        "np.mean(predictions.argmax(axis=1) == labels), on the arrays you hand in here.",
        0.5,
    )
