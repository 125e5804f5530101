"""CSV and its relatives: separated values as a table, whatever separates them, plain or gzipped.

A file of numbers alone is read in blocks of lines, as uint8 if that is possible, else as float64. Any other is
read whole as text, and each column becomes numbers, truth values or text.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nnbackprop._files import open_data, open_file
from nnbackprop.data.column_types import as_bytes, stripped, typed
from nnbackprop.data.limits import MemoryBudget, max_bytes
from nnbackprop.data.table import DataOptions, Table, frame_of
from nnbackprop.errors import DataError, InputError

from .csv_dialect import Dialect, detect, encoding_of
from .idx import read_up_to, unzipped

if TYPE_CHECKING:
    import polars

BLOCK_SIZE = 4 * 2**20
SAMPLE_SIZE = 2**16
MAX_LINE_SIZE = 2**22
CELL_BYTES = 8  # of a number; as text while it is read it takes 16
BOM = b"\xef\xbb\xbf"
NEWLINE, LINE_ENDS = b"\n", b"\r\n"
QUOTED_OR_BLANK = re.compile(rb'("[^"]*")|\n[\r\n]+')


def read(path: Path, options: DataOptions = DataOptions(), expected: Sequence[str] = ()) -> Table:  # noqa: B008
    """The table in a file of separated values; one of the `expected` names, if there are any, tells a header.

    Raises DataError naming the file, the line and what is wrong there.
    """
    with open_data(path, "CSV") as file:
        budget = MemoryBudget(str(path))
        stream = unzipped(file)
        head = stream.read(4)
        stream.seek(0)
        encoding = encoding_of(head, options)
        if encoding != "utf-8":
            stream = io.BytesIO(_read_all(stream, budget).decode(encoding).encode())
        if _ends_lines_by_cr(stream):
            stream = io.BytesIO(_read_all(stream, budget).replace(b"\r", NEWLINE))
        dialect = _detect(stream, path, options, expected)
        notes, place = list(dialect.notes), partial(_place, path, encoding, dialect)
        frame = _read_numbers(stream, dialect, path) if dialect.numeric else None
        if frame is None:
            frame, found = _read_text(stream, dialect, path, budget, options, place)
            notes += found
        if not frame.height:
            raise DataError(f"{path}: holds no samples{', only a header' if dialect.header_lines else ''}.")
        return _table(frame, path, dialect, tuple(notes), place)


def read_blocks(path: Path, options: DataOptions) -> Iterator[Table]:
    """The rows of a file of numbers a block at a time; of any other file, all of them. Errors as of `read`."""
    with open_data(path, "CSV") as file:
        stream = unzipped(file)
        head = stream.read(4)
        stream.seek(0)
        encoding = encoding_of(head, options)
        whole = encoding != "utf-8" or _ends_lines_by_cr(stream)
        dialect = None if whole else _detect(stream, path, options, ())
        if dialect is None or not dialect.numeric:
            yield read(path, options)
            return
        line, place = 1 + dialect.header_lines, partial(_place, path, encoding, dialect)
        for block in _blocks(stream):
            if block.strip(LINE_ENDS):
                if (frame := _parse_numbers(block, dialect, line, path)) is None:
                    raise DataError(
                        f"{path}: the {block.count(NEWLINE)} lines from line {line} on hold text or a missing "
                        "value, and those before them numbers alone. Fix that cell, or leave out its row."
                    )
                yield _table(frame, path, dialect, (), place)
            line += block.count(NEWLINE)


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """The rest of a stream by whole lines."""
    while block := stream.read(BLOCK_SIZE) + stream.readline(MAX_LINE_SIZE):
        yield block


def _table(
    frame: polars.DataFrame, path: Path, dialect: Dialect, notes: tuple[str, ...], place: Callable[[int], str]
) -> Table:
    return Table(dialect.names, frame, str(path), bool(dialect.header_lines), dialect.unnamed, notes, place)


def _ends_lines_by_cr(stream: BinaryIO) -> bool:
    """Whether lines end by a carriage return alone, as of old on the Mac; the stream is at its beginning after."""
    sample = stream.read(SAMPLE_SIZE)
    stream.seek(0)
    return b"\r" in sample and NEWLINE not in sample


def _read_all(stream: BinaryIO, budget: MemoryBudget) -> bytes:
    content = read_up_to(stream, max_bytes() + 1)
    budget.reserve(len(content))
    return bytes(content)


def _detect(stream: BinaryIO, path: Path, options: DataOptions, expected: Sequence[str]) -> Dialect:
    """The dialect; the stream is left behind the header."""
    sample = (stream.read(SAMPLE_SIZE) + stream.readline(MAX_LINE_SIZE)).removeprefix(BOM)
    stream.seek(0)
    if b"\0" in sample[:512]:
        raise DataError(f"{path} cannot be read as CSV: it holds bytes that are no text.")
    try:
        text = sample.decode()
    except UnicodeDecodeError:
        text = _decoded(sample)
    try:
        dialect = detect(text, path, options, expected)
    except csv.Error as error:
        raise DataError(f"{path}, after line 0: no table in its first lines: {error}.") from error
    for _ in range(dialect.header_lines):
        stream.readline(MAX_LINE_SIZE)
    if not dialect.header_lines and stream.read(len(BOM)) != BOM:
        stream.seek(0)
    return dialect


def _read_numbers(stream: BinaryIO, dialect: Dialect, path: Path) -> polars.DataFrame | None:
    """All blocks of lines as numbers; None, the stream back where it was, if one holds anything else."""
    import polars

    begin, frames, line = stream.tell(), [], 1 + dialect.header_lines
    budget = MemoryBudget(str(path))
    for block in _blocks(stream):
        if block.strip(LINE_ENDS):
            if (frame := _parse_numbers(block, dialect, line, path)) is None:
                stream.seek(begin)
                return None
            budget.reserve(sum(dtype_size(dtype) for dtype in frame.dtypes) * frame.height)
            frames.append(frame)
        line += block.count(b"\n")
    if not frames:
        return polars.DataFrame(schema=_schema(dialect, polars.Float64))
    whole = polars.concat(frames, how="vertical_relaxed")
    del frames
    return (
        whole.select(as_bytes(column) for column in whole.get_columns())
        if polars.Float64 in whole.dtypes
        else whole
    )


def dtype_size(dtype: Any) -> int:
    """Bytes of a number of the column types that tables have."""
    import polars

    return 1 if dtype == polars.UInt8 else CELL_BYTES


def _parse_numbers(block: bytes, dialect: Dialect, line: int, path: Path) -> polars.DataFrame | None:
    """A block as numbers, or None where a cell is none; DataError for a line of another length."""
    import polars

    for dtype in (polars.UInt8, polars.Float64):
        try:
            frame = _read_frame(block, dialect, dtype)
        except (polars.exceptions.PolarsError, polars.exceptions.PanicException):
            continue
        if not sum(frame.null_count().row(0)) and not (
            dtype == polars.Float64 and any(column.is_nan().any() for column in frame.get_columns())
        ):
            return frame
        break
    _check_lengths(block, dialect, line, path)
    return None


def _read_text(
    stream: BinaryIO,
    dialect: Dialect,
    path: Path,
    budget: MemoryBudget,
    options: DataOptions,
    place: Callable[[int], str],
) -> tuple[polars.DataFrame, list[str]]:
    """The rest of the stream as text, and each column as what it holds."""
    import polars

    content, notes = _read_all(stream, budget), []
    budget.reserve((content.count(b"\n") + 1) * len(dialect.names) * CELL_BYTES)
    if options.encoding is None and not _is_utf8(content):
        notes.append("is not UTF-8 and was read as cp1252; encoding says what it is")
        content = _decoded(content).encode()
    try:
        frame = _read_frame(content, dialect, polars.String)
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
        _check_lengths(content, dialect, 1 + dialect.header_lines, path)
        raise DataError(f"{path}, after line {dialect.header_lines}: no table: {error}.") from error
    if frame.height and frame.get_columns()[-1].has_nulls():  # as polars has it where a line is too short
        _check_lengths(content, dialect, 1 + dialect.header_lines, path)
    columns = []
    for name, cells in zip(dialect.names, frame.get_columns(), strict=True):
        is_text = name in options.text_columns
        column, slip = (stripped(cells), None) if is_text else typed(cells, dialect.decimal)
        if slip is not None:
            raise InputError(
                f"{path}, {place(slip)}, column {name!r}: {cells[slip][:40]!r} is not a number, and nearly all "
                "others in this column are. Fix it, or leave it empty."
            )
        columns.append(column)
    return frame_of(columns), notes


def _decoded(content: bytes) -> str:
    """Text that is no UTF-8, as Windows writes it: cp1252 has what can be printed of latin-1, and more."""
    return content.decode("cp1252", "replace")


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_frame(block: bytes, dialect: Dialect, dtype: Any) -> polars.DataFrame:
    """The block without blank lines, which would be rows without any value.

    A byte-order mark and a line feed are put around it: polars inflates what begins like gzip, zlib or zstd, to
    any size, and panics at a quote that is the last byte.
    """
    import polars

    schema = _schema(dialect, dtype)
    if not (lines := _without_blank_lines(block)):
        return polars.DataFrame(schema=schema)
    body = BOM + lines + NEWLINE
    return polars.read_csv(body, has_header=False, schema=schema, separator=dialect.separator)


def _without_blank_lines(block: bytes) -> bytes:
    """The block without blank lines, but for those within quotes."""
    block = block.strip(LINE_ENDS)
    if b"\n\n" in block or b"\n\r\n" in block:
        return QUOTED_OR_BLANK.sub(lambda found: found[1] or NEWLINE, block)
    return block


def _schema(dialect: Dialect, dtype: Any) -> dict[str, Any]:
    """The columns of one type, named by their places."""
    return dict.fromkeys(map(str, range(len(dialect.names))), dtype)


def _check_lengths(block: bytes, dialect: Dialect, first: int, path: Path) -> None:
    """DataError that names the first line of another number of values, or that the csv module refuses."""
    columns, before = len(dialect.names), 0
    try:
        reader = csv.reader(io.StringIO(block.decode(errors="replace")), delimiter=dialect.separator, strict=True)
        for row in reader:
            if row and len(row) != columns:
                raise DataError(f"{path}, line {first + before}: has {len(row)} values; {columns} are needed.")
            before = reader.line_num
    except csv.Error as error:
        raise DataError(
            f"{path}, after line {first - 1 + before}: no row of {columns} values: {error}."
        ) from error


def _rows(path: Path, encoding: str, dialect: Dialect) -> Iterator[int]:
    """The line on which each row of the table begins, by reading the file again."""
    with open_file(path) as file:
        text = io.TextIOWrapper(unzipped(file), encoding, errors="replace", newline="")
        reader, begin = csv.reader(text, delimiter=dialect.separator), 1
        is_header = bool(dialect.header_lines)
        for row in reader:
            if row:
                if not is_header:
                    yield begin
                is_header = False
            begin = reader.line_num + 1


def _place(path: Path, encoding: str, dialect: Dialect, row: int) -> str:
    """The words for a row: its line in the file."""
    try:
        return f"line {next(itertools.islice(_rows(path, encoding, dialect), row, None))}"
    except (OSError, csv.Error, StopIteration, UnicodeError):
        return f"row {row}"
