"""Which columns of a table are the targets and which the features, and the task: chosen, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnbackprop.errors import DataError, LabelError, UsageError

from .column_types import check_usable, is_date
from .limits import format_names
from .raw import MAX_WHOLE_CLASSES, Task, square_image_shape
from .table import DataOptions, Table, missing_columns

if TYPE_CHECKING:
    import polars

TARGET_NAMES = ("label", "labels", "class", "target", "y", "digit", "outcome", "species", "category", "response")
"""Names of a target column, the surest first."""

CLASS_NAMES = ("label", "labels", "class", "digit", "species", "category")
"""Names of a target that is a class, however many there are."""

ID_NAME = re.compile(
    r"(.*[_ .-])?(id|index|idx|rowid|row_?names?|row_?number|uuid)|(?-i:.*[a-z](Id|ID))", re.IGNORECASE
)
PANDAS_INDEX = re.compile(r"__index_level_\d+__")  # the index of a DataFrame, as pandas names it in Parquet
PIXEL_NAME = re.compile(r"[a-z]*[ _.-]?\d+([x_ .-]\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class ColumnRoles:
    """What the columns of a table are for, and why.

    targets     the target columns; none where a table is to be predicted
    features    the feature columns
    notes       a sentence for each choice that was made
    target_reason, task_reason  the reasons of the two choices that are shown first
    many_values a sentence for each text feature most of whose values occur once
    """

    targets: tuple[str, ...]
    features: tuple[str, ...]
    task: Task
    target_reason: str
    task_reason: str
    notes: tuple[str, ...] = ()
    sample_weight: str | None = None  # the column of weights
    many_values: tuple[str, ...] = ()

    @property
    def description(self) -> dict[str, str]:
        """The lines of a run's header."""
        names = format_names(self.targets, most=5)
        left_out = {"left out": "; ".join(self.notes)} if self.notes else {}
        if self.many_values:
            left_out["text"] = "; ".join(self.many_values)
        if self.sample_weight:
            left_out["sample weights"] = f"column {self.sample_weight}"
        chosen = {"target": f"{names} ({self.target_reason})", "task": f"{self.task} ({self.task_reason})"}
        return chosen | left_out


def choose_roles(table: Table, options: DataOptions) -> ColumnRoles:
    """Choose target, features and task; DataError or UsageError where that cannot be."""
    if not len(table):
        raise DataError(f"{table.source}: holds no samples. Give a table of at least one row.")
    dropped = resolve_columns(table, options.drop, "drop")
    named = resolve_columns(table, options.target, "target")
    chosen = resolve_columns(table, options.features, "features")
    weight = resolve_columns(table, (options.sample_weight,) if options.sample_weight else (), "sample_weight")
    if taken := set(weight) & {*named, *chosen}:
        raise UsageError(f"{format_names(sorted(taken))} holds the sample weights, so it is no target or feature.")
    if both := set(named) & {*dropped, *chosen}:
        raise UsageError(
            f"{format_names(sorted(both))} is a target and named by drop or features too: one is enough."
        )
    notes: list[str] = []
    left_out = (
        [] if chosen else _row_names(table, [n for n in table.columns if n not in (*dropped, *named)], notes)
    )
    rest = [n for n in table.columns if n not in (*dropped, *left_out, *chosen, *weight)]
    targets, target_reason = (named, "target") if named else _find_target(table, rest)
    features = chosen or tuple(n for n in rest if n not in targets)
    if not features:
        raise DataError(
            f"{table.source}: no feature is left beside the target {format_names(targets)}. Its columns are "
            f"{format_names(table.columns)}; a table needs at least one other."
        )
    for name in targets:
        check_usable(table.column(name), name, table.source)
    pixels = image_shape(table, features) is not None and table.is_bytes(features)
    task, task_reason = _choose_task(table, targets, options, pixels)
    check_targets(table, targets, task)
    _refuse_own_labels(table, targets, task)
    reasons, many = (target_reason, task_reason), tuple(_many_values(table, features))
    return ColumnRoles(targets, features, task, *reasons, tuple(notes), weight[0] if weight else None, many)


