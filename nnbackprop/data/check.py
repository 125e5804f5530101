"""The judgement: can these values be trained on? Readers only read; a doctor may open what fails here."""

from __future__ import annotations

import bisect

import numpy as np

from nnbackprop.errors import DataError

from .labels import whole
from .table import Table, Tables


def check(tables: Tables) -> None:
    """Raise DataError, naming source and place, at the first value no network can be trained on.

    Inputs must be finite, labels whole numbers, and both parts must have the same features.
    """
    for table in tables:
        if table is not None:
            _check_labels(table)
            _check_finite(table)
    if tables.test is not None:
        _check_alike(tables.train, tables.test)


def _check_labels(table: Table) -> None:
    if whole(table.labels) is not None:
        return
    row = bisect.bisect_left(range(len(table.labels)), True, key=lambda k: whole(table.labels[: k + 1]) is None)
    raise DataError(
        f"{table.source}: label {table.labels[row].item()!r} of sample {row} is not a whole number. Classes are "
        "told apart by whole numbers (0, 1, 2, ...); number yours so in the file."
    )


def _check_finite(table: Table) -> None:
    if table.inputs.dtype == np.uint8:
        return
    finite = np.isfinite(table.inputs)
    if finite.all():
        return
    row, column = divmod(int(np.argmin(finite)), finite.shape[1])
    raise DataError(
        f"{table.source}: {np.count_nonzero(~finite)} of {finite.size} input values are not finite, the first "
        f"({table.inputs[row, column]}) at sample {row}, feature {column}, both counted from 0. Every step "
        "would turn the weights into NaN; repair or leave out these samples."
    )


def _check_alike(train: Table, test: Table) -> None:
    if train.inputs.shape[1] != test.inputs.shape[1] or train.image_shape != test.image_shape:
        raise DataError(
            f"the parts do not belong together: {train.source} has {_features(train)} a sample, "
            f"{test.source} has {_features(test)}."
        )


def _features(table: Table) -> str:
    shape = f" as {table.image_shape[0]} x {table.image_shape[1]}" if table.image_shape else ""
    return f"{table.inputs.shape[1]} features{shape}"
