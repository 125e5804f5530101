"""Preprocessing of a table: fitted to the training part, applied by column name, kept as plain data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nnbackprop.errors import DataError, InputError

from .column_roles import ColumnRoles, image_shape
from .column_types import as_text, check_usable, is_date
from .limits import MAX_LABEL_LENGTH, MemoryBudget, format_names
from .raw import Task
from .table import Table, are_bytes, missing_columns

if TYPE_CHECKING:
    import polars

FLOAT32_DIGITS = 2.0**-24  # relative error of float32
MAX_FLOAT32 = float(np.finfo(np.float32).max)
NO_TEXT = re.compile(r"-?(0|[1-9]\d*)|(?i:true|false)")  # classes that are whole numbers or truth values
LEADING_ZERO = re.compile(r"0\d+")
MAX_LOSS = 2.0**-10  # of a column's standard deviation that rounding to float32 may cost


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How rows of a table become inputs and targets of a network.

    columns     the feature columns, in order
    targets     the target columns, and the `task` they make; `classes` are the names of classification
    sample_weight  the column of sample weights, where there is one
    image_shape (rows, columns) where the features are pixels
    has_names   whether the names are those of the training file; else columns are told by their place
    missing     error, mean or median: what a missing number is replaced by
    categories  of each text column, in the order of their features
    fill        what a missing number is replaced by, by column
    indicators  columns with a missing value in training: each has a feature that is 1 where it is missing
    offsets     taken off a column whose spread is small beside its values, so that float32 keeps its digits

    A number is one feature, a truth value is 0 or 1, and text is one feature a category, 1 for its own (one-hot).
    A category that training did not have is 0 in all of them. Missing text is a category of its own, unless
    `missing` is error.
    """

    columns: tuple[str, ...]
    targets: tuple[str, ...] = ()
    task: Task = "classification"
    classes: tuple[str, ...] = ()
    image_shape: tuple[int, int] | None = None
    has_names: bool = True
    missing: str = "error"
    categories: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    fill: dict[str, float] = field(default_factory=dict)
    indicators: tuple[str, ...] = ()
    offsets: dict[str, float] = field(default_factory=dict)
    sample_weight: str | None = None

    @classmethod
    def fit(
        cls, table: Table, roles: ColumnRoles, classes: tuple[str, ...] = (), missing: str = "error"
    ) -> Preprocessing:
        """Preprocessing with the categories and means of this table; DataError names a bad cell."""
        import polars

        categories: dict[str, tuple[str | None, ...]] = {}
        fill: dict[str, float] = {}
        offsets: dict[str, float] = {}
        indicators = []
        for name in roles.features:
            column = table.column(name)
            check_column(table, name, column, missing)
            if column.dtype == polars.String:
                categories[name] = (*sorted(column.drop_nulls().unique()), *((None,) * column.has_nulls()))
                continue
            if missing != "error":
                fill[name] = _center(table, name, column, missing)
                indicators += [name] * column.has_nulls()
            if offset := _offset(column):
                offsets[name] = offset
        plain = not (categories or indicators or offsets)
        return cls(
            columns=roles.features,
            targets=roles.targets,
            task=roles.task,
            classes=classes,
            image_shape=image_shape(table, roles.features) if plain else None,
            has_names=table.has_names,
            missing=missing,
            categories=categories,
            fill=fill,
            indicators=tuple(indicators),
            offsets=offsets,
            sample_weight=roles.sample_weight,
        )

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns of features and targets that are text in a file, whatever its cells look like."""
        is_text = self.classes and not all(map(NO_TEXT.fullmatch, self.classes))
        return (*self.categories, *(self.targets if is_text else ()))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features: age, age=missing, colour=red ..."""
        names: list[str] = []
        for name in self.columns:
            if name in self.categories:
                names += [f"{name}={'missing' if c is None else c}" for c in self.categories[name]]
            else:
                names += [name, *([f"{name}=missing"] if name in self.indicators else [])]
        return tuple(names)

    @property
    def is_indicator(self) -> np.ndarray:
        """(features,) bool: which features are 0 or 1 for a category or a missing value, and are not scaled."""
        flags: list[bool] = []
        for name in self.columns:
            if name in self.categories:
                flags += [True] * len(self.categories[name])
            else:
                flags += [False] + [True] * (name in self.indicators)
        return np.array(flags, bool)

    @property
    def feature_offsets(self) -> np.ndarray:
        """(features,) float64: what is taken off each feature, 0 where nothing is."""
        found = np.zeros(len(self.feature_names))
        found[~self.is_indicator] = [self.offsets.get(c, 0.0) for c in self.columns if c not in self.categories]
        return found

    @property
    def is_plain(self) -> bool:
        """Whether a row's features are its numbers as they stand."""
        return not (self.categories or self.indicators or self.offsets)

    def transform(self, table: Table) -> tuple[np.ndarray, tuple[str, ...]]:
        """Inputs (n, features) of a table, uint8 or float32, and a note for each column with unseen text.

        Columns are found by name, or by their place where neither table has names. Raises DataError for a column
        that is not there, of another kind, or with a missing value where `missing` is error.
        """
        frame = self.select(table)
        notes: list[str] = []
        if self.is_plain and are_bytes(frame):
            return np.ascontiguousarray(frame.to_numpy()), ()
        shape = (frame.height, len(self.feature_names))
        MemoryBudget(table.source).reserve_array(shape, np.dtype(np.float32))
        inputs = np.zeros(shape, np.float32)
        at = 0
        for name, column in zip(self.columns, frame.get_columns(), strict=True):
            if name in self.categories:
                at += self._encode(inputs[:, at:], name, column, table, notes)
            else:
                at += self._numbers(inputs[:, at:], name, column, table)
        return inputs, tuple(notes)

    def select(self, table: Table) -> polars.DataFrame:
        """The columns of `self.columns` in their order; DataError names those that are not there."""
        if set(self.columns) <= set(table.columns) and (table.has_names or not self.has_names):
            return table.select(self.columns)
        if table.has_names and self.has_names:
            raise missing_columns(self.columns, table, "the network was trained on")
        if len(table.columns) != len(self.columns):
            raise DataError(
                f"{table.source}: has {len(table.columns)} columns without names and the network takes "
                f"{len(self.columns)}: {format_names(self.columns)}. Give these in this order, or a header."
            )
        return table.frame

    def _encode(self, out: np.ndarray, name: str, column: polars.Series, table: Table, notes: list[str]) -> int:
        check_column(table, name, column, self.missing, is_text=True)
        known = self.categories[name]
        text = as_text(column, known)
        for k, category in enumerate(known):
            here = text.is_null() if category is None else text.eq_missing(category)
            out[:, k] = here.to_numpy()
        unseen = text.filter(~text.is_in([c for c in known if c is not None]) & text.is_not_null()).unique().sort()
        found = [*map(repr, unseen), *["missing text"] * (text.has_nulls() and None not in known)]
        if found:
            zeros = next((c for c in known if c and LEADING_ZERO.fullmatch(c)), None)
            lost = f"; numbers have no leading zeros, as {zeros!r} had in training: read the column as text"
            notes.append(
                f"column {name!r} has {format_names(found)}, which training did not have: 0 in all of its features"
                + (lost if zeros and column.dtype.is_numeric() else "")
            )
        return len(known)

    def _numbers(self, out: np.ndarray, name: str, column: polars.Series, table: Table) -> int:
        import polars

        if column.dtype == polars.String:
            row = int(column.is_not_null().arg_true()[0])
            raise DataError(
                f"{table.at(name, row)}: {column[row]!r} is text, and the network was trained on numbers there."
            )
        check_column(table, name, column, self.missing)
        values = column.cast(polars.Float64)
        filled = values.fill_null(self.fill.get(name, 0.0)).to_numpy()
        numbers = filled - self.offsets.get(name, 0.0)
        beyond = np.abs(numbers) > MAX_FLOAT32
        if beyond.any():
            row = int(np.argmax(beyond))
            raise InputError(
                f"{table.at(name, row)}: {filled[row]:g} is beyond float32, which ends at {MAX_FLOAT32:.2g}. "
                f"Put the column in another unit, or leave it out with drop=[{name!r}]."
            )
        out[:, 0] = numbers
        if name not in self.indicators:
            return 1
        out[:, 1] = values.is_null().to_numpy()
        return 2


