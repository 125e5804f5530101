"""The doctor: checks of data, of a network before training, of trained weights and of a metric.

A check is a function of its subject that returns a finding, NOT_APPLICABLE, or None where nothing is wrong.
"""

from __future__ import annotations

from nnbackprop.diagnostics.findings import Check

from .behaviour import batch_leak, evaluation_not_deterministic
from .inputs import images_column_major, inputs_constant, inputs_not_finite, inputs_unscaled, train_test_duplicates
from .labels import classes_imbalanced, classes_sorted, labels_encoded_twice, labels_off_by_one, labels_range
from .learning import cannot_overfit, input_ignored
from .metric import check_metric
from .probes import DataProbe, ModelProbe
from .start import initial_loss, variance_backward, variance_forward

DATA_CHECKS: dict[str, Check[DataProbe]] = {
    "labels-range": labels_range,
    "labels-off-by-one": labels_off_by_one,
    "labels-encoded-twice": labels_encoded_twice,
    "images-column-major": images_column_major,
    "inputs-unscaled": inputs_unscaled,
    "inputs-constant": inputs_constant,
    "inputs-not-finite": inputs_not_finite,
    "classes-sorted": classes_sorted,
    "classes-imbalanced": classes_imbalanced,
    "train-test-duplicates": train_test_duplicates,
}

TRAINED_CHECKS: dict[str, Check[ModelProbe]] = {
    "input-ignored": input_ignored,
    "batch-leak": batch_leak,
    "evaluation-not-deterministic": evaluation_not_deterministic,
}
"""Of initial weights and of a run's."""

START_CHECKS: dict[str, Check[ModelProbe]] = {
    "initial-loss": initial_loss,
    "variance-forward": variance_forward,
    "variance-backward": variance_backward,
    "cannot-overfit": cannot_overfit,
    **TRAINED_CHECKS,
}

__all__ = ["DATA_CHECKS", "START_CHECKS", "TRAINED_CHECKS", "DataProbe", "ModelProbe", "check_metric"]
