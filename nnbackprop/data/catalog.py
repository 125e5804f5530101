"""Data sets by name or path, checked; label values of any kind become 0 .. K-1 and K class names."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nnbackprop.errors import DataError

from . import bundled, download
from .dataset import Dataset, Splits
from .limits import Budget
from .readers.paths import read_file, read_folder
from .split import split as stratified
from .table import Table, Tables, check, integer_labels

NAMES: dict[str, Callable[[], Tables]] = {
    "mnist": bundled.mnist,
    "mnist-20x20": lambda: Tables(bundled.mnist_20x20()),
    "weight-height": lambda: Tables(bundled.weight_height()),
    "fashion-mnist": lambda: download.read(download.FASHION_MNIST),
    "kmnist": lambda: download.read(download.KMNIST),
}


def load(
    spec: str | Path, *, test_fraction: float = 0.2, seed: int = 0, split: bool = True, strict: bool = True
) -> Splits:
    """The train and test parts of a data set given by name (see NAMES) or by the path of a file or folder.

    A source of one table is split by `test_fraction`, class by class, drawn by `seed`; with split=False it
    is kept whole, without a test part. strict=False leaves out `check`, to open data that training refuses:
    inputs may then hold NaN, and labels that are not whole numbers are classes named after themselves.
    A name wins over a file of that name; write ./mnist for the latter.
    Raises DataError for anything that cannot be read, UsageError for a fraction outside 0..1.
    """
    tables = read(spec)
    if strict:
        check(tables)
    splits = to_splits(tables)
    if splits.test is not None or not split:
        return splits
    return Splits(*stratified(splits.train, test_fraction, seed))


def read(spec: str | Path) -> Tables:
    """The tables of a source as they are found, unchecked and unsplit."""
    if isinstance(spec, str) and spec in NAMES:
        return NAMES[spec]()
    try:
        path = Path(spec).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, RuntimeError) as error:  # longer than the system allows, or in the home of nobody
        raise DataError(f"{str(spec)[:80]!r} cannot be the name of a file: {error}.") from error
    if not exists:
        near = difflib.get_close_matches(str(spec), NAMES, 1)
        raise DataError(
            f"{str(spec)!r} is not the name of a data set ({', '.join(NAMES)}), and no such file or folder "
            f"exists: {path.absolute()}.{f' Did you mean {near[0]}?' if near else ''}"
        )
    return read_folder(path) if is_folder else read_file(path)


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
    labels, notes = np.searchsorted(values, column).astype(np.int32), [*table.notes]
    if table.labels.dtype.kind == "f":
        notes.append("labels are whole numbers written as floating point; read as integers")
    runs = 1 + int(np.count_nonzero(np.diff(labels)))
    if 1 < len(np.unique(labels)) == runs < len(labels):
        notes.append("samples come sorted by class; training shuffles them")
    if table.inputs.dtype != dtype:
        notes.append(f"inputs are {table.inputs.dtype}, read as {dtype} like the other part")
        Budget(table.source).take_array(table.inputs.shape, dtype)
    inputs = table.inputs.astype(dtype, copy=False)
    return Dataset(inputs, labels, classes, table.image_shape, source=table.source, notes=tuple(notes))
