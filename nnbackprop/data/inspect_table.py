"""A table shown in the terminal: its columns, what each is used for, and the flags that change that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Column
from rich.table import Table as Grid
from rich.text import Text

from .column_roles import ColumnRoles
from .column_types import is_date, kind_of
from .limits import format_names
from .tabular import TableSplits

if TYPE_CHECKING:
    import polars

HEADS = ("column", "type", "missing", "values", "used as")
MAX_COLUMNS, MAX_VALUES = 40, 5
FLAGS = (
    "--target COLUMN, --task, --features and --drop change what is used; --missing mean fills in numbers; "
    "--separator, --decimal, --encoding and --header say how a CSV file is written."
)


def describe_table(tables: TableSplits, with_flags: Callable[[str], str]) -> RenderableType:
    """The columns of the training table with their roles, what was chosen and why, and the flags.

    `with_flags` spells the options in a text as the command line does.
    """
    table, roles = tables.train, tables.roles
    grid = Grid(*(Column(name, overflow="fold") for name in HEADS))
    for name in table.columns[:MAX_COLUMNS]:
        column = table.column(name)
        missing = column.null_count()
        share = f"{missing:,} ({missing / len(column):.1%})" if missing else ""
        cells = name, kind_of(column), share, _values(column), _role(name, roles, column)
        grid.add_row(*map(Text, cells))
    if (more := len(table.columns) - MAX_COLUMNS) > 0:
        grid.add_row("...", f"{more} more columns")
    size = f"{len(table):,} rows, {len(table.columns):,} columns in {table.source}"
    lines = [size, *(f"{name}: {with_flags(text)}" for name, text in roles.description.items()), FLAGS]
    return Group(Text(lines[0]), grid, Text("\n".join(lines[1:])), Text(""))


def _role(name: str, roles: ColumnRoles, column: polars.Series) -> str:
    if name in roles.targets:
        return "target"
    if name not in roles.features:
        return "left out"
    if is_date(column):
        return "feature (dates are refused)"
    return "feature"


def _values(column: polars.Series) -> str:
    import polars

    there = column.drop_nulls()
    if not len(there):
        return ""
    if there.dtype.is_numeric():
        low, high = there.to_numpy().min(), there.to_numpy().max()
        return f"{low:g} .. {high:g}"
    values = there.cast(polars.String).unique().sort()
    return f"{len(values):,}: {format_names((value[:20] for value in values), most=MAX_VALUES)}"
