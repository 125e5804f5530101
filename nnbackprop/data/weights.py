"""Sample weights: a column of a table, and weights that make all classes count alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnbackprop.errors import InputError, UsageError

from .column_types import check_usable
from .dataset import Dataset
from .table import Table


def weights_of(table: Table, column: str) -> np.ndarray:
    """Sample weights (n,) of the rows of a table; InputError for a cell that is none."""
    import polars

    values = table.column(column)
    check_usable(values, column, table.source)
    if not values.dtype.is_numeric():
        raise InputError(
            f"{table.at(column, 0)}: {values[0]!r} is no weight, and sample_weight named it: give a column of "
            "numbers, or leave it out."
        )
    weights = values.cast(polars.Float64)
    wrong = ~(weights.is_finite() & (weights >= 0)).fill_null(False)
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise InputError(
            f"{table.at(column, row)}: the weight is {values[row]}, and one of at least 0 is needed. Fix it, or "
            "remove the row."
        )
    return weights.to_numpy()


def balance_classes(dataset: Dataset) -> Dataset:
    """The same samples with weights n / (K n_k), so that every class has the same weight in all.

    n_k is the number of samples of class k, or their weight where they have weights, which these multiply: the
    class weights that scikit-learn calls balanced. UsageError where there are no classes.
    """
    if not dataset.classes:
        raise UsageError(
            f"class_weight='balanced' is for classes, and the task of {dataset.source} is {dataset.task}: leave "
            "it out."
        )
    weights = np.ones(len(dataset)) if dataset.weights is None else dataset.weights
    counts = np.bincount(dataset.targets, weights, len(dataset.classes))
    present = counts > 0
    of_class = np.divide(weights.sum() / present.sum(), counts, out=np.zeros_like(counts), where=present)
    return replace(dataset, weights=weights * of_class[dataset.targets])