def resolve_columns(table: Table, names: Sequence[str], option: str) -> tuple[str, ...]:
    """Columns by name, or by place counted from 0 and from the end by -1; UsageError for one that is not there."""
    found = []
    for name in names:
        if name in table.columns:
            found.append(name)
        elif re.fullmatch(r"-?\d{1,6}", name) and -len(table.columns) <= int(name) < len(table.columns):
            found.append(table.columns[int(name)])
        else:
            raise UsageError(
                f"{option}={name!r}: {table.source} has no such column. It has {len(table.columns)}: "
                f"{format_names(table.columns)}. Give a name, or a place from 0 to {len(table.columns) - 1} or -1."
            )
    return tuple(dict.fromkeys(found))


def _row_names(table: Table, columns: Sequence[str], notes: list[str]) -> list[str]:
    """Columns that number or name the rows, which tell nothing about new ones; a note for each."""
    found = []
    for name in columns:
        column = table.column(name)
        unnamed = name in table.unnamed or name.startswith("Unnamed: ")
        if unnamed and (_counts_rows(column) or _all_different(column)):
            found.append(name)
            notes.append(f"the column without a name ({name!r}) numbers the rows and was left out")
        elif name in table.unnamed and column.null_count() == len(column):
            found.append(name)
            notes.append(f"the column without a name ({name!r}) has no value and was left out")
        elif PANDAS_INDEX.fullmatch(name):
            found.append(name)
            notes.append(f"column {name!r} is the index of a pandas DataFrame and was left out; features keeps it")
        elif table.has_names and ID_NAME.fullmatch(name) and _all_different(column) and _whole(column):
            found.append(name)
            notes.append(f"column {name!r} has another value in every row and was left out; features keeps it")
    return found


def _many_values(table: Table, features: Sequence[str]) -> Iterator[str]:
    """A sentence for each text feature with more than half as many values as rows."""
    for name in features:
        distinct = table.column(name).drop_nulls().n_unique() if name in table.text_columns else 0
        if 2 * distinct > len(table):
            yield (
                f"column {name!r} is text with {distinct:,} values in {len(table):,} rows, a feature each; "
                f"drop=[{name!r}] leaves it out"
            )


def _counts_rows(column: polars.Series) -> bool:
    """Whether a column is 0, 1, 2 ... or 1, 2, 3 ..."""
    import polars

    if not column.dtype.is_numeric() or column.null_count() or not len(column):
        return False
    first = column[0]
    return first in (0, 1) and bool(
        (column.cast(polars.Float64) == polars.arange(0, len(column), eager=True) + first).all()
    )


def _all_different(column: polars.Series) -> bool:
    return len(column) > 1 and not column.null_count() and column.n_unique() == len(column)


