"""Parquet and Arrow (IPC, also called Feather) as a table, read by polars in a process of its own.

A damaged file can make polars ask for exabytes, which ends its process; that must not be the run's.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnbackprop._files import open_data, size_of
from nnbackprop.data.column_types import normalized
from nnbackprop.data.limits import MemoryBudget, max_bytes
from nnbackprop.data.table import Table, column_names, frame_of
from nnbackprop.errors import DataError

from .csv_dialect import MAX_COLUMNS

if TYPE_CHECKING:
    import polars

PARQUET_MAGIC, ARROW_MAGIC = b"PAR1", b"ARROW1"
COMMAND = "from nnbackprop.data.readers.parquet import main; main()"
OVERHEAD = 4 * 2**30  # bytes of addresses, most of them never touched, that polars' threads and allocator reserve


def read(path: Path) -> Table:
    """The table in a Parquet or Arrow file; DataError for one that is damaged, nested or too large."""
    import polars

    with open_data(path, "Parquet or Arrow") as stream:
        MemoryBudget(str(path)).reserve(size_of(stream))
    paths = os.pathsep.join(map(os.path.abspath, sys.path))
    done = subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, str(path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        check=False,
    )
    if done.returncode == DataError.exit_code:
        raise DataError(done.stderr.decode(errors="replace"))
    if done.returncode:
        raise DataError(
            f"{path} cannot be read: it is damaged, or needs more memory than there is (its reader ended with "
            f"status {done.returncode}). Write the file again."
        )
    return Table.of_frame(polars.read_ipc(done.stdout), str(path))


def main() -> None:
    """Read the file sys.argv[1], write its table to the standard output, or an error to the standard error."""
    limit_memory(4 * max_bytes() + OVERHEAD)
    try:
        frame = read_frame(Path(sys.argv[1]))
    except DataError as error:
        sys.stderr.buffer.write(str(error).encode())
        sys.exit(DataError.exit_code)
    frame.write_ipc(sys.stdout.buffer)


def limit_memory(size: int) -> None:
    """Let this process have no more than `size` bytes of addresses, where the system can hold it to that."""
    if sys.platform == "win32":
        return
    import resource

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def read_frame(path: Path) -> polars.DataFrame:
    """The columns of a file as tables have them; DataError, where a damaged file does not end the process."""
    import polars

    with open_data(path, "Parquet or Arrow") as stream:
        content = stream.read(size_of(stream))
        budget = MemoryBudget(str(path))
        budget.reserve(len(content))
        try:
            frame = _parse(content, path, budget)
        except polars.exceptions.PanicException as error:
            raise DataError(f"{path} cannot be read: it is damaged ({error}). Write it again.") from error
        if not frame.height or not frame.width:
            raise DataError(f"{path}: holds no samples.")
        names = column_names(frame.columns, str(path))
        columns = (normalized(column, name, str(path)) for column, name in zip(frame, names, strict=True))
        frame = frame_of(columns)
        frame.columns = names
        return frame


def _parse(content: bytes, path: Path, budget: MemoryBudget) -> polars.DataFrame:
    """The columns and rows that the footer promises are counted before they are read."""
    import polars

    is_parquet = content[:4] == PARQUET_MAGIC
    lazy: Any = polars.scan_parquet(content) if is_parquet else polars.scan_ipc(content)
    schema = lazy.collect_schema()
    if len(schema) > MAX_COLUMNS:
        raise DataError(f"{path}: has {len(schema)} columns; {MAX_COLUMNS} are read at most.")
    rows = int(lazy.select(polars.len()).collect().item())
    budget.reserve_array((rows, len(schema)), np.dtype(np.float64))
    return polars.read_parquet(content) if is_parquet else polars.read_ipc(content)
