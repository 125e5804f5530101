"""Samples and labels as a reader finds them in a file, and whether a network can be trained on them."""

from __future__ import annotations

import bisect
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from nnbackprop.errors import DataError, InputError, LabelError, OneHotError

from .column_types import MISSING
from .limits import MAX_LABEL_LENGTH
from .mapped import MappedArray, Samples, blocks

Task = Literal["classification", "regression", "multilabel"]
"""What is learnt: classes, numbers, or several labels of 0 and 1 at once."""

MAX_WHOLE_CLASSES = 20  # different whole numbers up to which a target without the name of a class counts as one
FIRST_NUMBERS = 10_000
MAX_SLIPS = 0.1  # of so few classes' labels that may have fractions, before they count as numbers
MIN_IMAGE_SIDE = 8  # without a shape, samples count as square images from 8 x 8: 4 features are not a 2 x 2 image


@dataclass(frozen=True, eq=False)
class RawDataset:
    """Samples and labels as a file has them: their shapes fit together, their values may be anything.

    inputs        (n, features) uint8, float32 or float64, C-contiguous or in a file; may hold NaN
    labels        (n,) of any integer, float or text dtype; for other tasks than classification the targets, (n, k)
                  float32 or float64
    label_names   the class names of labels that are not named after themselves (10: "0")
    reader_notes  what the reader noticed and converted, a sentence each
    task          what the labels make it
    task_reason   why, where it was chosen
    """

    inputs: Samples
    labels: np.ndarray
    source: str
    image_shape: tuple[int, ...] | None = None
    label_names: Mapping[int, str] = field(default_factory=dict)
    reader_notes: tuple[str, ...] = ()
    task: Task = "classification"
    task_reason: str = ""

    @classmethod
    def from_arrays(
        cls,
        images: Samples,
        labels: np.ndarray,
        source: str,
        label_names: Mapping[int, str] | None = None,
        reader_notes: tuple[str, ...] = (),
        task: Task | Literal["auto"] = "classification",
    ) -> RawDataset:
        """Reshape and convert arrays of the usual shapes; DataError if they cannot be samples and labels.

        images (n, features), (n, rows, columns), or with a channel axis of 1 or 3 before or after, which is last
        in what comes back; labels (n,), (n, 1) or (1, n), for other tasks than classification (n, k) too. Integers
        within 0..255 become uint8, others float32 or float64 exactly. Task auto: numbers with fractions, and more
        than 20 different ones of a float type beside inputs that are no bytes, are a regression, several columns
        of 0 and 1 several labels.
        """
        if images.ndim < 2 or 0 in images.shape:
            raise DataError(
                f"{source}: images have shape {images.shape}; (samples, features) or (samples, rows, columns) "
                "is needed, with at least one of each."
            )
        if images.ndim == 4 and images.shape[1] == 3 != images.shape[3]:
            images = np.asarray(images)
            images = np.moveaxis(images, 1, 3)
            reader_notes += ("colour channels came first and are last here, as in (rows, columns, 3)",)
        inputs = to_input_dtype(images, source).reshape(len(images), -1)
        task, reason = choose_task(labels, inputs) if task == "auto" else (task, "")
        found = (_flatten_labels if task == "classification" else _number_targets)(labels, len(images), source)
        if task == "multilabel" and not (found.shape[1] > 1 and np.isin(found, (0, 1)).all()):
            raise LabelError(
                f"{source}: targets have shape {labels.shape}; several labels at once (task multilabel) are two "
                "or more columns of 0 and 1. Leave task out."
            )
        if labels.shape != found.shape and labels.shape != (len(images),):
            reader_notes += (f"labels of shape {labels.shape} were read as {found.shape}",)
        shape = _image_shape(images.shape)
        return cls(inputs, found, source, shape, label_names or {}, reader_notes, task, reason)


class RawSplits(NamedTuple):
    """The train and test parts of a source; `test` is None if it has one part only."""

    train: RawDataset
    test: RawDataset | None = None