def _find_target(table: Table, columns: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The target where none was named: by its name, else the first of pixels, else the last column."""
    if not columns:
        raise DataError(f"{table.source}: no column is left to be the target: take one of drop back.")
    lower = {name.lower(): name for name in reversed(columns)} if table.has_names else {}
    for known in TARGET_NAMES:
        if known in lower:
            return (lower[known],), "by its name"
    if table.has_names and all(re.fullmatch(r"pixel.*", name, re.IGNORECASE) for name in columns):
        raise _no_target(table)
    if len(columns) > 1 and _are_pixels(table, columns[1:]):
        return (columns[0],), f"the first column, before {len(columns) - 1} pixels"
    if not table.has_names and _are_pixels(table, columns):
        raise _no_target(table)
    return (columns[-1],), "the last column"


def _no_target(table: Table) -> DataError:
    return DataError(
        f"{table.source}: has {len(table.columns)} columns and none of them is the label, so it can neither train "
        "nor evaluate a network (as Kaggle's test.csv). Give the train file, or one with a column named label."
    )


def _are_pixels(table: Table, columns: Sequence[str]) -> bool:
    """Whether columns are the pixels of a square image: a square number of them, each within 0..255."""
    if square_image_shape(len(columns)) is None:
        return False
    if table.has_names and not all(PIXEL_NAME.fullmatch(name) for name in columns):
        return False
    frame = table.select(columns)
    if not all(dtype.is_numeric() for dtype in frame.dtypes) or sum(frame.null_count().row(0)):
        return False
    return min(frame.min().row(0)) >= 0 and max(frame.max().row(0)) <= 255


def image_shape(table: Table, features: Sequence[str]) -> tuple[int, int] | None:
    """The shape of the images that the features are the pixels of, by their number and names."""
    numeric = all(dtype.is_numeric() for dtype in table.select(features).dtypes)
    named = table.has_names and not all(PIXEL_NAME.fullmatch(name) for name in features)
    return square_image_shape(len(features)) if numeric and not named else None


def _choose_task(table: Table, targets: Sequence[str], options: DataOptions, pixels: bool) -> tuple[Task, str]:
    if options.task != "auto":
        return options.task, "task"
    if len(targets) > 1:
        return _task_of_several(table, targets)
    column = table.column(targets[0])
    if not column.dtype.is_numeric():
        return "classification", f"{column.n_unique()} different values"
    values = column.drop_nulls()
    distinct = values.n_unique()
    if not _whole(values):
        return "regression", "numbers with fractions; task='classification' for classes"
    if targets[0].lower() in CLASS_NAMES or distinct <= MAX_WHOLE_CLASSES or pixels:
        return "classification", f"{distinct} different whole numbers; task='regression' for amounts"
    return "regression", f"{distinct} different whole numbers; task='classification' for classes"


def _task_of_several(table: Table, targets: Sequence[str]) -> tuple[Task, str]:
    import polars

    columns = [table.column(name) for name in targets]
    for name, column in zip(targets, columns, strict=True):
        if not (column.dtype.is_numeric() or column.dtype == polars.Boolean):
            raise DataError(
                f"{table.source}: the target {name!r} is text and one of {len(columns)}: several targets "
                "are numbers, or 0 and 1 for several labels at once. Name one target, or drop this one."
            )
    if all(column.drop_nulls().cast(polars.Float64).is_in([0.0, 1.0]).all() for column in columns):
        return "multilabel", f"{len(columns)} targets of 0 and 1; task='regression' for amounts"
    return "regression", f"{len(columns)} targets of numbers"


def _whole(values: polars.Series) -> bool:
    """Whether no value is a number with a fraction."""
    return bool((values == values.floor()).all()) if values.dtype.is_float() else True


def check_targets(table: Table, targets: Sequence[str], task: Task) -> None:
    """LabelError for a target with missing values or that does not suit the task; of a block of a table too."""
    import polars

    for name in targets:
        column = table.column(name)
        check_usable(column, name, table.source)
        if column.null_count():
            row = int(column.is_null().arg_true()[0])
            raise LabelError(
                f"{table.at(name, row)}: the target is missing, in {column.null_count()} of {len(column)} rows. "
                "Remove such rows, or name another column by target."
            )
        if is_date(column):
            raise LabelError(
                f"{table.source}: the target {name!r} holds dates, such as {column[0]}. Name another column by "
                "target, or turn dates into numbers, such as days since the first."
            )
        if task != "classification":
            if not (column.dtype.is_numeric() or column.dtype == polars.Boolean):
                raise LabelError(
                    f"{table.source}: {task} needs numbers and the target {name!r} is text, such as "
                    f"{column[0]!r}. Write amounts as plain numbers, such as 4337.5, without units or separators "
                    "of thousands; leave task out for classes, or name another column by target."
                )
            if task == "multilabel" and not column.cast(polars.Float64).is_in([0.0, 1.0]).all():
                raise LabelError(f"{table.source}: multilabel targets are 0 or 1, and {name!r} has other values.")


def _refuse_own_labels(table: Table, targets: Sequence[str], task: Task) -> None:
    """LabelError for classes of a single row each."""
    for name in targets if task == "classification" else ():
        column = table.column(name)
        if len(column) > 2 and _all_different(column):
            raise LabelError(
                f"{table.source}: every row has its own label in column {name!r} (the first are "
                f"{format_names([str(v) for v in column.head(3)])}), so there are no classes to learn. Name the "
                "column of the classes by target, or give task='regression' for numbers."
            )


def require_targets(table: Table, targets: Sequence[str]) -> None:
    """DataError where a table lacks a target."""
    if not set(targets) <= set(table.columns):
        raise missing_columns(targets, table, "the network was trained to predict")
