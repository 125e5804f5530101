"""The class map: label values of any kind become 0 .. K-1 and K class names, the same for all parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dataset import Dataset, Splits
from .limits import Budget
from .table import Table, Tables, integer_labels


def to_splits(tables: Tables) -> Splits:
    """Give both parts one class map, the sorted union of their label values, and one dtype."""
    parts = [table for table in tables if table is not None]
    numbers = [integer_labels(table.labels) for table in parts]
    columns: list[Any] = numbers
    if any(column is None for column in numbers):
        columns = [table.labels.astype(str) for table in parts]
    values = np.unique(np.concatenate(columns))
    names = {value: name for table in parts for value, name in table.names.items()}
    classes = tuple(names.get(value, str(value)) for value in values.tolist())
    dtype = np.result_type(*(table.inputs for table in parts))
    return Splits(*(_dataset(*pair, values, classes, dtype) for pair in zip(parts, columns, strict=True)))


def _dataset(
    table: Table, column: np.ndarray, values: np.ndarray, classes: tuple[str, ...], dtype: np.dtype
) -> Dataset:
    labels = np.searchsorted(values, column).astype(np.int32)
    notes = table.notes + _label_notes(table, labels, classes)
    if table.inputs.dtype != dtype:
        notes += (f"inputs are {table.inputs.dtype}, read as {dtype} like the other part",)
        Budget(table.source).take_array(table.inputs.shape, dtype)
    inputs = table.inputs.astype(dtype, copy=False)
    return Dataset(inputs, labels, classes, table.image_shape, source=table.source, notes=notes)


def _label_notes(table: Table, labels: np.ndarray, classes: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    if table.labels.dtype.kind == "f":
        notes.append("labels are whole numbers written as floating point; read as integers")
    runs = 1 + int(np.count_nonzero(np.diff(labels)))
    if 1 < len(np.unique(labels)) == runs < len(labels):
        notes.append("samples come sorted by class; training shuffles them")
    return tuple(notes)
