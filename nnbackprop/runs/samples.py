"""Samples to predict, from the files a person names: images, or rows of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from nnbackprop.data.column_roles import TARGET_NAMES
from nnbackprop.data.limits import format_names
from nnbackprop.data.readers.image import is_image
from nnbackprop.data.readers.paths import read_table
from nnbackprop.data.table import DataOptions, Table, column_names
from nnbackprop.errors import DataError

from .image_samples import read_image
from .run_data import data_options_of
from .trained_model import TrainedModel


def read_samples(
    paths: list[str], trained: TrainedModel, on_message: Callable[[str], None], as_is: bool = False
) -> list[tuple[str, np.ndarray]]:
    """Samples as (name, (n, features)): an image, brought to the network's size, or the rows of a table.

    `on_message` gets what was noticed, such as categories that training did not have. `as_is` leaves out what
    makes a picture like MNIST's digits.
    """
    samples = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            raise DataError(f"{name} is a folder, and files are needed: name them, as in {path / '*.png'}.")
        if is_image(path):
            sample = read_image(path, trained, as_is)
            inputs, notes = sample.inputs, sample.notes
        else:
            inputs, notes = _read_rows(path, trained)
        for note in notes:
            on_message(f"{name}: {note}")
        samples.append((name, inputs))
    return samples


def _read_rows(path: Path, trained: TrainedModel) -> tuple[np.ndarray, tuple[str, ...]]:
    preprocessing = trained.preprocessing
    if preprocessing is None:
        table = read_table(path, DataOptions())
        return rows_of_numbers(table, trained.n_features), table.reader_notes
    expected = (*preprocessing.columns, *preprocessing.targets) if preprocessing.has_names else ()
    options = data_options_of(trained.config)
    places = tuple(column_names([""] * len(preprocessing.columns), str(path)))
    if (
        preprocessing.has_names or preprocessing.columns == places
    ):  # else the place of a column depends on the target
        options = replace(options, text_columns=preprocessing.text_columns)
    table = read_table(path, options, expected)
    inputs, notes = preprocessing.transform(table)
    return inputs, (*table.reader_notes, *notes)


def rows_of_numbers(table: Table, n_features: int) -> np.ndarray:
    """(n, features) float64 of a table of numbers; a column of labels is left out where it is one too many.

    DataError for text or a missing value.
    """
    names = list(table.columns)
    labels = [name for name in names if table.has_names and name.lower() in TARGET_NAMES]
    if len(names) == n_features + 1 and labels:
        names.remove(labels[0])
    for name in names:
        column = table.column(name)
        if not column.dtype.is_numeric():
            raise DataError(
                f"{table.at(name, 0)}: {column[0]!r} is not a number. The network was trained on arrays of "
                f"{n_features} numbers: give an image, or a file of rows of such numbers."
            )
        if column.has_nulls():
            row = int(column.is_null().arg_true()[0])
            raise DataError(f"{table.at(name, row)}: the value is missing. Fill it in, or leave the row out.")
    if len(names) != n_features:
        raise DataError(
            f"{table.source}: has {len(names)} numbers a row ({format_names(names)}) and this network takes "
            f"{n_features}."
        )
    return np.ascontiguousarray(table.select(names).to_numpy(), np.float64)