def to_input_dtype(array: Samples, source: str) -> Samples:
    """`array` as uint8 where its integers allow, else as the narrowest of float32, float64 that is exact."""
    if isinstance(array, MappedArray):  # of such a type already
        return array
    kind = array.dtype.kind
    if kind not in "buif":
        raise DataError(f"{source}: inputs are of type {array.dtype}; real numbers are needed.")
    if kind == "f":
        with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite
            return np.ascontiguousarray(array, np.float64 if array.dtype.itemsize > 4 else np.float32)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    low, high = int(array.min()), int(array.max())
    if low >= 0 and high <= 255:
        return np.ascontiguousarray(array, np.uint8)
    return np.ascontiguousarray(array, np.float32 if max(-low, high) <= 2**24 else np.float64)


def square_image_shape(n_features: int) -> tuple[int, int] | None:
    """The shape of a square image of so many pixels, or None if the number is not a square."""
    side = math.isqrt(n_features)
    return (side, side) if side * side == n_features and side >= MIN_IMAGE_SIDE else None


def _image_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    if len(shape) == 4 and 1 in (shape[1], shape[3]):
        shape = (shape[0], *shape[2:]) if shape[1] == 1 else shape[:3]
    if len(shape) == 3 or (len(shape) == 4 and shape[3] == 3):
        return shape[1:]
    return square_image_shape(shape[1]) if len(shape) == 2 else None


def choose_task(labels: np.ndarray, inputs: Samples) -> tuple[Task, str]:
    """The task that targets of any shape and dtype make, where none was given, and why."""
    n = len(inputs)
    if labels.dtype.kind not in "buif":
        return "classification", "labels are text"
    if labels.ndim == 2 and len(labels) == n and labels.shape[1] > 1:
        return _task_of_columns(labels, n)
    if labels.dtype.kind != "f":
        return "classification", "whole numbers; task='regression' for amounts"
    finite = labels[np.isfinite(labels)]
    whole = finite == np.floor(finite)
    few = _are_few(finite[whole])
    if whole.all() and (few or inputs.dtype == np.uint8):
        return "classification", "whole numbers; task='regression' for amounts"
    if whole.all():
        many = f"more than {MAX_WHOLE_CLASSES} different whole numbers as floats"
        return "regression", f"{many}; task='classification' for classes"
    if few and np.mean(~whole) < MAX_SLIPS:
        return "classification", "nearly all are whole numbers; task='regression' for amounts"
    return "regression", "numbers with fractions; task='classification' for classes"


def _are_few(numbers: np.ndarray) -> bool:
    """Whether they are up to 20 different ones; the first tell of most that are not."""
    parts = numbers[:FIRST_NUMBERS], numbers
    return all(len(np.unique(part)) <= MAX_WHOLE_CLASSES for part in parts)


def _task_of_columns(labels: np.ndarray, n: int) -> tuple[Task, str]:
    """The same of targets in several columns."""
    columns = f"{labels.shape[1]} columns"
    if np.isin(labels, (0, 1)).all():
        if _is_one_hot(labels, n):
            return "classification", f"one-hot in {columns}; task='multilabel' for several labels at once"
        return "multilabel", f"{columns} of 0 and 1; task='regression' for amounts"
    if labels.dtype.kind == "f":
        return "regression", f"{columns} of numbers"
    return "classification", f"{columns} of whole numbers; task='regression' for amounts"


def _number_targets(targets: np.ndarray, n: int, source: str) -> np.ndarray:
    """Targets (n, k) float32 or float64; LabelError for what are no finite numbers, one row for each sample."""
    if targets.dtype.kind not in "buif":
        raise LabelError(
            f"{source}: targets are of type {targets.dtype}, and numbers are needed: leave task out for class "
            "labels."
        )
    rows = targets.reshape(n, -1) if targets.size and targets.shape in ((n,), (1, n)) else targets
    if rows.ndim != 2 or len(rows) != n or not rows.size:
        raise LabelError(
            f"{source}: {n} samples but targets of shape {targets.shape}; ({n},) or ({n}, k) is needed, a row for "
            "each."
        )
    with np.errstate(over="ignore"):  # a long double beyond float64 is infinite
        narrow = rows.itemsize <= (4 if rows.dtype.kind == "f" else 2)
        rows = np.ascontiguousarray(rows, np.float32 if narrow else np.float64)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise LabelError(
            f"{source}: the target of sample {np.argmin(finite)}, counted from 0, is not finite, and so in "
            f"{np.count_nonzero(~finite)} of {n} samples. Fix or remove these samples."
        )
    return rows