def check_column(table: Table, name: str, column: polars.Series, missing: str, is_text: bool = False) -> None:
    """InputError for a column that no network can be trained on as it is; DataError for one of another type.

    Dates are text where `is_text` says that training had text there.
    """
    import polars

    check_usable(column, name, table.source)
    if is_date(column) and not is_text:
        raise InputError(
            f"{table.source}: column {name!r} holds dates, such as {column.drop_nulls().to_list()[0]!s}, and a "
            f"network takes numbers. Leave it out with drop=[{name!r}], or put year, month or days since a day in "
            "columns of their own."
        )
    if column.has_nulls() and missing == "error":
        row = int(column.is_null().arg_true()[0])
        raise InputError(
            f"{table.at(name, row)}: the value is missing, as {column.null_count()} of {len(column)} are in this "
            "column. Give missing='mean' or missing='median' to fill in numbers (each such column gets an "
            f"indicator, and missing text is a category), leave the column out with drop=[{name!r}], or remove "
            "such rows."
        )
    if column.dtype == polars.Float64 and column.is_infinite().any():
        row = int(column.is_infinite().fill_null(False).arg_true()[0])
        raise InputError(f"{table.at(name, row)}: the value is infinite. Fix it, or remove the row.")
    if column.dtype == polars.String:
        longest: Any = column.str.len_chars().max() or 0
        if longest > MAX_LABEL_LENGTH:
            raise InputError(
                f"{table.source}: column {name!r} holds text of up to {longest} characters, and "
                f"{MAX_LABEL_LENGTH} are enough to name a category. Leave it out with drop=[{name!r}]."
            )


def _center(table: Table, name: str, column: polars.Series, missing: str) -> float:
    import polars

    values = column.cast(polars.Float64)
    center = values.median() if missing == "median" else values.mean()
    if center is None:
        raise DataError(
            f"{table.source}: column {name!r} has no value in the training part, so there is no {missing}. "
            f"Leave it out with drop=[{name!r}]."
        )
    return float(center)  # type: ignore[arg-type]


def _offset(column: polars.Series) -> float:
    """The mean where float32 would lose the digits that tell values apart, else 0."""
    import polars

    if column.dtype != polars.Float64 or column.null_count() == len(column):
        return 0.0
    low, high, std = column.min(), column.max(), column.std(ddof=0)
    largest = max(abs(float(low)), abs(float(high)))  # type: ignore[arg-type]
    return float(column.mean()) if largest * FLOAT32_DIGITS > MAX_LOSS * float(std) > 0 else 0.0  # type: ignore[arg-type]
