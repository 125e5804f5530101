"""The doctor: what is wrong with the data, with the network at its start, or with the metric, in plain words.

Every check is a function of what it needs that returns a finding, None where all is well, or NOT_APPLICABLE. The
tables below name each by its id; `examine` asks them all.
"""

from __future__ import annotations

from collections.abc import Callable

from nnbackprop.diagnostics.check import Outcome, examine, skipped
from nnbackprop.diagnostics.findings import Diagnosis

from .behaviour import batch_leak, evaluation_not_deterministic
from .image_layout import images_column_major
from .inputs import inputs_constant, inputs_not_finite, inputs_unscaled, not_finite, train_test_duplicates
from .labels import (
    classes_imbalanced,
    classes_sorted,
    labels_encoded,
    labels_encoded_twice,
    labels_off_by_one,
    labels_out_of_range,
    labels_range,
)
from .learning import cannot_overfit, input_ignored
from .metric import examine_metric
from .model_probe import MOST, ModelProbe
from .samples import Samples
from .start import initial_loss, overflow, variance_backward, variance_forward

DATA: dict[str, Callable[[Samples], Outcome]] = {
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
"""Checks of data, by id."""

START: dict[str, Callable[[ModelProbe], Outcome]] = {
    "initial-loss": initial_loss,
    "variance-forward": variance_forward,
    "variance-backward": variance_backward,
    "cannot-overfit": cannot_overfit,
}
"""Checks of a network at initialisation, by id."""

BEHAVIOUR: dict[str, Callable[[ModelProbe], Outcome]] = {
    "input-ignored": input_ignored,
    "batch-leak": batch_leak,
    "evaluation-not-deterministic": evaluation_not_deterministic,
}
"""Checks of a network at initialisation or with a run's weights, by id."""


def examine_data(samples: Samples) -> Diagnosis:
    """All checks of data."""
    return examine(DATA, samples)


def examine_start(subject: ModelProbe) -> Diagnosis:
    """All checks of a network as a run begins it."""
    return examine(START | BEHAVIOUR, subject.few(MOST))


def examine_trained(subject: ModelProbe) -> Diagnosis:
    """The checks that make sense with a run's weights."""
    return examine(BEHAVIOUR, subject.few(MOST))


__all__ = [
    "BEHAVIOUR",
    "DATA",
    "START",
    "ModelProbe",
    "Samples",
    "examine_data",
    "examine_metric",
    "examine_start",
    "examine_trained",
    "labels_encoded",
    "labels_out_of_range",
    "not_finite",
    "overflow",
    "skipped",
]
