"""What a reader finds in a file, and whether a network can be trained on it."""

from __future__ import annotations

import bisect
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nnbackprop.errors import DataError, LabelError, OneHotError

from .limits import LONGEST_LABEL

SMALLEST_IMAGE = 8  # rows without a shape count as square images from 8 x 8 on: 4 features are not a 2 x 2 image


@dataclass(frozen=True, eq=False)
class Table:
    """Samples and labels as a file has them: shapes fit together, values may be anything.

    inputs       (n, features) uint8, float32 or float64, C-contiguous; may hold NaN
    labels       (n,) of any integer, float or text dtype
    names        what a label value is called, where that is not the value itself (10: "0")
    """

    inputs: np.ndarray
    labels: np.ndarray
    source: str
    image_shape: tuple[int, int] | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        source: str,
        names: Mapping[int, str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> Table:
        """Bring arrays of the usual shapes to a table; DataError if they cannot be samples and labels.

        images (n, features), (n, rows, columns), or with a channel axis of 1 before or after; labels (n,),
        (n, 1) or (1, n). Integers within 0..255 become uint8, others float32 or float64 exactly.
        """
        if images.ndim < 2 or 0 in images.shape:
            raise DataError(
                f"{source}: images have shape {images.shape}; (samples, features) or (samples, rows, columns) "
                "is needed, with at least one of each."
            )
        inputs = to_input_dtype(images, source).reshape(len(images), -1)
        flat, label_notes = _flat_labels(labels, len(images), source)
        return cls(inputs, flat, source, _image_shape(images.shape), names or {}, notes + label_notes)


class Tables(NamedTuple):
    """The train and test tables of a source; `test` is None if it has one table only."""

    train: Table
    test: Table | None = None


def to_input_dtype(array: np.ndarray, source: str) -> np.ndarray:
    """`array` as uint8 where its integers allow, else as the narrowest of float32, float64 that is exact."""
    kind = array.dtype.kind
    if kind not in "buif":
        raise DataError(f"{source}: inputs are of type {array.dtype}; real numbers are needed.")
    if kind == "f":
        wide = array.dtype.itemsize > 4
        with np.errstate(over="ignore"):  # a long double beyond float64 is infinite, and `check` refuses it
            return np.ascontiguousarray(array, np.float64 if wide else np.float32)
    low, high = int(array.min()), int(array.max())
    if low >= 0 and high <= 255:
        return np.ascontiguousarray(array, np.uint8)
    return np.ascontiguousarray(array, np.float32 if max(-low, high) <= 2**24 else np.float64)


def square(features: int) -> tuple[int, int] | None:
    """The shape of a square image of so many pixels, or None if the number is not a square."""
    side = math.isqrt(features)
    return (side, side) if side * side == features and side >= SMALLEST_IMAGE else None


def _image_shape(shape: tuple[int, ...]) -> tuple[int, int] | None:
    if len(shape) == 4 and 1 in (shape[1], shape[3]):
        shape = (shape[0], *shape[2:]) if shape[1] == 1 else shape[:3]
    if len(shape) == 3:
        return (shape[1], shape[2])
    return square(shape[1]) if len(shape) == 2 else None


def _flat_labels(labels: np.ndarray, n: int, source: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """(n,) labels, and a note if they had a further axis of 1."""
    if labels.dtype.kind not in "buifUS":
        raise LabelError(f"{source}: labels are of type {labels.dtype}; numbers or text are needed.")
    if labels.dtype.kind in "US":
        labels = _text(labels, source)
    if labels.shape == (n,):
        return labels, ()
    if labels.shape in ((n, 1), (1, n)):
        return labels.reshape(n), (f"labels of shape {labels.shape} were read as ({n},)",)
    hint = " If they are one-hot, keep their argmax(axis=1) instead." if labels.shape[:1] == (n,) else ""
    kind = OneHotError if _is_one_hot(labels, n) else LabelError
    raise kind(f"{source}: {n} images but labels of shape {labels.shape}; one label for each is needed.{hint}")


def _text(labels: np.ndarray, source: str) -> np.ndarray:
    """Labels of bytes or code points as text, within the longest width allowed."""
    width = labels.dtype.itemsize // (4 if labels.dtype.kind == "U" else 1)
    if width > LONGEST_LABEL:
        raise LabelError(
            f"{source}: labels are text of {width} characters; {LONGEST_LABEL} are enough to name a class.",
        )
    if labels.dtype.kind == "S":
        return np.char.decode(labels, "utf-8", "backslashreplace")
    points = np.ascontiguousarray(labels, labels.dtype.newbyteorder("=")).view(np.uint32)
    if points.size and points.max() > sys.maxunicode:
        raise LabelError(f"{source}: labels hold bytes that are not text; the file is damaged.")
    return labels


def _is_one_hot(labels: np.ndarray, n: int) -> bool:
    """Whether labels are n rows of zeros and a single 1, in a row a sample or one after another."""
    if labels.dtype.kind not in "buif" or labels.size % n or labels.size <= n:
        return False
    rows = labels.reshape(n, -1)
    return bool(np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all())


def integer_labels(labels: np.ndarray) -> np.ndarray | None:
    """(n,) int64 if every label is a whole number, be it written as integer, float or text; else None."""
    if labels.dtype.kind in "biu":
        return labels.astype(np.int64) if labels.max(initial=0) <= np.iinfo(np.int64).max else None
    values, inverse = np.unique(labels, return_inverse=True)
    try:
        floats = values.astype(np.float64)
    except ValueError:
        return None
    fit = np.abs(floats) < 2**53  # False for NaN and infinities
    if not np.all(fit) or np.any(floats != np.floor(floats)):
        return None
    return floats.astype(np.int64)[inverse]


def check(tables: Tables) -> None:
    """Raise DataError, naming source and place, at the first value no network can be trained on.

    Inputs must be finite and labels whole numbers.
    """
    for table in tables:
        if table is not None:
            _check_labels(table)
            _check_finite(table)


def _check_labels(table: Table) -> None:
    if integer_labels(table.labels) is not None:
        return
    row = bisect.bisect_left(
        range(len(table.labels)), True, key=lambda k: integer_labels(table.labels[: k + 1]) is None
    )
    raise DataError(
        f"{table.source}: label {table.labels[row].item()!r} of sample {row} is not a whole number. Class "
        "labels are whole numbers (0, 1, 2, ...); use such numbers in the file."
    )


def _check_finite(table: Table) -> None:
    if table.inputs.dtype == np.uint8:
        return
    finite = np.isfinite(table.inputs)
    if finite.all():
        return
    row, column = divmod(int(np.argmin(finite)), finite.shape[1])
    raise DataError(
        f"{table.source}: {np.count_nonzero(~finite)} of {finite.size} input values are not finite, the first "
        f"({table.inputs[row, column]}) at sample {row}, feature {column}, both counted from 0. Every step "
        "would turn the weights into NaN; fix or remove these samples."
    )
