"""An accuracy that was counted in another way than sample by sample is told from one that was not."""

from __future__ import annotations

import numpy as np
import pytest

from nnbackprop.diagnostics.doctor import check_metric
from nnbackprop.diagnostics.findings import Finding
from nnbackprop.errors import ShapeError

M = 500
RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.arange(M) % 10)
PREDICTIONS = np.where(RNG.random(M) < 0.8, LABELS, (LABELS + 1) % 10)
HONEST = float(np.mean(PREDICTIONS == LABELS))
COLUMN = LABELS.reshape(-1, 1)


def finding(*arrays: np.ndarray, **more: object) -> Finding | None:
    diagnosis = check_metric(*arrays, **more)  # type: ignore[arg-type]
    assert {f.id for f in diagnosis.findings} | set(diagnosis.passed) == {"metric-broadcast"}
    return diagnosis.findings[0] if diagnosis.findings else None


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [(PREDICTIONS, COLUMN), (PREDICTIONS[:, None], LABELS), (PREDICTIONS[None, :], COLUMN)],
)
def test_a_column_against_a_row(predictions: np.ndarray, labels: np.ndarray) -> None:
    """Both numbers are said, and the second is NumPy's own."""
    found = finding(predictions, labels)
    assert found is not None
    assert found.level == "fault"
    assert f"sample by sample {HONEST:.2%} are right" in found.evidence
    assert f"({M}, {M}) table of all against all {np.mean(predictions == labels):.2%}" in found.evidence


@pytest.mark.parametrize("classes", [3, 10])
def test_the_table_is_counted_as_numpy_counts_it(classes: int) -> None:
    p, t = RNG.integers(0, classes, 301), RNG.integers(1, classes + 2, 301)
    found = finding(p, t[:, None])
    assert found is not None
    assert f"{np.mean(p == t[:, None]):.2%}." in found.evidence


def test_a_table_too_large_to_make() -> None:
    found = finding(np.zeros(200_000, int), np.zeros((200_000, 1), int))
    assert found is not None
    assert "100.00%" in found.evidence


def test_the_story_of_ex4() -> None:
    """Near 1/K, reported in percent, while the loss falls."""
    found = finding(PREDICTIONS, COLUMN, reported=10.0, losses=[0.46, 0.31, 0.12])
    assert found is not None
    assert "Reported: 10.00%" in found.evidence
    assert "the loss fell from 0.46 to 0.12" in found.evidence


def test_a_loss_that_does_not_fall_is_not_said_to() -> None:
    found = finding(PREDICTIONS, COLUMN, reported=0.1, losses=[0.46, 0.46])
    assert found is not None
    assert "Meanwhile" not in found.evidence


def test_shapes_that_are_right_and_a_number_that_is_the_tables() -> None:
    """The shapes differ within the code that reports, not in what is handed in."""
    found = finding(PREDICTIONS, LABELS, reported=0.1)
    assert found is not None
    assert found.level == "fault"


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [
        (PREDICTIONS, LABELS),
        (PREDICTIONS[:, None], COLUMN),
        (np.eye(10)[PREDICTIONS] * 0.7, LABELS),
        (np.eye(10)[PREDICTIONS], np.eye(10)[LABELS]),
        (PREDICTIONS.astype(float), LABELS),
    ],
)
@pytest.mark.parametrize("reported", [None, HONEST, 100 * HONEST])
def test_an_honest_count_passes(predictions: np.ndarray, labels: np.ndarray, reported: float | None) -> None:
    assert finding(predictions, labels, reported=reported) is None


def test_a_column_that_was_flattened_before_it_was_counted() -> None:
    assert finding(PREDICTIONS, COLUMN, reported=HONEST) is None


def test_one_hot_rows_compared_entry_by_entry() -> None:
    p, t = np.eye(10)[PREDICTIONS], np.eye(10)[LABELS]
    found = finding(p, t, reported=float(np.mean(p == t)))
    assert found is not None
    assert "argmax(axis=1)" in found.fix
    assert f"{HONEST:.2%}" in found.evidence


def test_probabilities_of_one_output() -> None:
    t = np.arange(100) % 2
    p = np.where(t == 1, 0.9, 0.2)
    assert finding(p, t) is None
    found = finding(p[:, None], t)
    assert found is not None
    assert "sample by sample 100.00%" in found.evidence
    assert "50.00%" in found.evidence


def test_a_number_that_is_neither_count_is_a_warning() -> None:
    found = finding(PREDICTIONS, LABELS, reported=0.43)
    assert found is not None
    assert found.level == "warning"


def test_a_single_sample_does_not_broadcast() -> None:
    assert finding(np.array([3]), np.array([[3]])) is None


@pytest.mark.parametrize("labels", [LABELS[:-1], LABELS[:0], np.zeros((M, 2, 2))])
def test_arrays_that_are_not_of_the_same_samples(labels: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="as many of one as of the other"):
        check_metric(PREDICTIONS, labels)
