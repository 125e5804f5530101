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
ACCURACY = float(np.mean(PREDICTIONS == LABELS))
COLUMN = LABELS[:, None]
HOT, HOT_LABELS = np.eye(10)[PREDICTIONS], np.eye(10)[LABELS]
ODD, EVEN = RNG.integers(0, 3, 301), RNG.integers(1, 5, (301, 1))
ZEROS = np.zeros(200_000, int)
BINARY = np.arange(100) % 2
PROBABILITIES = np.where(BINARY == 1, 0.9, 0.2)


def finding(*arrays: np.ndarray, **more: object) -> Finding | None:
    diagnosis = check_metric(*arrays, **more)  # type: ignore[arg-type]
    assert {f.id for f in diagnosis.findings} | set(diagnosis.passed) == {"metric-broadcast"}
    return diagnosis.findings[0] if diagnosis.findings else None


@pytest.mark.parametrize(
    ("predictions", "labels", "accuracy", "table"),
    [
        (PREDICTIONS, COLUMN, ACCURACY, np.mean(PREDICTIONS == COLUMN)),
        (PREDICTIONS[:, None], LABELS, ACCURACY, np.mean(PREDICTIONS[:, None] == LABELS)),
        (PREDICTIONS[None, :], COLUMN, ACCURACY, np.mean(PREDICTIONS[None, :] == COLUMN)),
        (ODD, EVEN, np.mean(EVEN[:, 0] == ODD), np.mean(ODD == EVEN)),  # other classes in one than in the other
        (ZEROS, ZEROS[:, None], 1, 1),  # a table of 40 GB
        (PROBABILITIES[:, None], BINARY, 1, 0.5),
    ],
)
def test_a_column_against_a_row_is_a_fault(
    predictions: np.ndarray, labels: np.ndarray, accuracy: float, table: float
) -> None:
    """Both numbers are said, and the second is NumPy's own."""
    found = finding(predictions, labels)
    assert found is not None
    assert found.level == "fault"
    assert f"sample by sample {accuracy:.2%} are right" in found.evidence
    assert f"table of all against all {table:.2%}." in found.evidence


@pytest.mark.parametrize(
    ("arrays", "more", "level", "text"),
    [
        ((PREDICTIONS, COLUMN), {"reported": 10.0, "losses": [0.46, 0.12]}, "fault", "Reported: 10.00%"),
        (
            (PREDICTIONS, COLUMN),
            {"reported": 10.0, "losses": [0.46, 0.12]},
            "fault",
            "loss fell from 0.46 to 0.12",
        ),
        ((PREDICTIONS, LABELS), {"reported": 0.1}, "fault", "broadcasts"),  # within the code that reports
        ((HOT, HOT_LABELS), {"reported": np.mean(HOT == HOT_LABELS)}, "fault", "argmax(axis=1)"),
        ((HOT, HOT_LABELS), {"reported": np.mean(HOT == HOT_LABELS)}, "fault", f"{ACCURACY:.2%}"),
        ((PREDICTIONS, LABELS), {"reported": 0.43}, "warning", "neither"),
    ],
)
def test_a_wrong_reported_accuracy_is_a_finding_with_its_cause(
    arrays: tuple, more: dict[str, object], level: str, text: str
) -> None:
    found = finding(*arrays, **more)
    assert found is not None
    assert found.level == level
    assert text in " ".join(str(found).split())


def test_a_loss_that_does_not_fall_is_not_said_to() -> None:
    assert "loss" not in str(finding(PREDICTIONS, COLUMN, reported=0.1, losses=[0.46, 0.46]))


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [
        (PREDICTIONS, LABELS),
        (PREDICTIONS[:, None], COLUMN),
        (HOT * 0.7, LABELS),
        (HOT, HOT_LABELS),
        (PREDICTIONS.astype(float), LABELS),
    ],
)
@pytest.mark.parametrize("reported", [None, ACCURACY, 100 * ACCURACY])
def test_a_right_accuracy_passes(predictions: np.ndarray, labels: np.ndarray, reported: float | None) -> None:
    assert finding(predictions, labels, reported=reported) is None


def test_a_column_that_was_flattened_before_it_was_counted_passes() -> None:
    assert finding(PREDICTIONS, COLUMN, reported=ACCURACY) is None


def test_probabilities_of_one_output_and_a_single_sample_pass() -> None:
    assert finding(PROBABILITIES, BINARY) is None
    assert finding(np.array([3]), np.array([[3]])) is None


@pytest.mark.parametrize("labels", [LABELS[:-1], LABELS[:0], np.zeros((M, 2, 2))])
def test_arrays_of_other_samples_are_an_error(labels: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="as many of one as of the other"):
        check_metric(PREDICTIONS, labels)
