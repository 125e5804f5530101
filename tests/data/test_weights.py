"""Sample weights of a column, and class weights: scikit-learn's, weighted samples included."""

from __future__ import annotations

import numpy as np
import pytest

from nnbackprop.data import Dataset, load
from nnbackprop.data.weights import balance_classes
from nnbackprop.errors import DataError, InputError, UsageError

TARGETS = np.array([0, 0, 0, 0, 1, 1, 3], np.int32)  # of class 2 there is none
COLUMNS = {"x": np.arange(7.0), "w": np.array([1, 2, 0, 1, 0.5, 3, 1]), "label": np.array(list("aaaabbc"))}


def dataset(weights: np.ndarray | None = None) -> Dataset:
    return Dataset(np.zeros((7, 2)), TARGETS, ("a", "b", "c", "d"), weights=weights)


def test_balanced_weights_are_scikit_learns() -> None:
    sklearn = pytest.importorskip("sklearn.utils", reason="sklearn, the judge, is not installed")
    got = balance_classes(dataset()).weights
    np.testing.assert_allclose(got, sklearn.compute_sample_weight("balanced", TARGETS), rtol=1e-15)


@pytest.mark.parametrize("weights", [None, np.array([1, 2, 0, 1, 0.5, 3, 1])])
def test_all_classes_have_the_same_weight_and_the_sum_stays(weights: np.ndarray | None) -> None:
    got = balance_classes(dataset(weights)).weights
    assert got is not None
    totals = np.bincount(TARGETS, got)
    np.testing.assert_allclose(totals[[0, 1, 3]], totals.sum() / 3, rtol=1e-15)
    assert got.sum() == pytest.approx(7 if weights is None else weights.sum())


def test_numbers_have_no_classes_to_balance() -> None:
    with pytest.raises(UsageError, match="is for classes, and the task of memory is regression"):
        balance_classes(Dataset(np.zeros((2, 1)), np.zeros((2, 1))))


def test_a_column_of_weights_is_no_feature_and_goes_with_its_rows() -> None:
    splits = load(COLUMNS, sample_weight="w", test_fraction=0.3)
    assert splits.train.feature_names == ("x",)
    for part in (splits.train, splits.test):
        assert part is not None
        np.testing.assert_array_equal(part.weights, COLUMNS["w"][part.inputs[:, 0].astype(int)])
    assert splits.description["sample weights"] == "column w"


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1, 1, -1, 1, 1, 1, 1], "row 2, column 'w': the weight is -1"),
        ([1, 1, 1, None, 1, 1, 1], "row 3, column 'w': the weight is None"),
        ([1, 1, 1, 1, float("inf"), 1, 1], "row 4, column 'w': the weight is inf"),
        (list("abcdefg"), "row 0, column 'w': 'a' is no weight"),
    ],
)
def test_a_cell_that_is_no_weight_is_named(column: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load({**COLUMNS, "w": column}, sample_weight="w", split=False)


def test_weights_that_are_all_zero_or_a_target_are_refused() -> None:
    with pytest.raises(DataError, match="with a positive sum"):
        load({**COLUMNS, "w": np.zeros(7)}, sample_weight="w", split=False)
    with pytest.raises(UsageError, match=r"w'? holds the sample weights, so it is no target or feature"):
        load(COLUMNS, sample_weight="w", target="w")
    with pytest.raises(UsageError, match="sample_weight='v': memory has no such column"):
        load(COLUMNS, sample_weight="v")
