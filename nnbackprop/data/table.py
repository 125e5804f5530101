"""A table: named columns of numbers, truth values, text or dates, from a file, a data frame or arrays."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nnbackprop.errors import DataError

from .column_types import normalized, unusable
from .limits import format_names

if TYPE_CHECKING:
    import polars

MAX_NAME_LENGTH = 1000  # characters of a column's name
NO_VALUES = (list, tuple, dict, set, bytes, complex, timedelta, np.ndarray, np.timedelta64)  # what no cell is


@dataclass(frozen=True)
class DataOptions:
    """How data is read and used: tables, CSV files, images; what is not given is chosen, and the choice is shown.

    target    names or places (from 0, the last is -1) of the target columns
    features  the columns to use as features; the others are left out
    drop      columns to leave out
    sample_weight  the column of sample weights, which is no feature
    missing   error, or what numbers that are missing are replaced by; each such column gets an indicator
    size      (rows, columns) to which images are resized, or the same as "28x28"
    channels  of images; auto is grey where all of them are, else rgb
    text_columns  columns of a CSV file that are text whatever their cells look like, as in the training file; no
              option for people
    """

    target: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    task: Literal["auto", "classification", "regression", "multilabel"] = "auto"
    missing: Literal["error", "mean", "median"] = "error"
    sample_weight: str | None = None
    separator: str | None = None
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None
    header: Literal["auto", "yes", "no"] = "auto"
    size: str | tuple[int, int] | None = None
    channels: Literal["auto", "grey", "rgb"] = "auto"
    text_columns: tuple[str, ...] = ()


def _row(i: int) -> str:
    return f"row {i}"


@dataclass(frozen=True, eq=False)
class Table:
    """Named columns of one length.

    columns       the names of all columns, in order
    frame         a polars DataFrame of the columns, named by their places: polars takes names such as `*` and
                  `^a.*$` for patterns. Numbers are UInt8 or Float64, truth values Boolean, text String, what no
                  network takes is as `unusable` has it, and a missing value is null
    source        where it came from
    has_names     whether the columns are named in the source; else they are column_1, column_2 ...
    unnamed       columns without a name beside others that have one
    reader_notes  what the reader noticed and converted, a sentence each
    place         the words for row i, such as `line 7`
    """

    columns: tuple[str, ...]
    frame: polars.DataFrame
    source: str = "memory"
    has_names: bool = True
    unnamed: tuple[str, ...] = ()
    reader_notes: tuple[str, ...] = ()
    place: Callable[[int], str] = _row

    def __len__(self) -> int:
        return self.frame.height

    @classmethod
    def of_frame(cls, frame: polars.DataFrame, source: str) -> Table:
        """A table with the names of a frame whose columns are as tables have them."""
        return cls(tuple(frame.columns), frame_of(frame.get_columns()), source)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.columns)}

    def column(self, name: str) -> polars.Series:
        """The values of a column."""
        return self.frame.to_series(self._places[name])

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns of text."""
        import polars

        return tuple(name for name in self.columns if self.column(name).dtype == polars.String)

    def select(self, names: Iterable[str]) -> polars.DataFrame:
        """Some columns, in this order, named by their places in the table."""
        return self.frame[[str(self._places[name]) for name in names]]

    def is_bytes(self, columns: Iterable[str]) -> bool:
        """Whether the columns are whole numbers in 0..255 without a missing one."""
        return are_bytes(self.select(columns))

    def at(self, column: str, row: int) -> str:
        """The words for a cell."""
        return f"{self.source}, {self.place(row)}, column {column!r}"


def frame_of(columns: Iterable[polars.Series]) -> polars.DataFrame:
    """A frame of columns that are named by their places."""
    import polars

    return polars.DataFrame([column.alias(str(i)) for i, column in enumerate(columns)])


def are_bytes(frame: polars.DataFrame) -> bool:
    """Whether all columns are whole numbers in 0..255 without a missing one."""
    import polars

    return all(dtype == polars.UInt8 for dtype in frame.dtypes)


def is_frame(data: Any) -> bool:
    """Whether `data` is a table in memory: a pandas or polars DataFrame, or a dict of arrays."""
    return isinstance(data, Mapping) or _library_of(data) in ("pandas", "polars")


