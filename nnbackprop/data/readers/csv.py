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
from nnbackprop.data.limits import MAX_LABEL_LENGTH, MemoryBudget
from nnbackprop.data.raw import RawDataset, square_image_shape
from nnbackprop.errors import DataError, InputError, LabelError, NnbackpropError

LABEL_NAMES = ("label", "labels", "class", "target", "digit", "y")
BLOCK_SIZE = 4 * 2**20
MAX_LINE_SIZE = 2**22
MAX_COLUMNS = 2**16 + 1  # a label and 256 x 256 pixels; polars takes seconds for more
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Layout:
    """The number of columns, the index of the label's, and the number of header lines (0 or 1)."""

    columns: int
    label_column: int
    header_lines: int


def read(path: Path) -> RawDataset:
    """A CSV file; its labels are text.

    The label is the column named so (label, class, target, digit or y) in a header, or the first column
    without one. Raises DataError naming the file, the line and what is wrong there; for a file without
    labels (Kaggle's test.csv) as well.
    """
    with open_data(path, "CSV") as stream:
        start = len(BOM) if stream.read(len(BOM)) == BOM else 0
        stream.seek(start)
        layout = _read_layout(stream, path)
        stream.seek(start)
        return RawDataset.from_arrays(*_read_blocks(stream, layout, path), str(path))


def has_labels(path: Path) -> bool:
    """Whether a CSV file's first line has a column of labels."""
    with open_data(path, "CSV") as stream:
        return _label_column(_split_line(stream.readline(MAX_LINE_SIZE))) is not None


def read_rows(path: Path) -> np.ndarray:
    """(n, features) float64 of a file without header or labels, one sample a line; DataError for any other."""
    try:
        with open_file(path) as stream, warnings.catch_warnings():  # by its name NumPy would fetch or inflate it
            MemoryBudget(str(path)).reserve(4 * size_of(stream))  # a digit and a comma become 8 bytes
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


def _read_layout(stream: BinaryIO, path: Path) -> Layout:
    fields = _split_line(stream.readline(MAX_LINE_SIZE))
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
    return Layout(len(fields), label, 0 if _is_numeric(fields) else 1)


def _split_line(line: bytes) -> list[str]:
    return next(csv.reader([line.removeprefix(BOM).decode()], strict=True), [])


def _is_numeric(fields: list[str]) -> bool:
    return all(_to_float(field) is not None for field in fields)


def _label_column(fields: list[str]) -> int | None:
    """Index of the label; None where a header has pixels only, or a row is all of a square image."""
    if _is_numeric(fields):
        return None if square_image_shape(len(fields)) and not square_image_shape(len(fields) - 1) else 0
    names = [field.strip().lower() for field in fields]
    label_columns = [names.index(name) for name in LABEL_NAMES if name in names]
    if label_columns or names[0].startswith("pixel"):
        return label_columns[0] if label_columns else None
    return 0


def _to_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read_blocks(stream: BinaryIO, layout: Layout, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, columns - 1) and text labels (n,) of all blocks of lines."""
    inputs: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    budget, line = MemoryBudget(str(path)), 1 + layout.header_lines
    if layout.header_lines:
        stream.readline()
    while block := stream.read(BLOCK_SIZE) + stream.readline(MAX_LINE_SIZE):
        if block.strip():
            block_inputs, block_labels = _parse_block(block, layout, line, path)
            budget.reserve_array(block_inputs.shape, block_inputs.dtype)
            inputs.append(block_inputs)
            labels.append(block_labels)
        line += block.count(b"\n")
    if not (rows := sum(map(len, inputs))):
        raise DataError(f"{path}: holds no samples{', only a header' if layout.header_lines else ''}.")
    MemoryBudget(str(path)).reserve_array((rows, layout.columns - 1), np.result_type(*{a.dtype for a in inputs}))
    return np.concatenate(inputs), np.concatenate(labels)


def _parse_block(block: bytes, layout: Layout, line: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The inputs of a block, uint8 or float32, and its labels; `line` is the number of its first line."""
    import polars

    try:
        try:
            frame = _read_frame(block, layout, polars.UInt8)
        except polars.exceptions.ComputeError:
            frame = _read_frame(block, layout, polars.Float32)
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
        raise _locate_error(block, layout, line, path, error) from error
    frame = frame.filter(~polars.all_horizontal(polars.all().is_null()))  # blank lines
    labels = frame.to_series(layout.label_column)
    if sum(frame.null_count().row(0)) or labels.str.len_chars().gt(MAX_LABEL_LENGTH).any():
        raise _locate_error(block, layout, line, path)
    return frame.drop(frame.columns[layout.label_column]).to_numpy(), labels.to_numpy().astype(str)


def _read_frame(block: bytes, layout: Layout, dtype: Any) -> Any:
    """The block as polars reads it.

    A byte-order mark and a line feed are put around it: polars inflates what begins like gzip, zlib or zstd, to
    any size, and panics at a quote that is the last byte.
    """
    import polars

    schema = {f"{i}": polars.String if i == layout.label_column else dtype for i in range(layout.columns)}
    return polars.read_csv(BOM + block.lstrip(b"\r\n") + b"\n", has_header=False, schema=schema)


def _locate_error(
    block: bytes, layout: Layout, first: int, path: Path, error: BaseException | None = None
) -> DataError:
    """The error that names the faulty line, found by reading the block again with the csv module."""
    try:
        for line, row in enumerate(csv.reader(block.decode().splitlines(), strict=True), first):
            if row and len(row) != layout.columns:
                return DataError(f"{path}, line {line}: has {len(row)} values; {layout.columns} are needed.")
            if row and len(row[layout.label_column]) > MAX_LABEL_LENGTH:
                return DataError(f"{path}, line {line}: has a label of more than {MAX_LABEL_LENGTH} characters.")
            for column, cell in enumerate(row):
                if not cell or (column != layout.label_column and _to_float(cell) is None):
                    kind = LabelError if column == layout.label_column else InputError
                    return kind(f"{path}, line {line}, column {column + 1}: {cell!r} is not a number.")
    except (UnicodeDecodeError, csv.Error) as csv_error:
        error = csv_error
    return DataError(
        f"{path}, after line {first - 1}: no rows of {layout.columns} numbers: {error or 'one is not'}."
    )
