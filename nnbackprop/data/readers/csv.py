"""CSV, one sample a line: Kaggle's layout (a header with `label`) or pjreddie's (no header, label first).

Polars reads it in blocks of lines, as uint8 if that is possible, else as float32.
"""

from __future__ import annotations

import csv
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nnbackprop._files import open_data, open_file, size_of
from nnbackprop.data.limits import LONGEST_LABEL, Budget
from nnbackprop.data.table import Table, square
from nnbackprop.errors import DataError, InputError, LabelError, NnbackpropError

LABEL_NAMES = ("label", "labels", "class", "target", "digit", "y")
BLOCK = 4 * 2**20
LONGEST_LINE = 2**22
MAX_COLUMNS = 2**16 + 1  # a label and 256 x 256 pixels; polars takes seconds for more
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
    with open_data(path, "CSV") as stream:
        begin = len(BOM) if stream.read(len(BOM)) == BOM else 0
        stream.seek(begin)
        layout = _layout(stream, path)
        stream.seek(begin)
        return Table.of(*_read_blocks(stream, layout, path), str(path))


def has_labels(path: Path) -> bool:
    """Whether a CSV file's first line has a column of labels."""
    with open_data(path, "CSV") as stream:
        return _label_column(_fields(stream.readline(LONGEST_LINE))) is not None


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
    fields = _fields(stream.readline(LONGEST_LINE))
    if not 2 <= len(fields) <= MAX_COLUMNS:
        raise DataError(
            f"{path}: its first line is not a row of a label and features separated by commas, of {MAX_COLUMNS} "
            "columns at most."
        )
    label = _label_column(fields)
    if label is None:
        raise DataError(
            f"{path}: has {len(fields)} columns and none of them is the label, so it can neither train nor "
            "evaluate a network (as Kaggle's test.csv). Give the train file, or one with a column named label."
        )
    return Layout(len(fields), label, 0 if _is_row(fields) else 1)


def _fields(line: bytes) -> list[str]:
    return next(csv.reader([line.removeprefix(BOM).decode()], strict=True), [])


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


def _read_blocks(stream: BinaryIO, layout: Layout, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, columns - 1) and text labels (n,) of all blocks of lines."""
    inputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    budget, line = Budget(str(path)), 1 + layout.header
    if layout.header:
        stream.readline()
    while block := stream.read(BLOCK) + stream.readline(LONGEST_LINE):
        if block.strip():
            pixels, names = _parse(block, layout, line, path)
            budget.take_array(pixels.shape, pixels.dtype)
            inputs.append(pixels)
            labels.append(names)
        line += block.count(b"\n")
    if not (rows := sum(map(len, inputs))):
        raise DataError(f"{path}: holds no samples{', only a header' if layout.header else ''}.")
    Budget(str(path)).take_array((rows, layout.columns - 1), np.result_type(*{pixels.dtype for pixels in inputs}))
    return np.concatenate(inputs), np.concatenate(labels)


def _parse(block: bytes, layout: Layout, line: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The inputs of a block, uint8 or float32, and its labels; `line` is the number of its first line."""
    import polars

    try:
        try:
            frame = _frame(block, layout, polars.UInt8)
        except polars.exceptions.ComputeError:
            frame = _frame(block, layout, polars.Float32)
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
        raise _fault(block, layout, line, path, error) from error
    frame = frame.filter(~polars.all_horizontal(polars.all().is_null()))  # blank lines
    labels = frame.to_series(layout.label)
    if sum(frame.null_count().row(0)) or labels.str.len_chars().gt(LONGEST_LABEL).any():
        raise _fault(block, layout, line, path)
    return frame.drop(frame.columns[layout.label]).to_numpy(), labels.to_numpy().astype(str)


def _frame(block: bytes, layout: Layout, pixel: Any) -> Any:
    """The block as polars reads it.

    A byte-order mark and a line feed are put around it: polars inflates what begins like gzip, zlib or zstd, to
    any size, and panics at a quote that is the last byte.
    """
    import polars

    kinds = {f"{i}": polars.String if i == layout.label else pixel for i in range(layout.columns)}
    return polars.read_csv(BOM + block.lstrip(b"\r\n") + b"\n", has_header=False, schema=kinds)


def _fault(block: bytes, layout: Layout, first: int, path: Path, error: BaseException | None = None) -> DataError:
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