def _library_of(data: Any) -> str | None:
    """The library whose DataFrame `data` is; none is imported to find out."""
    for name in ("polars", "pandas"):
        module = sys.modules.get(name)
        if module is not None and isinstance(data, getattr(module, "DataFrame", ())):
            return name
    return None


def table_of(data: Any, source: str = "memory") -> Table:
    """A table of a pandas or polars DataFrame, a dict of arrays, or a Table; DataError for anything else."""
    if isinstance(data, Table):
        return data
    library = _library_of(data)
    if library is None and not isinstance(data, Mapping):
        raise DataError(
            f"{source}: a table is needed and {type(data).__name__} was given: pass a pandas or polars DataFrame, "
            "a dict of arrays, or the path of a file."
        )
    columns = {} if library else dict(data)
    names = tuple(data.columns) if library else tuple(columns)
    if not names:
        raise DataError(f"{source}: the table has no columns; a target and at least one feature are needed.")
    series, given = {}, list(map(str, names))
    for i, name in enumerate(column_names(given, source)):
        values = data.to_series(i) if library == "polars" else data.iloc[:, i] if library else columns[names[i]]
        series[name] = _series(values, name, source)
    lengths = {name: len(column) for name, column in series.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{source}: the columns have {lengths} values; one length is needed.")
    notes = tuple(renamed_columns(given, series))
    return Table(tuple(series), frame_of(series.values()), source, reader_notes=notes)


def _series(values: Any, name: str, source: str) -> polars.Series:
    """Values of one column as tables have them; NumPy and pandas mark missing ones by NaN, None, NaT or a mask."""
    import polars

    if isinstance(values, polars.Series):
        return normalized(values)
    array = np.array(values.tolist(), object) if np.ma.is_masked(values) else np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{source}: column {name!r} has shape {array.shape}; one value a row is needed.")
    if array.dtype.kind not in "biufMOSTU":
        return unusable(str(array.dtype), len(array))
    if array.dtype.kind in "biufM":
        return normalized(polars.Series(array.astype("datetime64[us]") if array.dtype.kind == "M" else array))
    items: list[Any] = array.tolist()
    if (no_value := next((v for v in items if isinstance(v, NO_VALUES)), None)) is not None:
        return unusable(type(no_value).__name__, len(items))
    items = [None if _is_missing(v) else v for v in items]
    there = [v for v in items if v is not None]
    if all(isinstance(v, (bool, np.bool_)) for v in there):
        return normalized(polars.Series("", items, polars.Boolean))
    if all(isinstance(v, (bool, np.bool_, numbers.Real, Decimal)) for v in there):
        return normalized(polars.Series("", items, polars.Float64, strict=False))
    return normalized(polars.Series("", [None if v is None else _written(v) for v in items], polars.String))


def _is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or pandas' NA, of which a comparison has no truth value."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def _written(value: Any) -> str:
    """A value as text, as `as_text` has it: 3.0 is `3`."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def column_names(names: Sequence[str], source: str) -> list[str]:
    """Distinct, printable names: those that are empty are column_N, and the second `a` is a_2."""
    found: dict[str, None] = {}
    numbers: dict[str, int] = {}  # the last one given to a name, so that many equal ones take one pass
    for i, name in enumerate(names, 1):
        stripped = name.strip()
        if len(stripped) > MAX_NAME_LENGTH:
            raise DataError(
                f"{source}: the name of column {i} has {len(stripped)} characters, and {MAX_NAME_LENGTH} are read."
            )
        first = (stripped if stripped.isprintable() else ascii(stripped)) or f"column_{i}"
        unique = first
        while unique in found:
            numbers[first] = numbers.get(first, 1) + 1
            unique = f"{first}_{numbers[first]}"
        found[unique] = None
    return list(found)


def renamed_columns(given: Iterable[str], names: Iterable[str]) -> list[str]:
    """A note for each column whose name one before it has; `names` are what column_names made of the given."""
    return [
        f"the name {old!r} occurs again: that column is {new!r} here"
        for old, new in zip(map(str.strip, given), names, strict=True)
        if old.isprintable() and old not in ("", new)
    ]


def missing_columns(names: Sequence[str], table: Table, where: str) -> DataError:
    """The error of columns that a table lacks."""
    lacking = [name for name in names if name not in table.columns]
    return DataError(
        f"{table.source} has no column {format_names(lacking)}, which {where}. Its columns are "
        f"{format_names(table.columns)}."
    )
