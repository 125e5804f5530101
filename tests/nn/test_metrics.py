"""Metrics in batches, weighted or not, against their definitions; accuracy refuses shapes that would broadcast."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from backends import Backend, tree_map
from nnbackprop.data.scaling import Scaling
from nnbackprop.errors import ShapeError
from nnbackprop.nn.losses import MeanSquaredError, PoissonNLL, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy
from nnbackprop.nn.metrics import (
    ClassificationMetrics,
    Metrics,
    MultilabelMetrics,
    RegressionMetrics,
    accuracy,
    confusion_counts,
    metrics_for,
    predicted_classes,
)


def test_accuracy_is_the_share_of_equal_entries() -> None:
    assert accuracy(np.array([1, 2, 3, 4]), np.array([1, 2, 0, 4])) == 0.75


@pytest.mark.parametrize(
    ("predictions", "labels"), [((5, 1), (5,)), ((5,), (5, 1)), ((5, 1), (5, 1)), ((4,), (5,)), ((0,), (0,))]
)
def test_accuracy_refuses_what_would_broadcast(predictions: tuple[int, ...], labels: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError) as error:
        accuracy(np.zeros(predictions), np.zeros(labels))
    assert str(predictions) in str(error.value)
    assert str(labels) in str(error.value)


def test_the_broadcast_metric_says_one_in_k_even_for_perfect_predictions() -> None:
    labels = np.repeat(np.arange(10), 50)
    assert np.mean(labels[:, None] == labels) == pytest.approx(0.1)
    assert accuracy(labels, labels) == 1.0


def test_decide_takes_the_largest_output_or_the_threshold(backend: Backend) -> None:
    y = backend.asarray(np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]]))
    assert backend.to_numpy(predicted_classes(backend.xp, y, 0.5)).tolist() == [1, 0]
    single = backend.asarray(np.array([[0.49], [0.5], [0.9]]))
    assert backend.to_numpy(predicted_classes(backend.xp, single, 0.5)).tolist() == [0, 1, 1]
    assert backend.to_numpy(predicted_classes(backend.xp, single, 0.0)).tolist() == [1, 1, 1]


def totals(backend: Backend, metrics: Metrics, y: np.ndarray, t: np.ndarray, w: np.ndarray | None) -> dict:
    """The metrics of (n, k) outputs that come in batches of 7, by way of the backend's loop."""
    xp, n = backend.xp, len(y) // 7 * 7
    arrays = {"y": y[:n], "t": t[:n]} | ({} if w is None else {"w": w[:n]})
    batches = {name: backend.asarray(a.reshape(n // 7, 7, *a.shape[1:])) for name, a in arrays.items()}

    def step(sums: Any, data: Any, x: Any) -> Any:
        return metrics.update(xp, sums, x["y"], x["t"], x.get("w"))

    sums = backend.scan(step, metrics.zeros(xp, backend.asarray(y[:1])), {}, batches)
    return metrics.compute(tree_map(backend.to_numpy, sums), n if w is None else w[:n].sum())


@pytest.fixture(params=[False, True], ids=["plain", "weighted"])
def weights(request: pytest.FixtureRequest) -> np.ndarray | None:
    return np.random.default_rng(4).uniform(0, 2, 35) if request.param else None


def test_accuracy_is_its_definition(backend: Backend, weights: np.ndarray | None) -> None:
    rng = np.random.default_rng(1)
    y, t = rng.standard_normal((35, 3)), rng.integers(0, 3, 35).astype(np.int32)
    got = totals(backend, metrics_for(SoftmaxCrossEntropy(), t), y, t, weights)
    assert got == pytest.approx({"accuracy": np.average(y.argmax(axis=1) == t, weights=weights)}, rel=1e-14)


def test_regression_metrics_are_their_definitions(backend: Backend, weights: np.ndarray | None) -> None:
    """R^2 with the weighted mean of each target, and the mean of R^2 over the targets: scikit-learn's r2_score."""
    rng = np.random.default_rng(2)
    t = rng.standard_normal((35, 2)) * [1, 5] + [1e3, -7]
    y = t + 0.5 * rng.standard_normal(t.shape)
    rows = np.average((y - t) ** 2, axis=0, weights=weights)
    spread = np.average((t - np.average(t, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
    want = {
        "rmse": math.sqrt(rows.mean()),
        "mae": np.average(np.abs(y - t).mean(axis=1), weights=weights),
        "r2": np.mean(1 - rows / spread),
    }
    assert totals(backend, metrics_for(MeanSquaredError(), t), y, t, weights) == pytest.approx(want, rel=1e-11)


def test_scaled_targets_have_metrics_in_their_own_units(backend: Backend, weights: np.ndarray | None) -> None:
    rng = np.random.default_rng(6)
    t = rng.standard_normal((35, 2)) * [1e4, 1e-2] + [1e6, 3]
    y = t + rng.standard_normal(t.shape) * [1e3, 1e-3]
    mean, std = t.mean(axis=0), t.std(axis=0)
    scaling = Scaling(1 / std, -mean / std)
    plain = totals(backend, metrics_for(MeanSquaredError(), t), y, t, weights)
    scaled = [(a - mean) / std for a in (y, t)]
    got = totals(backend, metrics_for(MeanSquaredError(), t, scaling), *scaled, weights)
    assert got == pytest.approx(plain, rel=1e-9)


def test_a_log_link_is_undone_before_errors_are_counted(backend: Backend) -> None:
    t = np.random.default_rng(8).uniform(1, 9, (35, 1))
    got = totals(backend, metrics_for(PoissonNLL(), t), np.log(t + 0.5), t, None)
    assert got["rmse"] == pytest.approx(0.5, rel=1e-12)
    assert got["mae"] == pytest.approx(0.5, rel=1e-12)


def test_multilabel_metrics_are_their_definitions(backend: Backend, weights: np.ndarray | None) -> None:
    """F1 is the harmonic mean of precision and recall over all labels."""
    rng = np.random.default_rng(3)
    y, t = rng.standard_normal((35, 3)), rng.integers(0, 2, (35, 3)).astype(np.float64)
    p, w = y >= 0, np.ones((35, 1)) if weights is None else weights[:, None]
    hits = np.sum(w * p * t)
    precision, recall = hits / np.sum(w * p), hits / np.sum(w * t)
    want = {
        "subset_accuracy": np.average((p == t).all(axis=1), weights=weights),
        "f1": 2 / (1 / precision + 1 / recall),
    }
    got = totals(backend, metrics_for(SigmoidBinaryCrossEntropy(), t), y, t, weights)
    assert got == pytest.approx(want, rel=1e-12)


def test_r2_keeps_its_digits_in_float32_where_the_mean_is_large(backend: Backend) -> None:
    """sum t^2 - (sum t)^2 / n of targets near 10,000 would have none left."""
    rng = np.random.default_rng(5)
    t = (1e4 + rng.standard_normal((35, 1))).astype(np.float32)
    y = t + np.float32(0.5)
    got = totals(backend, metrics_for(MeanSquaredError(), t, dtype="float32"), y, t, None)["r2"]
    exact = t.astype(np.float64)
    assert got == pytest.approx(1 - 0.25 * 35 / np.sum((exact - exact.mean()) ** 2), abs=1e-3)


@pytest.mark.parametrize("n", [7, 700])
def test_r2_of_targets_that_do_not_vary_is_nan_in_float32(backend: Backend, n: int) -> None:
    """Their mean is not that of the training data, the center; sums of squares differ by rounding alone."""
    center = RegressionMetrics((2.9,), dtype="float32")
    t = np.full((n, 1), 2.7, np.float32)
    assert math.isnan(totals(backend, center, t + np.float32(0.5), t, None)["r2"])


def test_metrics_without_variance_or_positives_are_nan_or_zero() -> None:
    sums = {"squared_error": [1.0], "absolute_error": [1.0], "target": [0.0], "squared_target": [0.0]}
    assert math.isnan(RegressionMetrics((2.0,)).compute(sums, 5)["r2"])
    assert MultilabelMetrics().compute({"exact_matches": 5, "true_positives": 0, "positives": 0}, 5) == {
        "subset_accuracy": 1,
        "f1": 0,
    }


def test_the_loss_and_the_targets_choose_the_metrics() -> None:
    labels, numbers = np.zeros(3, np.int32), np.array([[1.0, 2.0], [3.0, 6.0]], np.float32)
    assert metrics_for(MeanSquaredError(off_value=-1.0)) == ClassificationMetrics(0.0)
    assert metrics_for(MeanSquaredError(), labels) == ClassificationMetrics(0.5)
    assert metrics_for(MeanSquaredError(), numbers) == RegressionMetrics((2.0, 4.0))
    assert metrics_for(SigmoidBinaryCrossEntropy(), numbers) == MultilabelMetrics(0.0)


@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_confusion_counts_are_those_of_scikit_learn(backend: Backend, outputs: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="sklearn is not installed")
    rng = np.random.default_rng(0)
    k = max(2, outputs)
    y, t = rng.standard_normal((30, outputs)), rng.integers(0, k, 30).astype(np.int32)
    predicted = (y[:, 0] >= 0.25).astype(int) if outputs == 1 else y.argmax(axis=1)
    found = confusion_counts(backend.xp, backend.asarray(y), backend.asarray(t), 0.25, k)
    expected = metrics.confusion_matrix(t, predicted, labels=range(k))
    np.testing.assert_array_equal(backend.to_numpy(found).reshape(k, k), expected)
