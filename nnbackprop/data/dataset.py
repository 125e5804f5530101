"""Inputs, targets, class names and sample weights, checked when a data set is built."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnbackprop._html import html_table
from nnbackprop.errors import DataError, InputError, UsageError

from .column_roles import ColumnRoles
from .limits import format_names
from .mapped import MappedArray, Samples
from .preprocessing import Preprocessing
from .raw import Task, to_input_dtype
from .table import is_frame, table_of


@dataclass(frozen=True, eq=False)
class Dataset:
    """One part of a data set: n samples with their targets.

    inputs        (n, *sample_shape) uint8, float32 or float64, C-contiguous; or a `MappedArray`, in a file
    targets       class labels (n,) int32 in 0 .. K-1; without classes, numbers (n, k) float32 or float64
    classes       K names: `classes[targets[i]]` is the class of sample i ("0" for label 9 of an ex4 set)
    image_shape   (rows, columns), or (rows, columns, 3) of colours, where a sample is an image:
                  `inputs[i].reshape(image_shape)` is upright
    weights       (n,) float64, >= 0 with a positive sum: the sample weights of the loss; None is 1 each
    source        where it came from
    reader_notes  what the file reader noticed and converted, a sentence each
    preprocessing how the rows of a table became the inputs; None where there was no table

    Lists, data frames and arrays of other dtypes are converted where that is exact, numbers (n,) become (n, 1),
    and samples of shape (rows, columns), (rows, columns, 1) or (rows, columns, 3) are images. Without `classes`,
    they are found: targets (n,) that are text, whole numbers or truth values are class labels, 0 and 1 in k
    columns several labels at once. With them, targets may name them. Raises DataError for anything else.
    """

    inputs: Samples
    targets: np.ndarray
    classes: tuple[str, ...] = ()
    image_shape: tuple[int, ...] | None = None
    weights: np.ndarray | None = None
    source: str = "memory"
    reader_notes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None

    def __post_init__(self) -> None:
        self._set(inputs=self._check_inputs(), classes=self._check_classes())
        if not self.classes:
            self._find_classes()
        self._set(targets=self._check_labels() if self.classes else self._check_numbers())
        self._set(weights=self._check_weights(), image_shape=self._check_image_shape())

    def __repr__(self) -> str:
        facts = [f"{name} {value}" for name, value in self._facts()]
        return f"Dataset({', '.join([*facts, f'{len(self.classes)} classes'] if self.classes else facts)})"

    def _facts(self) -> list[tuple[str, str]]:
        x, t = self.inputs, self.targets
        facts = [("inputs", f"{x.dtype} {tuple(x.shape)}"), ("targets", f"{t.dtype} {tuple(t.shape)}")]
        return facts + ([("images", " x ".join(map(str, self.image_shape)))] if self.image_shape else [])

    def _repr_html_(self) -> str:
        t, rows = self.targets, [("samples", f"{len(self):,}"), *self._facts()]
        if self.classes:
            counts = np.bincount(t, minlength=len(self.classes))
            shown = [f"{name} ({n:,})" for name, n in zip(self.classes, counts, strict=True)]
            rows.append((f"{len(shown)} classes", format_names(shown, most=20)))
        return html_table(("data set", self.source), rows)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check_inputs(self) -> Samples:
        if is_frame(self.inputs):
            return self._read_frame()
        if isinstance(self.inputs, MappedArray):
            return self.inputs
        x = _array(self.inputs, "inputs", self.source)
        if x.ndim < 2 or 0 in x.shape:
            raise DataError(
                f"{self.source}: inputs have shape {x.shape}; (samples, features) or "
                "(samples, *sample_shape) is needed, with at least one of each."
            )
        return to_input_dtype(x, self.source)

    def _read_frame(self) -> np.ndarray:
        """The numbers of a data frame, whose columns name the features; DataError for text."""
        table = table_of(self.inputs, self.source)
        try:
            preprocessing = Preprocessing.fit(table, ColumnRoles((), table.columns, "classification", "", ""))
        except InputError as error:
            raise InputError(
                f"{error} These are options of nb.load(frame, target=...), and nb.Dataset has none."
            ) from error
        if preprocessing.categories:
            raise DataError(
                f"{self.source}: column {next(iter(preprocessing.categories))!r} is text, and what text "
                "becomes is fitted to training data: pass the whole frame to nb.load(frame, target=...)."
            )
        self._set(preprocessing=preprocessing)
        return preprocessing.transform(table)[0]

    def _check_classes(self) -> tuple[str, ...]:
        try:
            names = tuple(map(str, self.classes))
        except TypeError as error:
            raise DataError(
                f"{self.source}: classes are {self.classes!r}; names are needed, as in ('cat', 'dog')."
            ) from error
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(
                f"{self.source}: classes are called {format_names(twice)} more than once: give each its own name."
            )
        return names

    def _find_classes(self) -> None:
        """Text, truth values and whole numbers are class labels; 0 and 1 in k columns become floats."""
        t = _array(self.targets, "targets", self.source)
        if t.dtype.kind in "biu" and t.ndim == 2 and t.shape[1] > 1 and t.size and t.min() >= 0 and t.max() <= 1:
            self._set(targets=t.astype(np.float32))
        elif (t.dtype.kind in "biuU" or _is_text(t)) and t.shape == (len(self.inputs),):
            values, indices = np.unique(t.astype(str) if t.dtype.kind in "bO" else t, return_inverse=True)
            self._set(classes=tuple(map(str, values.tolist())), targets=indices.astype(np.int32))

    def _check_labels(self) -> np.ndarray:
        t, n, k = _array(self.targets, "targets", self.source), len(self.inputs), len(self.classes)
        if t.shape == (n,) and (t.dtype.kind == "U" or _is_text(t)):
            t = self._labels_of_names(t)
        if t.shape != (n,) or t.dtype.kind not in "biu":
            raise DataError(
                f"{self.source}: class labels are {t.dtype} of shape {t.shape}; integers of shape "
                f"({n},) are needed, one for each sample. Of one-hot rows take "
                "argmax(axis=1); for regression leave out `classes`."
            )
        if t.min() < 0 or t.max() >= k:
            raise DataError(f"{self.source}: labels lie in {t.min()}..{t.max()}, but {k} classes need 0..{k - 1}.")
        return t.astype(np.int32, copy=False)

    def _labels_of_names(self, names: np.ndarray) -> np.ndarray:
        index_of = {name: k for k, name in enumerate(self.classes)}
        if unknown := sorted({*map(str, names.tolist())} - index_of.keys()):
            raise DataError(
                f"{self.source}: targets name {format_names(unknown)}, which is not among the classes "
                f"{format_names(self.classes)}. Leave `classes` out to have them found."
            )
        return np.array([index_of[str(name)] for name in names.tolist()], np.int32)

    def _check_numbers(self) -> np.ndarray:
        t, n = _array(self.targets, "targets", self.source), len(self.inputs)
        if t.dtype.kind != "f" or t.shape[:1] != (n,) or t.ndim > 2 or 0 in t.shape:
            raise DataError(
                f"{self.source}: targets are {t.dtype} of shape {t.shape}, without classes; floats of shape "
                f"({n}, k) are needed. For class labels name them, as in classes=('cat', 'dog')."
            )
        t = np.ascontiguousarray(t.reshape(n, -1), np.float64 if t.dtype.itemsize > 4 else np.float32)
        if not np.isfinite(t).all():
            raise DataError(
                f"{self.source}: the targets of sample {np.argmin(np.isfinite(t).all(axis=1))} are not "
                "finite. Fix or remove such samples."
            )
        return t

    def _check_weights(self) -> np.ndarray | None:
        if self.weights is None:
            return None
        w, n = _array(self.weights, "weights", self.source), len(self.inputs)
        if w.shape != (n,) or w.dtype.kind not in "buif":
            raise DataError(
                f"{self.source}: weights are {w.dtype} of shape {w.shape}; numbers of shape ({n},) are "
                "needed, one for each sample."
            )
        w = w.astype(np.float64, copy=False)
        with np.errstate(over="ignore"):
            total = w.astype(np.float32).sum(dtype=np.float64)  # training may be in float32
        if not (w.min() >= 0 and 0 < total < np.inf):
            raise DataError(
                f"{self.source}: weights lie in {w.min():g}..{w.max():g} and sum to {w.sum():g}; finite weights "
                "of at least 0 with a positive sum are needed, also in float32."
            )
        return w

    def _check_image_shape(self) -> tuple[int, ...] | None:
        shape, sample = self.image_shape, self.sample_shape
        if shape is None and (len(sample) == 2 or sample[2:] in ((1,), (3,))):
            return sample if sample[2:] == (3,) else sample[:2]
        if shape is None:
            return None
        if (
            not isinstance(shape, (tuple, list))
            or not (len(shape) == 2 or tuple(shape[2:]) == (3,))
            or math.prod(shape) != self.n_features
        ):
            raise DataError(
                f"{self.source}: image_shape is {shape} and a sample has {self.n_features} features; rows and "
                "columns whose product this is are needed, or (rows, columns, 3)."
            )
        return tuple(shape)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (features,), (rows, columns) or (rows, columns, channels)."""
        return self.inputs.shape[1:]

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of one target: () for a label, (k,) for numbers."""
        return self.targets.shape[1:]

    @property
    def n_features(self) -> int:
        """Numbers in one sample."""
        return math.prod(self.sample_shape)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features, where the samples are rows of a table; else empty."""
        return () if self.preprocessing is None else self.preprocessing.feature_names

    @property
    def target_names(self) -> tuple[str, ...]:
        """The target columns, where the samples are rows of a table; else empty."""
        return () if self.preprocessing is None else self.preprocessing.targets

    @property
    def task(self) -> Task:
        """What is learnt: classes, numbers, or several labels of 0 and 1 at once."""
        if self.preprocessing is not None and self.preprocessing.targets:
            return self.preprocessing.task
        if self.classes:
            return "classification"
        several = self.targets.shape[1] > 1 and np.isin(self.targets, (0, 1)).all()
        return "multilabel" if several else "regression"

    def image(self, i: int) -> np.ndarray:
        """Sample i as an upright image of `image_shape`; DataError if samples are not images."""
        if self.image_shape is None:
            raise DataError(f"{self.source}: its samples of {self.n_features} features are not images.")
        return self.inputs[i].reshape(self.image_shape)

    def counts(self) -> np.ndarray:
        """(K,) int64: the number of samples of each class."""
        return np.bincount(self.targets, minlength=len(self.classes)) if self.classes else np.zeros(0, np.int64)

    def take(self, indices: np.ndarray) -> Dataset:
        """The samples of `indices`, in that order: copied, where they are in memory, else left in their file."""
        inputs = self.inputs.take(indices, axis=0)
        weights = None if self.weights is None else self.weights[indices]
        return replace(self, inputs=inputs, targets=self.targets[indices], weights=weights)

    def with_classes(self, classes: tuple[str, ...]) -> Dataset:
        """The same samples with labels that index `classes`, as the outputs of a trained network do.

        Raises DataError if a sample belongs to a class that is not among them.
        """
        if classes == self.classes:
            return self
        used = [self.classes[k] for k in np.flatnonzero(self.counts())]
        index_of = {name: k for k, name in enumerate(classes)}
        if not self.classes or not classes:
            raise DataError(
                f"{self.source}: has {len(self.classes)} classes where {len(classes)} are needed: labels and "
                "numbers are different tasks. Give data of the kind the network was trained on."
            )
        if unknown := [name for name in used if name not in index_of]:
            raise DataError(
                f"{self.source}: holds classes {', '.join(unknown)}, which are not among the "
                f"{len(classes)} known ones ({', '.join(classes)})."
            )
        new_targets = np.array([index_of.get(name, -1) for name in self.classes], np.int32)
        return replace(self, targets=new_targets[self.targets], classes=classes)


def require_dataset(data: Any, function: str) -> None:
    """UsageError unless `data`, given to `function`, is a Dataset."""
    if not isinstance(data, Dataset):
        raise UsageError(
            f"{function} got {type(data).__name__} and needs a Dataset: nb.Dataset(inputs, targets), or a part of "
            "nb.load(...), such as data.train."
        )


def _is_text(values: np.ndarray) -> bool:
    """Whether an array of objects, as pandas has them, holds text alone."""
    return values.dtype.kind in "OT" and all(isinstance(value, str) for value in values.tolist())


def _array(values: Any, name: str, source: str) -> np.ndarray:
    if np.ma.is_masked(values):
        n_masked = np.ma.getmaskarray(values).sum()
        raise DataError(
            f"{source}: {name} are a masked array, and {n_masked} of its values are masked, so missing. Fill them "
            f"in, as {name}.filled(0) does, or leave out those samples."
        )
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        kind = type(values).__name__
        raise DataError(f"{source}: {name} of type {kind} are no array of numbers: {error}.") from error
