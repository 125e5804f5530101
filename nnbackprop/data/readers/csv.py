"""CSV, one sample a line: Kaggle's layout (a header with `label`) or pjreddie's (no header, label first).

Read in blocks of lines by polars, as uint8 while that is possible, else as float32: memory is the table
and one block, not the text.
"""

from __future__ import annotations

import csv
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nnbackprop._safe_open import open_file, size_of
from nnbackprop.data.limits import LONGEST_LABEL, Budget
from nnbackprop.data.table import Table, square
from nnbackprop.errors import DataError, InputError, LabelError, NnbackpropError

LABEL_NAMES = ("label", "labels", "class", "target", "digit", "y")
BLOCK = 4 * 2**20
LONGEST_LINE = 2**22
MOST_COLUMNS = 2**16 + 1  # a label and 256 x 256 pixels; polars takes seconds for more
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Layout:
    """How a file is laid out: its number of columns, which of them is the label, lines of header (0 or 1)."""

    columns: int
    label: int
    header: int


def read(path: Path) -> Table:
    """The table of a CSV file; labels stay text until they are judged.

    The label is the column named so (label, class, target, digit or y) in a header, or the first column
    without one. Raises DataError naming the file, the line and what is wrong there; for a file without
    labels (Kaggle's test.csv) as well.
    """
    try:
        with open_file(path) as stream:
            layout = _layout(stream, path)
            rows = _count_rows(stream, layout)
        with open_file(path) as stream:
            stream.seek(len(BOM) if stream.read(len(BOM)) == BOM else 0)
            inputs, labels = _read_blocks(stream, layout, rows, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}.") from error
    if not len(labels):
        raise DataError(f"{path}: holds no samples{', only a header' if layout.header else ''}.")
    return Table.of(inputs, labels, str(path))


def has_labels(path: Path) -> bool:
    """Whether a CSV file's first line leaves room for labels."""
    try:
        with open_file(path) as stream:
            return _label_column(_fields(stream.readline(LONGEST_LINE), path)) is not None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}.") from error


def read_rows(path: Path) -> np.ndarray:
    """(n, features) float64 of a file without header or labels, one sample a line; DataError for any other."""
    try:
        with open_file(path) as stream, warnings.catch_warnings():  # by its name NumPy would fetch or inflate it
            Budget(str(path)).take(4 * size_of(stream))  # a digit and a comma become 8 bytes
            warnings.simplefilter("ignore", UserWarning)  # of an empty file, which is refused below
            rows = np.loadtxt(stream, delimiter=",", ndmin=2, dtype=np.float64, encoding="utf-8-sig")
    except NnbackpropError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as rows of numbers ({error}): give a PNG image, or a CSV file without header "
            "or labels, one sample a row."
        ) from error
    if not rows.size:
        raise DataError(f"{path}: holds no samples.")
    return rows


def _layout(stream: BinaryIO, path: Path) -> Layout:
    fields = _fields(stream.readline(LONGEST_LINE), path)
    if not 2 <= len(fields) <= MOST_COLUMNS:
        raise DataError(
            f"{path}: its first line is no row of a label and features separated by commas, of {MOST_COLUMNS} "
            "columns at most."
        )
    label = _label_column(fields)
    if label is None:
        raise DataError(
            f"{path}: has {len(fields)} columns and none of them is the label, so nothing can be learnt or judged "
            "from it (Kaggle's test.csv is so). Give the train file, or one with a column named label."
        )
    return Layout(len(fields), label, 0 if _is_row(fields) else 1)


