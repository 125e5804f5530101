"""How a file of separated values is written: encoding, separator, decimal sign, header, from its first lines."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nnbackprop.data.column_roles import TARGET_NAMES
from nnbackprop.data.column_types import DECIMAL_COMMA, DECIMAL_POINT, MISSING, THOUSANDS
from nnbackprop.data.table import DataOptions, column_names, renamed_columns
from nnbackprop.errors import DataError, UsageError

SAMPLE_LINES = 100
MAX_COLUMNS = 2**16 + 1  # a label and 256 x 256 pixels; polars takes seconds for more
SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " ", "\\t": "\t"}
ENCODINGS = ("utf-8", "utf-16", "latin-1", "cp1252")
BOMS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
MAX_TITLE_LINES = 10
MIN_NUMBERED = 8  # columns from which a first line 0,1,2 ... above whole numbers is a header and no data


@dataclass(frozen=True)
class Dialect:
    """How the values are written.

    decimal       the decimal sign of all columns; None where each column tells its own
    names         of the columns, from the header or column_1, column_2 ...
    header_lines  up to the end of the header, 0 without one
    unnamed       columns without a name in the header
    numeric       whether the first lines hold numbers alone, and no column is known to be text
    notes         what was taken for granted, a sentence each
    """

    separator: str
    decimal: Literal[".", ","] | None
    names: tuple[str, ...]
    header_lines: int
    unnamed: tuple[str, ...]
    numeric: bool
    notes: tuple[str, ...] = ()


def encoding_of(head: bytes, options: DataOptions) -> str:
    """The encoding by the first bytes, or as `options` say; UsageError for one that is not read."""
    if options.encoding is not None:
        named = options.encoding.lower().replace("_", "-")
        if named not in (*ENCODINGS, "utf8", "utf-8-sig", "utf16", "latin1", "iso-8859-1"):
            raise UsageError(f"encoding={options.encoding!r} is not read; {', '.join(ENCODINGS)} are.")
        return {"utf8": "utf-8", "utf-8-sig": "utf-8"}.get(named, named)
    return next((name for bom, name in BOMS.items() if head.startswith(bom)), "utf-8")


def detect(sample: str, path: Path, options: DataOptions, expected: Sequence[str] = ()) -> Dialect:
    """The dialect of a file that begins with the lines of `sample`.

    `expected` are column names one of which makes the first line a header. DataError for what is no table.
    """
    lines = [line for line in io.StringIO(sample, newline="") if line.strip()][:SAMPLE_LINES]
    separator = _separator(lines, options, path)
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator) if row]
    if not rows:
        raise DataError(f"{path}: holds no rows; a table with a target and at least one feature is needed.")
    first, below = rows[0], rows[1:]
    decimal = options.decimal or ("," if separator != "," and _has_decimal_comma(rows) else None)
    wider = bool(below) and len(below[0]) == len(first) + 1
    row_names = wider and any(row[-1] for row in below)  # else each row ends with a separator
    columns = len(first) + wider
    if columns > MAX_COLUMNS:
        raise DataError(f"{path}: has {columns} columns; {MAX_COLUMNS} are read at most.")
    header = _has_header(first, [row[row_names:] for row in below], options, expected, decimal != ".")
    given = ["", *first] if row_names else [*first, ""] if wider else first
    names = column_names(given if header else [""] * columns, str(path))
    unnamed = tuple(name for name, cell in zip(names, given, strict=False) if header and not cell)
    data = below if header else rows
    numeric = decimal != "," and not set(names) & set(options.text_columns)
    numeric = numeric and all(_is_number(cell) and cell not in MISSING for row in data for cell in row)
    header_lines = _first_row_lines(sample, separator) if header else 0
    notes = [f"the header names {len(first)} of {columns} columns, not the first"] * (header and row_names)
    notes += renamed_columns(given, names) if header else []
    return Dialect(separator, decimal, tuple(names), header_lines, unnamed, numeric, tuple(notes))


def _first_row_lines(sample: str, separator: str) -> int:
    """The number of lines up to the end of the first row: blank ones before it, and line feeds within quotes."""
    reader = csv.reader(io.StringIO(sample, newline="\n"), delimiter=separator)
    next(row for row in reader if len(row) > 1 or any(cell.strip() for cell in row))
    return reader.line_num


def _separator(lines: Sequence[str], options: DataOptions, path: Path) -> str:
    """The separator that is given, or that cuts every line alike, else a comma; DataError for a title above."""
    if options.separator is not None:
        separator = SEPARATORS.get(options.separator, options.separator)
        if len(separator) != 1 or not separator.isascii() or separator in '"\r\n':
            raise UsageError(f"separator={options.separator!r}: one character is needed, or tab, such as ; or |.")
        return separator
    detected = _detect_separator(lines)
    if detected is None or lines[0].lower().startswith("sep="):
        _refuse_title(lines, path)
    return detected or ","


def _detect_separator(lines: Sequence[str]) -> str | None:
    """The separator that cuts every line alike; a comma only where no other does, as it may be a decimal sign.

    A space, as R's write.table has it, is one only where no other stands, and the last line has a number.
    """
    spaced = not any(separator in line for line in lines for separator in "\t;|,") and any(
        _is_number(cell) for line in lines[-1:] for cell in line.split()
    )
    for separator in ("\t", ";", "|", ",", *(" " if spaced else "")):
        try:
            lengths = {len(row) for row in csv.reader(lines, delimiter=separator) if row}
        except csv.Error:  # a cell longer than any
            continue
        same = len(lengths) == 1 or (max(lengths, default=0) == min(lengths, default=0) + 1 > 2)
        if lengths and same and max(lengths) > 1 and (separator != "," or len(lengths) == 1):
            return separator
    return None


def _refuse_title(lines: Sequence[str], path: Path) -> None:
    """DataError where lines stand above the table: a title, a comment, or the `sep=;` that Excel reads."""
    for k in range(1, min(MAX_TITLE_LINES, len(lines) - 2) + 1):
        if (separator := _detect_separator(lines[k:])) is None:
            continue
        above, first, second = csv.reader(lines[k - 1 : k + 2], delimiter=separator)
        is_header = not any(map(_is_number, first)) and any(map(_is_number, second))
        if len(above) < len(first) - 1 or (len(above) < len(first) and is_header) or above[0].startswith("sep="):
            raise DataError(
                f"{path}: {lines[k - 1].strip()[:40]!r} stands above a table of {len(first)} columns. Remove it"
                f"{' and what is above it' if k > 1 else ''}: the first line must be the header, or a row."
            )
        return


def _has_decimal_comma(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a cell has a decimal comma and none a decimal point; 1,250 and 1.250 tell nothing."""
    cells = [cell for row in rows for cell in row if not re.match(THOUSANDS, cell)]
    commas, points = (any(re.match(sign, cell) for cell in cells) for sign in (DECIMAL_COMMA, DECIMAL_POINT))
    return commas and not points


