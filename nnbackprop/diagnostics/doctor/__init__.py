"""The doctor: checks of data, of a network and its layers before training, of trained weights, of a metric.

A check is a function of its subject that returns a finding, NOT_APPLICABLE, or None where nothing is wrong.
"""

from __future__ import annotations

from nnbackprop.diagnostics.findings import Check

from .augmentation import augmentation_loses_image
from .behaviour import batch_leak, evaluation_in_training_mode, evaluation_not_deterministic
from .images import image_vanishes, images_channels_first, planes_of_channels, softmax_over_space
from .inputs import images_column_major, inputs_constant, inputs_not_finite, inputs_unscaled, train_test_duplicates
from .labels import classes_imbalanced, classes_sorted, labels_encoded_twice, labels_off_by_one, labels_range
from .learning import cannot_overfit, input_ignored
from .metric import check_metric
from .normalization import batchnorm_axis, normalization_dropout_order, running_statistics
from .probes import DataProbe, ModelProbe
from .start import initial_loss, variance_backward, variance_forward

DATA_CHECKS: dict[str, Check[DataProbe]] = {
    "labels-range": labels_range,
    "labels-off-by-one": labels_off_by_one,
    "labels-encoded-twice": labels_encoded_twice,
    "images-column-major": images_column_major,
    "images-channels-first": planes_of_channels,
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

LAYER_CHECKS: dict[str, Check[ModelProbe]] = {
    "images-channels-first": images_channels_first,
    "image-vanishes": image_vanishes,
    "softmax-over-space": softmax_over_space,
    "batchnorm-axis": batchnorm_axis,
    "running-statistics": running_statistics,
    "evaluation-in-training-mode": evaluation_in_training_mode,
    "normalization-dropout-order": normalization_dropout_order,
    "augmentation-loses-image": augmentation_loses_image,
}
"""Of layers of images, normalization, dropout and augmentation, with initial weights or a run's."""

__all__ = [
    "DATA_CHECKS",
    "LAYER_CHECKS",
    "START_CHECKS",
    "TRAINED_CHECKS",
    "DataProbe",
    "ModelProbe",
    "check_metric",
]