def _flatten_labels(labels: np.ndarray, n: int, source: str) -> np.ndarray:
    if labels.dtype.kind not in "buifUS":
        raise LabelError(f"{source}: labels are of type {labels.dtype}; numbers or text are needed.")
    if labels.dtype.kind in "US":
        labels = _decode_text(labels, source)
    if labels.shape in ((n,), (n, 1), (1, n)):
        return labels.reshape(n)
    hint = (
        " If they are one-hot, keep their argmax(axis=1) instead; numbers and several labels at once are read by "
        "task='regression' and task='multilabel'."
        if labels.shape[:1] == (n,)
        else ""
    )
    kind = OneHotError if _is_one_hot(labels, n) else LabelError
    raise kind(f"{source}: {n} images but labels of shape {labels.shape}; one label for each is needed.{hint}")


def _decode_text(labels: np.ndarray, source: str) -> np.ndarray:
    """Labels of bytes or code points as text of at most MAX_LABEL_LENGTH characters."""
    width = labels.dtype.itemsize // (4 if labels.dtype.kind == "U" else 1)
    if width > MAX_LABEL_LENGTH:
        raise LabelError(
            f"{source}: labels are text of {width} characters; {MAX_LABEL_LENGTH} are enough to name a class."
        )
    if labels.dtype.kind == "S":
        try:
            return np.char.decode(labels, "utf-8")
        except UnicodeDecodeError as error:
            raise LabelError(
                f"{source}: label {error.object!r} is not text in UTF-8. Save the labels as str or numbers."
            ) from error
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
    """(n,) int64 if every label is a whole number, and text is written as its number is, not as 007; else None."""
    if labels.dtype.kind in "biu":
        return labels.astype(np.int64) if labels.max(initial=0) <= np.iinfo(np.int64).max else None
    values, inverse = np.unique(labels, return_inverse=True)
    try:
        floats = values.astype(np.float64)
    except ValueError:
        return None
    if not (np.all(np.abs(floats) < 2**53) and np.all(floats == np.floor(floats))):  # so for NaN and infinities
        return None
    numbers = floats.astype(np.int64)
    return numbers[inverse] if values.dtype.kind == "f" or np.all(numbers.astype(str) == values) else None


def are_class_labels(labels: np.ndarray) -> bool:
    """Whether every label is a whole number, or they are names, none of which stands for a missing one."""
    are_names = labels.dtype.kind == "U" and not np.isin(labels, MISSING).any()
    return are_names or integer_labels(labels) is not None


def order_notes(labels: np.ndarray) -> list[str]:
    """The note on samples that come sorted by class, where they do."""
    runs = 1 + int(np.count_nonzero(np.diff(labels)))
    is_sorted = 1 < len(np.unique(labels)) == runs < len(labels)
    return ["samples come sorted by class; training shuffles them"] if is_sorted else []


def validate(raw: RawSplits) -> None:
    """Raise DataError, naming source and place, at the first value no network can be trained on.

    Inputs must be finite, and labels whole numbers or names.
    """
    for part in raw:
        if part is not None and part.task == "classification":
            _validate_labels(part.labels, part.source)
        if part is not None:
            _validate_inputs(part.inputs, part.source)


def _validate_labels(labels: np.ndarray, source: str) -> None:
    if are_class_labels(labels):
        return
    i = bisect.bisect_left(range(len(labels)), True, key=lambda k: not are_class_labels(labels[: k + 1]))
    raise DataError(
        f"{source}: label {labels[i].item()!r} of sample {i} is not a whole number or a name. Class labels are "
        "0, 1, 2 ... or names, none missing; use such in the file, or for amounts give task='regression'."
    )


def _validate_inputs(inputs: Samples, source: str) -> None:
    if inputs.dtype.kind != "f":
        return
    wrong, first, begin = 0, (0, 0), 0
    for block in blocks(inputs):
        finite = np.isfinite(block)
        if not finite.all():
            row, column = divmod(int(np.argmin(finite)), inputs.shape[1])
            first = first if wrong else (begin + row, column)
            wrong += int(np.count_nonzero(~finite))
        begin += len(block)
    if wrong:
        raise InputError(
            f"{source}: {wrong} of {inputs.size} input values are not finite, the first ({inputs[first]}) at "
            f"sample {first[0]}, feature {first[1]}, both counted from 0. Every step would turn the weights into "
            "NaN; fix or remove these samples."
        )
