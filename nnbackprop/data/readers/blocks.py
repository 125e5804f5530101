"""Tables larger than memory: the rows of a Parquet, Arrow or CSV file a block at a time, in order."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnbackprop._files import open_data, size_of
from nnbackprop.data.column_types import normalized
from nnbackprop.data.limits import MemoryBudget, max_bytes
from nnbackprop.data.table import DataOptions, Table, column_names, frame_of
from nnbackprop.errors import DataError

from . import csv
from .csv_dialect import MAX_COLUMNS
from .parquet import ARROW_MAGIC, OVERHEAD, PARQUET_MAGIC, limit_memory

if TYPE_CHECKING:
    import polars

BLOCK_BYTES = 2**26  # of the numbers of a block, and of its share of the file
COMMAND = "from nnbackprop.data.readers.blocks import main; main()"
LENGTH_BYTES = 8  # before each block that the process writes; a length of 0 ends them


def read_blocks(path: Path, options: DataOptions) -> Iterator[Table]:
    """The rows of a file of one table, in order. Columns of images are Binary; others are as tables have them.

    A CSV file that holds anything but numbers is one block. Raises DataError for a file that cannot be read.
    """
    with open_data(path, "a table") as stream:
        head = stream.read(6)
    is_frame = head[:4] == PARQUET_MAGIC or head == ARROW_MAGIC
    tables = _frames(path) if is_frame else csv.read_blocks(path, options)
    first = 0
    for table in tables:
        yield replace(table, place=partial(_place, table.place, first))
        first += len(table)
    if not first:
        raise DataError(f"{path}: holds no samples.")


def _place(place: Callable[[int], str], before: int, row: int) -> str:
    return place(before + row)


def _frames(path: Path) -> Iterator[Table]:
    """The blocks that a process of its own reads: a damaged file may end it."""
    import polars

    paths = os.pathsep.join(map(os.path.abspath, sys.path))
    command, environment = [sys.executable, "-P", "-c", COMMAND, str(path)], {**os.environ, "PYTHONPATH": paths}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        with process:
            try:
                while size := int.from_bytes(process.stdout.read(LENGTH_BYTES), "little"):
                    MemoryBudget(str(path)).reserve(size)
                    yield Table.of_frame(polars.read_ipc(io.BytesIO(process.stdout.read(size))), str(path))
            finally:
                process.stdout.close()
                if sys.exc_info()[0] is not None:
                    process.kill()
        errors.seek(0)
        if process.returncode == DataError.exit_code:
            raise DataError(errors.read().decode(errors="replace"))
        if process.returncode:
            raise DataError(
                f"{path} cannot be read: it is damaged, or needs more memory than there is (its reader ended with "
                f"status {process.returncode}). Write the file again."
            )


def main() -> None:
    """Write the blocks of the file sys.argv[1] to the standard output, or an error to the standard error."""
    path, out = Path(sys.argv[1]), sys.stdout.buffer
    limit_memory(4 * max_bytes() + OVERHEAD + path.stat().st_size)
    try:
        for frame in _read(path):
            content = io.BytesIO()
            frame.write_ipc(content)
            out.write(len(content.getbuffer()).to_bytes(LENGTH_BYTES, "little"))
            out.write(content.getbuffer())
        out.write(bytes(LENGTH_BYTES))
        out.flush()
    except DataError as error:
        sys.stderr.buffer.write(str(error).encode())
        sys.exit(DataError.exit_code)
    except BrokenPipeError:  # nobody wants the rest
        os._exit(0)


def _read(path: Path) -> Iterator[polars.DataFrame]:
    import polars

    with open_data(path, "Parquet or Arrow") as stream:
        size = size_of(stream)
        is_parquet = stream.read(4) == PARQUET_MAGIC
        lazy: Any = polars.scan_parquet(path) if is_parquet else polars.scan_ipc(path)
        schema = lazy.collect_schema()
        if not 0 < len(schema) <= MAX_COLUMNS:
            raise DataError(f"{path}: has {len(schema)} columns; 1 to {MAX_COLUMNS} are read.")
        rows = int(lazy.select(polars.len()).collect().item())
        if not rows:
            raise DataError(f"{path}: holds no samples.")
        step = max(1, min(BLOCK_BYTES // (8 * len(schema)), BLOCK_BYTES * rows // size))
        names = column_names(list(schema.names()), str(path))
        for begin in range(0, rows, step):
            block = lazy.slice(begin, step).collect()
            frame = frame_of(_column(s, name, str(path)) for s, name in zip(block, names, strict=True))
            frame.columns = names
            yield frame


def _column(column: polars.Series, name: str, source: str) -> polars.Series:
    """A column as tables have it; files of images as Binary, also those with a path beside their bytes."""
    import polars

    if isinstance(column.dtype, polars.Struct) and "bytes" in [field.name for field in column.dtype.fields]:
        column = column.alias("").struct.field("bytes")
    return column if column.dtype == polars.Binary else normalized(column, name, source)