def _has_header(
    first: Sequence[str],
    below: Sequence[Sequence[str]],
    options: DataOptions,
    expected: Sequence[str],
    decimal_comma: bool,
) -> bool:
    """Whether the first line names the columns.

    It does with text above a column of numbers. Else it does not where most of its text is found again below, in
    the same column, and does with the name of a target, of text alone, or of text and n, n + 1 ... where the
    values below recur.
    """
    if options.header != "auto":
        return options.header == "yes"
    if set(first) & set(expected):
        return True
    numbers = [_is_number(cell, decimal_comma) for cell in first]
    if _is_numbered(first) and not expected:
        return len(first) >= MIN_NUMBERED or any(re.match(DECIMAL_POINT, cell) for row in below for cell in row)
    if all(number or cell in MISSING for number, cell in zip(numbers, first, strict=True)):
        return False
    samples = [row for row in below if row != first]  # not the header again, as files put together have it
    columns = {
        j: [row[j] for row in samples if len(row) > j]
        for j, (number, cell) in enumerate(zip(numbers, first, strict=True))
        if not number and cell not in MISSING
    }
    if any(_is_numeric_column(column, decimal_comma) for column in columns.values()):
        return True
    if expected:
        return False
    recurring = {j for j, column in columns.items() if first[j] in column}
    if 2 * len(recurring) > len(columns):
        return False
    if any(first[j].lower() in TARGET_NAMES for j in columns.keys() - recurring):
        return True
    if any(cell and cell in MISSING for cell in first):
        return False
    counted = [cell for cell, number in zip(first, numbers, strict=True) if number]
    recur = not recurring and all(2 * len(set(column)) <= len(column) for column in columns.values())
    return not counted or (recur and _are_consecutive(counted))


def _is_numbered(cells: Sequence[str]) -> bool:
    """Whether cells are 0, 1, 2 ... or 1, 2, 3 ..., the first of which may be empty: pandas' names of columns."""
    tail = cells[1:] if cells and not cells[0] else cells
    return len(tail) > 1 and any(list(tail) == [str(i + start) for i in range(len(tail))] for start in (0, 1))


def _are_consecutive(cells: Sequence[str]) -> bool:
    """Whether cells are n, n + 1 ..., two or more."""
    begin = int(cells[0]) if re.fullmatch(r"\d{1,9}", cells[0]) else 0
    return len(cells) > 1 and list(cells) == [str(begin + i) for i in range(len(cells))]


def _is_numeric_column(cells: Sequence[str], decimal_comma: bool) -> bool:
    there = [cell for cell in cells if cell not in MISSING]
    return bool(there) and all(_is_number(cell, decimal_comma) for cell in there)


def _is_number(cell: str, decimal_comma: bool = False) -> bool:
    try:
        float(cell.replace(",", ".", 1) if decimal_comma else cell)
    except ValueError:
        return False
    return "_" not in cell
