"""Tables larger than memory: the rows of a Parquet, Arrow or CSV file a block at a time, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from nnbackprop._files import open_data
from nnbackprop.data.table import DataOptions, Table
from nnbackprop.errors import DataError

from . import csv, parquet


def read_blocks(path: Path, options: DataOptions) -> Iterator[Table]:
    """The rows of a file of one table, in order. Columns of images are Binary; others are as tables have them.

    A CSV file that holds anything but numbers is one block. Raises DataError for a file that cannot be read.
    """
    with open_data(path, "a table") as stream:
        head = stream.read(6)
    tables = parquet.read_blocks(path) if parquet.is_columnar(head) else csv.read_blocks(path, options)
    first = 0
    for table in tables:
        yield replace(table, place=partial(_place, table.place, first))
        first += len(table)
    if not first:
        raise DataError(f"{path}: holds no samples.")


def _place(place: Callable[[int], str], before: int, row: int) -> str:
    return place(before + row)
