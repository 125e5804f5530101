"""Predictions of all samples as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from nnbackprop.runs.trained_model import TrainedModel

from .prediction_metrics import by_class


def predictions_csv(trained: TrainedModel, found: Sequence[tuple[str, np.ndarray]]) -> bytes:
    """A row for each sample of the files in `found`, by name with their outputs (n, k).

    Its file and its place there, from 1, under names that no target has; its class, or 0 or 1 for each label, or a
    number for each target; and the probability of each class or label.
    """
    likely = bool(trained.classes) or trained.evaluator.objective.loss.gives_probabilities
    names = trained.classes or trained.target_names
    head = ("class",) if trained.classes else names
    own = [*head, *(f"probability_{name}" for name in names if likely)]
    places = [_free(name, own) for name in ("file", "sample")]
    rows: list[list[str]] = [[*places, *own]]
    for file, outputs in found:
        predicted = trained.evaluator.predicted_targets(outputs)
        if trained.classes:
            predicted, outputs = np.array(trained.classes)[predicted, np.newaxis], by_class(outputs)
        columns = np.arange(1, len(outputs) + 1)[:, np.newaxis], predicted, *([outputs] if likely else [])
        rows += [[file, *(str(v) for part in row for v in part)] for row in zip(*columns, strict=True)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, with an underscore for each that is taken."""
    return _free(f"{name}_", taken) if name in taken else name