def _fields(line: bytes, path: Path) -> list[str]:
    try:
        return next(csv.reader([line.removeprefix(BOM).decode()], strict=True), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: is no CSV file of UTF-8 text: {error}.") from error


def _is_row(fields: list[str]) -> bool:
    return all(_number(field) is not None for field in fields)


def _label_column(fields: list[str]) -> int | None:
    """Index of the label; None where a header has pixels only, or a row is all of a square image."""
    if _is_row(fields):
        return None if square(len(fields)) and not square(len(fields) - 1) else 0
    names = [field.strip().lower() for field in fields]
    found = [names.index(name) for name in LABEL_NAMES if name in names]
    if found or names[0].startswith("pixel"):
        return found[0] if found else None
    return 0


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _count_rows(stream: BinaryIO, layout: Layout) -> int:
    """At least the number of rows that are left: lines, or as many as so few bytes can hold."""
    start, lines = stream.tell(), 1
    while piece := stream.read(BLOCK):
        lines += piece.count(b"\n")
    return min(lines, (stream.tell() - start) // (2 * layout.columns) + 1) + 1 - layout.header


def _read_blocks(stream: BinaryIO, layout: Layout, rows: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, columns - 1) and text labels (n,), block by block into one array."""
    Budget(str(path)).take_array((rows, layout.columns - 1), np.dtype(np.uint8))
    inputs = np.empty((rows, layout.columns - 1), np.uint8)
    labels: list[np.ndarray] = []
    done, line = 0, 1 + layout.header
    if layout.header:
        stream.readline()
    while block := stream.read(BLOCK) + stream.readline(LONGEST_LINE):
        if block.strip():
            pixels, names = _parse(block, layout, line, path)
            if pixels.dtype != np.uint8 == inputs.dtype:
                Budget(str(path)).take_array(inputs.shape, pixels.dtype)
                inputs = _widened(inputs, done)
            inputs[done : done + len(pixels)] = pixels
            labels.append(names)
            done += len(pixels)
        line += block.count(b"\n")
    return inputs[:done], np.concatenate(labels) if labels else np.empty(0, str)


def _widened(inputs: np.ndarray, done: int) -> np.ndarray:
    """The same array as float32, of which the first `done` rows are worth copying."""
    wide = np.empty(inputs.shape, np.float32)
    wide[:done] = inputs[:done]
    return wide


def _parse(block: bytes, layout: Layout, line: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A block's pixels, as uint8 or float32, and labels; `line` is its first line's number in the file."""
    import polars

    faults = (polars.exceptions.PolarsError, polars.exceptions.PanicException)
    try:
        frame = _frame(block, layout, polars.UInt8)
    except polars.exceptions.ComputeError:
        try:
            frame = _frame(block, layout, polars.Float32)
        except faults as error:
            raise _blame(block, layout, line, path, error) from error
    except faults as error:
        raise _blame(block, layout, line, path, error) from error
    frame = frame.filter(~polars.all_horizontal(polars.all().is_null()))  # blank lines
    if sum(frame.null_count().row(0)):
        raise _blame(block, layout, line, path)
    labels = frame.to_series(layout.label)
    if labels.str.len_chars().gt(LONGEST_LABEL).any():
        raise _blame(block, layout, line, path)
    return frame.drop(frame.columns[layout.label]).to_numpy(), labels.to_numpy().astype(str)


def _frame(block: bytes, layout: Layout, pixel: Any) -> Any:
    """The block as polars reads it, spoken to with care.

    It inflates what begins like gzip, zlib or zstd, to whatever size, and panics at a quote that is the last byte.
    """
    import polars

    kinds = {f"{i}": polars.String if i == layout.label else pixel for i in range(layout.columns)}
    return polars.read_csv(BOM + block.lstrip(b"\r\n") + b"\n", has_header=False, schema=kinds)


def _blame(block: bytes, layout: Layout, first: int, path: Path, error: BaseException | None = None) -> DataError:
    """The error that names the line at fault, found by reading the block once more, slowly."""
    try:
        for line, row in enumerate(csv.reader(block.decode().splitlines(), strict=True), first):
            if row and len(row) != layout.columns:
                return DataError(f"{path}, line {line}: has {len(row)} values; {layout.columns} are needed.")
            if row and len(row[layout.label]) > LONGEST_LABEL:
                return DataError(f"{path}, line {line}: has a label of more than {LONGEST_LABEL} characters.")
            for column, cell in enumerate(row):
                if not cell or (column != layout.label and _number(cell) is None):
                    kind = LabelError if column == layout.label else InputError
                    return kind(f"{path}, line {line}, column {column + 1}: {cell!r} is not a number.")
    except (UnicodeDecodeError, csv.Error) as fault:
        error = fault
    return DataError(
        f"{path}, after line {first - 1}: no rows of {layout.columns} numbers: {error or 'one is not'}."
    )
