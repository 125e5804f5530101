"""What `evaluate` prints of each class, label or target, from the predictions of a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nnbackprop.errors import UsageError

from .formatting import count, number, percent
from .prediction_metrics import (
    ClassScores,
    by_class,
    calibration,
    class_scores,
    confidence_of,
    label_scores,
    number_scores,
    top_k_accuracy,
)
from .tables import new_table

if TYPE_CHECKING:
    from nnbackprop.data.dataset import Dataset
    from nnbackprop.runs.trained_model import TrainedModel

MAX_CLASSES = 30  # rows of a table of classes or labels; beyond them those of the lowest F1 are shown
MANY_CLASSES = 10  # beyond which the five likeliest classes count too


def evaluation_report(trained: TrainedModel, data: Dataset, top_k: int | None = None) -> RenderableType:
    """The scores of each class, label or target of `data`; UsageError where `top_k` cannot be."""
    check_top_k(data, top_k)
    outputs = trained.predict_proba_or_values(data.inputs, data.source)
    predicted = trained.evaluator.predicted_targets(outputs)
    calibrated = trained.evaluator.objective.loss.gives_probabilities
    return prediction_report(data, trained.target_names, predicted, outputs, top_k, calibrated)


def check_top_k(data: Dataset, top_k: int | None) -> None:
    """UsageError unless `top_k` is a number of classes below all of them."""
    k = len(data.classes)
    if top_k is not None and not 1 <= top_k < max(2, k):
        raise UsageError(
            f"--top-k {top_k} is among {k} classes: give a number from 1 to {k - 1}."
            if k
            else f"--top-k {top_k} is for classes, and the task of {data.source} is {data.task}: leave it out."
        )


def prediction_report(
    data: Dataset,
    target_names: Sequence[str],
    predicted: np.ndarray,
    outputs: np.ndarray,
    top_k: int | None,
    gives_probabilities: bool,
) -> RenderableType:
    """The scores of predicted classes (n,), labels (n, k) or numbers, and the outputs (n, k) behind them."""
    k = len(data.classes)
    if data.task == "regression":
        return number_table(target_names, data.targets, outputs, data.weights)
    if data.task == "multilabel":
        return score_table("label", target_names, label_scores(data.targets >= 0.5, predicted > 0, data.weights))
    scores = class_scores(data.targets, predicted, k, data.weights)
    lines = []
    if top_k is None and k > MANY_CLASSES:
        top_k = 5
    if top_k is not None:
        among = top_k_accuracy(data.targets, by_class(outputs), top_k, data.weights)
        lines.append(f"top-{top_k} accuracy {percent(among)}")
    if gives_probabilities:
        right, confidence = predicted == data.targets, confidence_of(predicted, outputs)
        lines.append(
            f"expected calibration error {calibration(right, confidence, data.weights).expected_error:.4f}"
        )
    return Group(score_table("class", data.classes, scores), Text(", ".join(lines)))


def score_table(kind: str, names: Sequence[str], scores: ClassScores) -> Table:
    """Precision, recall, F1 and support of each class or label, and their means."""
    heads = ("precision", "recall", "F1", "support")
    table = new_table(kind, *heads, right=heads)
    k = len(names)
    shown = range(k) if k <= MAX_CLASSES else np.argsort(scores.f1, kind="stable")[:MAX_CLASSES]
    for i in shown:
        values = (f"{column[i]:.4f}" for column in scores[:3])
        table.add_row(escape(names[i]), *values, _support(scores.support[i]))
    if k > MAX_CLASSES:
        table.caption = f"the {MAX_CLASSES} of {count(k)} with the lowest F1"
    table.add_section()
    total = _support(scores.support.sum())
    for name, means in (("mean", scores.mean()), ("weighted mean", scores.mean(weighted=True))):
        table.add_row(name, *(f"{mean:.4f}" for mean in means), total)
    return table


def _support(samples: float) -> str:
    return count(int(samples)) if float(samples).is_integer() else number(float(samples))


def number_table(
    names: Sequence[str], targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None
) -> Table:
    """RMSE, MAE and R^2 of each target that is a number, in its own unit."""
    heads = ("RMSE", "MAE", "R²")
    table = new_table("target", *heads, right=heads)
    scores = number_scores(targets, predicted, weights)
    for name, rmse, mae, r2 in zip(names, *scores, strict=True):
        table.add_row(escape(name), number(float(rmse)), number(float(mae)), f"{r2:.4f}")
    return table
