"""The types of a table's columns: bytes, numbers, truth values, text, dates; and how text becomes one of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from nnbackprop.errors import DataError

if TYPE_CHECKING:
    import polars

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "NULL", "null", "None", "<NA>", "#N/A", "?")
"""Cells that stand for a missing value, as pandas reads them, and the `?` of the UCI repository."""

NO_TEXT = ("", "NaN", "nan")  # text that is missing where a format has null beside it: None may be a class there
MOSTLY = 0.9  # of a column's cells are numbers: then one that is none is a slip and no category
DAY = r"(0?[1-9]|[12]\d|3[01])"
MONTH = (
    r"(?i:jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|nov(ember)?|"
    r"dec(ember)?)\.?"
)
DATES = (
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}",
    r"\d{1,2}[-/.]\d{1,2}[-/.]\d{4}",
    rf"{DAY}[-/.]{DAY}[-/.]\d\d",
    rf"{DAY}\.?[- ]{MONTH},?[- ](\d\d)?\d\d",
    rf"{MONTH} {DAY},? \d{{4}}",
)
DATE = rf"^({'|'.join(DATES)})([ T]\d{{1,2}}:\d{{2}}.*)?$"
DECIMAL_COMMA = r"^[-+]?\d+,\d+([eE][-+]?\d+)?$"
DECIMAL_POINT = r"^[-+]?\d*\.\d+([eE][-+]?\d+)?$"
THOUSANDS = r"^[-+]?[1-9]\d{0,2}[,.]\d{3}$"  # what 1,234 and 1.234 may be, and 0,234 and 3,5 are not


def normalized(column: polars.Series) -> polars.Series:
    """A column as UInt8, Float64, Boolean, String or a date; one of lists, structures or bytes as `unusable`."""
    import polars

    column, kind = column.alias(""), column.dtype
    if column.null_count() == len(column):  # nothing tells its type; in a CSV file it is numbers, too
        return polars.Series("", [None] * len(column), polars.Float64)
    if kind.is_numeric():
        return as_bytes(column.cast(polars.Float64).fill_nan(None))
    if kind in (polars.Categorical, polars.Enum, polars.String):
        return column.cast(polars.String).str.strip_chars().replace(dict.fromkeys(NO_TEXT, None))
    if kind in (polars.Boolean, polars.Date, polars.Datetime):
        return column
    return unusable(str(kind), len(column))


def unusable(kind: str, n: int) -> polars.Series:
    """n missing values for a column of lists, structures, durations, bytes ...: an Enum that keeps its type."""
    import polars

    return polars.Series("", [None], polars.Enum([kind])).new_from_index(0, n)


def unusable_type(column: polars.Series) -> str | None:
    """The type that `unusable` was given; None for a column that can be used."""
    import polars

    return column.dtype.categories[0] if isinstance(column.dtype, polars.Enum) else None


def check_usable(column: polars.Series, name: str, source: str) -> None:
    """DataError for a column of lists, structures, durations, complex numbers or bytes."""
    if kind := unusable_type(column):
        raise DataError(
            f"{source}: column {name!r} is of type {kind}; numbers, text or truth values are needed. Leave it "
            f"out with drop=[{name!r}], or put what it holds in columns of their own."
        )


def as_bytes(column: polars.Series) -> polars.Series:
    """A column of numbers as UInt8 where all are whole, in 0..255 and there."""
    import polars

    if column.dtype == polars.UInt8 or column.null_count() or not len(column):
        return column
    low, high = column.min(), column.max()
    if not (low >= 0 and high <= 255 and (column == column.floor()).all()):  # type: ignore[operator]
        return column
    return column.cast(polars.UInt8)


def stripped(column: polars.Series) -> polars.Series:
    """A column of text without spaces around its cells, and null where a value is missing."""
    text = column.str.strip_chars()
    return text.set(text.is_in(MISSING), None) if text.is_in(MISSING).any() else text


def as_text(column: polars.Series, known: Iterable[str | None]) -> polars.Series:
    """A column of any kind as the text of a file: 3.0 is `3`, and truth values are in the case of `known` text."""
    import polars

    text = column.cast(polars.String)
    if column.dtype == polars.Boolean:
        return text.replace({name.lower(): name for name in known if name is not None})
    return text.str.strip_suffix(".0") if column.dtype.is_float() else text


def typed(column: polars.Series, decimal: Literal[".", ","] | None = None) -> tuple[polars.Series, int | None]:
    """A column of text as what it holds: numbers, truth values, dates, or text; null where a value is missing.

    Without `decimal` the column itself tells whether it has decimal commas. The second value is the first row that
    is no number in a column of numbers, which is a slip.
    """
    text = stripped(column)
    there = len(text) - text.null_count()
    values = _numbers(text, decimal == ",")
    if decimal is None and values.null_count() > text.null_count() and _has_decimal_comma(text):
        values = _numbers(text, decimal_comma=True)
    parsed = len(values) - values.null_count()
    if parsed == there:
        return as_bytes(values), None
    if parsed >= MOSTLY * there:
        return values, int((values.is_null() & text.is_not_null()).arg_true()[0])
    lower = text.str.to_lowercase()
    if lower.drop_nulls().is_in(["true", "false"]).all():
        return lower == "true", None
    return text, None


def _numbers(text: polars.Series, decimal_comma: bool) -> polars.Series:
    """Numbers, and null for what is none: with decimal commas, a point makes none."""
    import polars

    dotted = text.str.replace_many([",", "."], [".", ","]) if decimal_comma else text
    return dotted.cast(polars.Float64, strict=False).fill_nan(None)


def _has_decimal_comma(text: polars.Series) -> bool:
    """Whether a column has decimal commas and no points; those of 1,234 alone may separate thousands."""
    with_comma = text.filter(text.str.contains(DECIMAL_COMMA))
    return bool(
        len(with_comma)
        and not with_comma.str.contains(THOUSANDS).all()
        and not text.str.contains(DECIMAL_POINT).any()
    )


def is_date(column: polars.Series) -> bool:
    """Whether a column holds dates, as such or as text that is written like them throughout."""
    import polars

    if column.dtype != polars.String:
        return column.dtype in (polars.Date, polars.Datetime)
    there = column.drop_nulls()
    return bool(len(there) and there.str.contains(DATE).all())


def kind_of(column: polars.Series) -> str:
    """The kind of a column for people: byte, number, boolean, date, text, or a type that cannot be used."""
    import polars

    if kind := unusable_type(column):
        return kind
    if is_date(column):
        return "date"
    kinds: dict[Any, str] = {polars.UInt8: "byte", polars.Float64: "number", polars.Boolean: "boolean"}
    return kinds.get(column.dtype, "text")
