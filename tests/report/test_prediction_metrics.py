"""Scores of classes, labels and numbers: scikit-learn's to the last digits, weighted or not; facts on paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nnbackprop.report.prediction_metrics import (
    calibration,
    class_scores,
    confidence_of,
    label_scores,
    number_scores,
    top_k_accuracy,
)

N, K = 300, 5


@pytest.fixture(params=[False, True], ids=["plain", "weighted"])
def weights(request: pytest.FixtureRequest) -> np.ndarray | None:
    return np.random.default_rng(1).uniform(0, 3, N) if request.param else None


@pytest.fixture
def sklearn_metrics() -> Any:
    return pytest.importorskip("sklearn.metrics", reason="sklearn, the judge, is not installed")


def samples() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and predictions; class 3 is never predicted and class 4 never true."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, K - 1, N)
    scores = rng.random((N, K)) + 0.5 * np.eye(K)[targets]
    scores[:, 3] *= 0.1
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    return targets, probabilities, probabilities.argmax(axis=1)


def test_scores_of_classes_are_scikit_learns(sklearn_metrics: Any, weights: np.ndarray | None) -> None:
    targets, _, predicted = samples()
    options = {"labels": range(K), "sample_weight": weights, "zero_division": 0}
    ours = class_scores(targets, predicted, K, weights)
    theirs = sklearn_metrics.precision_recall_fscore_support(targets, predicted, **options)
    np.testing.assert_allclose(ours, theirs, rtol=1e-13)
    for weighted, average in ((False, "macro"), (True, "weighted")):
        mean = sklearn_metrics.precision_recall_fscore_support(targets, predicted, average=average, **options)
        assert ours.mean(weighted) == pytest.approx(mean[:3], rel=1e-13)


def test_scores_of_labels_are_scikit_learns(sklearn_metrics: Any, weights: np.ndarray | None) -> None:
    rng = np.random.default_rng(2)
    targets, predicted = rng.random((N, 4)) < [0.5, 0.1, 0, 0.9], rng.random((N, 4)) < [0.5, 0.2, 0.1, 0]
    theirs = sklearn_metrics.precision_recall_fscore_support(
        targets, predicted, sample_weight=weights, zero_division=0
    )
    np.testing.assert_allclose(label_scores(targets, predicted, weights), theirs, rtol=1e-13)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k_accuracy_is_scikit_learns(sklearn_metrics: Any, weights: np.ndarray | None, k: int) -> None:
    """Ties included: probabilities are rounded to tenths."""
    targets, probabilities, _ = samples()
    for values in (probabilities, probabilities.round(1)):
        theirs = sklearn_metrics.top_k_accuracy_score(targets, values, k=k, labels=range(K), sample_weight=weights)
        assert top_k_accuracy(targets, values, k, weights) == pytest.approx(theirs, rel=1e-13)


def test_scores_of_numbers_are_scikit_learns(sklearn_metrics: Any, weights: np.ndarray | None) -> None:
    rng = np.random.default_rng(3)
    targets = rng.normal([1e6, 0], [10, 1e-3], (N, 2))
    predicted = targets + rng.normal(0, [5, 1e-3], (N, 2))
    each = {"sample_weight": weights, "multioutput": "raw_values"}
    theirs = [
        sklearn_metrics.mean_squared_error(targets, predicted, **each) ** 0.5,
        sklearn_metrics.mean_absolute_error(targets, predicted, **each),
        sklearn_metrics.r2_score(targets, predicted, **each),
    ]
    np.testing.assert_allclose(number_scores(targets, predicted, weights), theirs, rtol=1e-11)


def test_a_constant_target_has_no_r2() -> None:
    """Nor one whose mean differs from it by rounding: that of three 0.1 is 0.10000000000000002."""
    for value in (1.0, 0.1):
        assert np.isnan(number_scores(np.full((3, 1), value), np.zeros((3, 1))).r2).all()


@pytest.mark.parametrize("bins", [3, 15])
def test_bins_of_confidence_are_scikit_learns(bins: int) -> None:
    sklearn = pytest.importorskip("sklearn.calibration", reason="sklearn, the judge, is not installed")
    targets, probabilities, predicted = samples()
    right, confidence = targets == predicted, confidence_of(predicted, probabilities)
    found = calibration(right, confidence, bins=bins)
    accuracy, mean_confidence = sklearn.calibration_curve(right, confidence, n_bins=bins)
    np.testing.assert_allclose(found.accuracy, accuracy, rtol=1e-13)
    np.testing.assert_allclose(found.confidence, mean_confidence, rtol=1e-13)
    assert found.share.sum() == pytest.approx(1)


def test_the_expected_calibration_error_on_paper() -> None:
    """Two at 0.9 of which one is right, two at 0.6 both right: (|0.5 - 0.9| + |1 - 0.6|) / 2."""
    right, confidence = np.array([True, False, True, True]), np.array([0.9, 0.9, 0.6, 0.6])
    assert calibration(right, confidence).expected_error == pytest.approx(0.4)
    assert calibration(right, confidence, np.array([0, 0, 1, 1])).expected_error == pytest.approx(0.4)
    assert calibration(np.ones(4, bool), np.ones(4)).expected_error == 0


def test_calibrated_predictions_have_a_small_error_and_sure_ones_a_large_one() -> None:
    rng = np.random.default_rng(4)
    confidence = rng.uniform(0.5, 1, 20_000)
    right = rng.random(20_000) < confidence
    assert calibration(right, confidence).expected_error < 0.02
    assert calibration(right, np.ones(20_000)).expected_error == pytest.approx(0.25, abs=0.01)


def test_a_single_output_is_the_probability_of_class_1() -> None:
    assert confidence_of(np.array([1, 0]), np.array([[0.9], [0.2]])).tolist() == [0.9, 0.8]
