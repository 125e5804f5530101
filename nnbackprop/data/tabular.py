"""From the tables of a source to data sets: roles of the columns, split, fitted preprocessing, targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nnbackprop.errors import DataError

from .column_roles import ColumnRoles, check_targets, choose_roles, require_targets
from .column_types import as_text
from .dataset import Dataset
from .limits import format_names
from .preprocessing import Preprocessing, check_column
from .raw import RawDataset, RawSplits, Task, integer_labels, order_notes
from .split import Splits, split_rows
from .table import DataOptions, Table
from .weights import weights_of

if TYPE_CHECKING:
    import polars

TRUTH_VALUES = ("False", "True")  # as classes
MAX_WHOLE = 2.0**53  # up to which float64 holds every whole number


@dataclass(frozen=True)
class TableSplits:
    """The tables of a source, the test part's where it has one, and how their columns are used."""

    train: Table
    test: Table | None = None
    options: DataOptions = DataOptions()

    @property
    def roles(self) -> ColumnRoles:
        """The roles of the columns, chosen by the training table."""
        return choose_roles(self.train, self.options)


def dataset_of(table: Table, preprocessing: Preprocessing, notes: Sequence[str] = ()) -> Dataset:
    """The rows of a table that has the targets, preprocessed; DataError for one that training refuses."""
    require_targets(table, preprocessing.targets)
    check_targets(table, preprocessing.targets, preprocessing.task)
    inputs, found = preprocessing.transform(table)
    weight, weights = preprocessing.sample_weight, None
    if weight in table.columns:
        weights = weights_of(table, weight)
    elif weight is not None:
        found = (*found, f"there is no column {weight!r} of sample weights: all samples count alike")
    return Dataset(
        inputs,
        targets_of(table, preprocessing.targets, preprocessing.task, preprocessing.classes),
        preprocessing.classes,
        preprocessing.image_shape,
        weights,
        source=table.source,
        reader_notes=tuple(dict.fromkeys((*table.reader_notes, *notes, *found))),
        preprocessing=preprocessing,
    )


def to_splits(tables: TableSplits, test_fraction: float, validation_fraction: float, seed: int) -> Splits:
    """Data sets of the tables, preprocessing fitted to the training part alone.

    A fraction of 0 splits nothing off; a test table that is there is the test part.
    """
    roles = tables.roles
    table, test, notes = tables.train, tables.test, [*roles.notes]
    if test is not None and not set(roles.targets) <= set(test.columns):
        notes.append(f"{test.source} has no labels (column {format_names(roles.targets)}) and was left out")
        test = None
    if test is not None:
        check_targets(test, roles.targets, roles.task)
    for part in (table, test):
        for name in roles.features if part else ():
            if name in part.columns:  # type: ignore[union-attr]
                is_text = part is test and name in table.text_columns
                check_column(part, name, part.column(name), tables.options.missing, is_text)  # type: ignore[union-attr, arg-type]
    classes = _classes([t for t in (table, test) if t is not None], roles)
    rows = np.arange(len(table))
    labels = targets_of(table, roles.targets, roles.task, classes) if classes else None
    test_rows = validation_rows = None
    if test is None and test_fraction:
        rows, test_rows = _split(rows, labels, classes, test_fraction, seed, table.source)
    if validation_fraction:
        rows, validation_rows = _split(rows, labels, classes, validation_fraction, seed, table.source)
    train = take(table, rows)
    preprocessing = Preprocessing.fit(train, roles, classes, tables.options.missing)
    notes += [] if labels is None else order_notes(labels[rows])
    if test_rows is not None:
        test = take(table, test_rows)
    validation = None if validation_rows is None else take(table, validation_rows)
    parts = [dataset_of(part, preprocessing, notes) if part else None for part in (train, test, validation)]
    widest = np.result_type(*(part.inputs.dtype for part in parts if part))
    train_part, test_part, validation_part = (part and _as_dtype(part, widest) for part in parts)
    assert train_part is not None
    return Splits(train_part, test_part, validation_part, roles.description)


def take(table: Table, rows: np.ndarray) -> Table:
    """The rows of a table, which keep their place in the file."""
    if len(rows) == len(table):
        return table
    return replace(table, frame=table.frame[rows], place=lambda i: table.place(int(rows[i])))


def targets_of(table: Table, names: Sequence[str], task: Task, classes: tuple[str, ...]) -> np.ndarray:
    """Class indices (n,) int32, or numbers (n, k) float64; DataError for a class that is not known."""
    import polars

    if task != "classification":
        return np.ascontiguousarray(table.select(names).cast(polars.Float64).to_numpy())
    labels = class_names(table, names[0], classes)
    index = {name: k for k, name in enumerate(classes)}
    known = labels.replace_strict(index, default=-1, return_dtype=polars.Int32).to_numpy()
    if (known < 0).any():
        row = int(np.argmax(known < 0))
        raise DataError(
            f"{table.at(names[0], row)}: class {labels[row]!r} is not among the {len(classes)} known ones "
            f"({format_names(classes)})."
        )
    return known.astype(np.int32)


def class_names(table: Table, name: str, known: Sequence[str] = TRUTH_VALUES) -> polars.Series:
    """A target column as the names of classes: 3.0 is `3`, and truth values are in the case of `known` names.

    DataError for a number that is not whole.
    """
    import polars

    column = table.column(name)
    if not column.dtype.is_float():
        return as_text(column, known)
    bad = (column != column.floor()) | (column.abs() > MAX_WHOLE)  # where polars counts NaN, too
    if bad.any():
        row = int(bad.arg_true()[0])
        raise DataError(
            f"{table.at(name, row)}: label {column[row]:g} is not a whole number up to 2^53. Class labels are "
            "whole numbers or names; for amounts give task='regression'."
        )
    return column.cast(polars.Int64).cast(polars.String)


def _classes(tables: Sequence[Table], roles: ColumnRoles) -> tuple[str, ...]:
    """Class names in the order of the numbers, where all are whole numbers, else of the alphabet."""
    if roles.task != "classification":
        return ()
    names = {name for table in tables for name in class_names(table, roles.targets[0]).unique().to_list()}
    try:
        return tuple(sorted(names, key=lambda name: (int(name), name)))  # 1 and 01 are one number
    except ValueError:
        return tuple(sorted(names))


def _split(
    rows: np.ndarray,
    labels: np.ndarray | None,
    classes: tuple[str, ...],
    fraction: float,
    seed: int,
    source: str,
) -> tuple[np.ndarray, np.ndarray]:
    part = None if labels is None else labels[rows]
    rest, split_off = split_rows(len(rows), part, len(classes), fraction, seed, source)
    return rows[rest], rows[split_off]


def _as_dtype(part: Dataset, dtype: np.dtype) -> Dataset:
    return replace(part, inputs=part.inputs.astype(dtype, copy=False))


def to_raw(tables: TableSplits) -> RawSplits:
    """The tables as arrays that nothing was checked of: what the doctor examines."""
    splits = to_splits(tables, 0, 0, 0)
    return RawSplits(_raw(splits.train), _raw(splits.test) if splits.test else None)


def _raw(part: Dataset) -> RawDataset:
    """Class labels as the numbers they are, or indices with names; targets that are numbers as they are."""
    labels, names = part.targets, dict(enumerate(part.classes))
    numbers = integer_labels(np.array(part.classes)) if part.classes else None
    if numbers is not None:
        labels, names = numbers[labels], {}
    return RawDataset(part.inputs, labels, part.source, part.image_shape, names, part.reader_notes, part.task)
