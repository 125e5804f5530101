"""Parquet and Arrow (IPC, also called Feather) as a table, read by polars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnbackprop._files import open_data, size_of
from nnbackprop.data.limits import MemoryBudget
from nnbackprop.data.table import Table, column_names, normalized
from nnbackprop.errors import DataError

from .csv_dialect import MAX_COLUMNS

if TYPE_CHECKING:
    import polars

PARQUET_MAGIC, ARROW_MAGIC = b"PAR1", b"ARROW1"


def read(path: Path) -> Table:
    """The table in a Parquet or Arrow file; DataError for one that is damaged, nested or too large."""
    import polars

    with open_data(path, "Parquet or Arrow") as stream:
        content = stream.read(size_of(stream))
        budget = MemoryBudget(str(path))
        budget.reserve(len(content))
        try:
            frame = _read_frame(content, path, budget)
        except polars.exceptions.PanicException as error:
            raise DataError(f"{path} cannot be read: it is damaged ({error}). Write it again.") from error
        if not frame.height or not frame.width:
            raise DataError(f"{path}: holds no samples.")
        names = column_names(frame.columns, str(path))
        columns = [normalized(column.alias(name), str(path)) for column, name in zip(frame, names, strict=True)]
        return Table(polars.DataFrame(columns), str(path))


def _read_frame(content: bytes, path: Path, budget: MemoryBudget) -> polars.DataFrame:
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
