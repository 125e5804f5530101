"""Accuracy counts what it says, and refuses the shapes that made a learner's 10% for ever."""

from __future__ import annotations

import numpy as np
import pytest

from backends import Backend
from nnbackprop.errors import ShapeError
from nnbackprop.nn.metrics import accuracy, confusion, count_correct, decide


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
    assert backend.to_numpy(decide(backend.xp, y, 0.5)).tolist() == [1, 0]
    single = backend.asarray(np.array([[0.49], [0.5], [0.9]]))
    assert backend.to_numpy(decide(backend.xp, single, 0.5)).tolist() == [0, 1, 1]
    assert backend.to_numpy(decide(backend.xp, single, 0.0)).tolist() == [1, 1, 1]


def test_count_correct_counts_rows(backend: Backend) -> None:
    y = backend.asarray(np.eye(4))
    labels = backend.asarray(np.array([0, 1, 3, 2], np.int32))
    assert int(backend.to_numpy(count_correct(backend.xp, y, labels, 0.5))) == 2


def test_confusion_has_true_classes_in_rows() -> None:
    table = confusion(np.array([1, 1, 2], np.int32), np.array([1, 0, 2], np.int32), 3)
    assert table.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 1]]
