"""Parquet and Arrow (IPC, also called Feather) as tables, whole or a block of rows at a time.

polars reads them in a process of its own. A damaged file can make it ask for exabytes, which ends its process;
that must not be the run's.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnbackprop._files import open_data, size_of
from nnbackprop._processes import python
from nnbackprop.data.column_types import normalized
from nnbackprop.data.limits import MemoryBudget, max_bytes
from nnbackprop.data.table import Table, column_names, frame_of
from nnbackprop.errors import DataError

from .csv_dialect import MAX_COLUMNS

if TYPE_CHECKING:
    import polars

PARQUET_MAGIC, ARROW_MAGIC = b"PAR1", b"ARROW1"
BLOCK_BYTES = 2**26  # of the numbers of a block, and of its share of the file
COMMAND = "from nnbackprop.data.readers.parquet import main; main()"
LENGTH_BYTES = 8  # before each block that the process writes; a length of 0 ends them
OVERHEAD = 4 * 2**30  # bytes of addresses, most of them never touched, that polars' threads and allocator reserve


def is_columnar(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a Parquet or Arrow file."""
    return head.startswith((PARQUET_MAGIC, ARROW_MAGIC))


def read(path: Path) -> Table:
    """The table in a Parquet or Arrow file; DataError for one that is damaged, nested or too large."""
    (table,) = _tables(path, "whole")
    return table


def read_blocks(path: Path) -> Iterator[Table]:
    """The same a block of rows at a time, in order; columns of files, such as images, are Binary."""
    return _tables(path, "blocks")


def _tables(path: Path, mode: str) -> Iterator[Table]:
    import polars

    reader = python(COMMAND, str(path), mode)
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(**reader, stdout=subprocess.PIPE, stderr=errors) as process:
            assert process.stdout is not None
            try:
                while size := int.from_bytes(process.stdout.read(LENGTH_BYTES), "little"):
                    MemoryBudget(str(path)).reserve(size)
                    content = process.stdout.read(size)
                    if len(content) < size:  # the process has ended, as its status says
                        break
                    yield Table.of_frame(polars.read_ipc(io.BytesIO(content)), str(path))
            except BaseException:  # also where nobody wants the rest
                process.kill()
                raise
        errors.seek(0)
        if process.returncode == DataError.exit_code:
            raise DataError(errors.read().decode(errors="replace"))
    if process.returncode:
        raise DataError(
            f"{path} cannot be read: it is damaged, or needs more memory than there is (its reader ended with "
            f"status {process.returncode}). Write the file again."
        )


def main() -> None:
    """Write the tables of the file sys.argv[1] to the standard output, or an error to the standard error.

    sys.argv[2] is `whole` or `blocks`.
    """
    path, out = Path(sys.argv[1]), sys.stdout.buffer
    limit_memory(4 * max_bytes() + OVERHEAD + path.stat().st_size)
    try:
        for frame in _read(path, whole=sys.argv[2] == "whole"):
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


def limit_memory(size: int) -> None:
    """Let this process have no more than `size` bytes of addresses, where the system can hold it to that."""
    if sys.platform == "win32":
        return
    import resource

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _read(path: Path, *, whole: bool) -> Iterator[polars.DataFrame]:
    """Columns as tables have them; DataError, where a damaged file does not end the process."""
    import polars

    with open_data(path, "Parquet or Arrow") as stream:
        size = size_of(stream)
        is_parquet = stream.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
        scan = polars.scan_parquet if is_parquet else polars.scan_ipc
        try:
            lazy: Any = scan(glob.escape(os.path.abspath(path)))
            schema = lazy.collect_schema()
            if not 0 < len(schema) <= MAX_COLUMNS:
                raise DataError(f"{path}: has {len(schema)} columns; 1 to {MAX_COLUMNS} are read.")
            rows = int(lazy.select(polars.len()).collect().item())
            if not rows:
                raise DataError(f"{path}: holds no samples.")
            step = max(1, min(BLOCK_BYTES // (8 * len(schema)), BLOCK_BYTES * rows // size))
            step = rows if whole else min(rows, step)
            names = column_names(list(schema.names()), str(path))
            for begin in range(0, rows, step):
                budget = MemoryBudget(str(path), size * step // rows)
                budget.reserve_array((step, len(schema)), np.dtype(np.float64))
                block = lazy.slice(begin, step).collect()
                frame = frame_of(_column(column, budget, whole) for column in block)
                frame.columns = names
                yield frame
        except polars.exceptions.PanicException as error:
            raise DataError(f"{path} cannot be read: it is damaged ({error}). Write it again.") from error


def _column(column: polars.Series, budget: MemoryBudget, whole: bool) -> polars.Series:
    """A column as tables have it; in blocks, files as Binary, also those with a path beside their bytes.

    Equal cells of text and of files share their bytes where polars reads them, and have their own from here on.
    """
    import polars

    column = column.alias("")
    if not whole and isinstance(column.dtype, polars.Struct) and "bytes" in [f.name for f in column.dtype.fields]:
        column = column.struct.field("bytes")
    kind = column.dtype
    if kind == polars.String:
        budget.reserve(int(column.str.len_bytes().sum()))
    elif kind in (polars.Categorical, polars.Enum):
        budget.reserve(int(column.cat.len_bytes().sum()))
    elif kind == polars.Binary:
        budget.reserve(int(column.bin.size().sum()))
    return column if kind == polars.Binary and not whole else normalized(column)
