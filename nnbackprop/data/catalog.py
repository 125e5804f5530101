"""Data sets by name or path; label values of any kind become class indices 0 .. K-1 and K class names."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nnbackprop.errors import DataError, UsageError

from .bundled import BUNDLED_TABLES, bundled_table, mnist, mnist_20x20, weight_height
from .dataset import Dataset
from .download import FASHION_MNIST, KMNIST, fetch
from .limits import MemoryBudget
from .raw import RawDataset, RawSplits, integer_labels, order_notes, validate
from .readers.image import parse_size
from .readers.paths import read_file, read_folder
from .split import Splits
from .split import split as stratified_split
from .table import DataOptions, Table, is_frame, table_of
from .tabular import TableSplits
from .tabular import to_raw as tables_to_raw
from .tabular import to_splits as tables_to_splits

OPTION_NAMES = tuple(field.name for field in fields(DataOptions) if field.name != "text_columns")
OF_CSV = ("separator", "decimal", "encoding", "header")
OF_IMAGES = ("size", "channels")


def _bundled_table(name: str, options: DataOptions) -> TableSplits:
    return TableSplits(bundled_table(name, options), options=options)


DATASETS: dict[str, Callable[[DataOptions], RawSplits | TableSplits]] = {
    "mnist": lambda _: mnist(),
    "mnist-20x20": lambda _: RawSplits(mnist_20x20()),
    "weight-height": lambda _: RawSplits(weight_height()),
    **{name: partial(_bundled_table, name) for name in BUNDLED_TABLES},
    "fashion-mnist": lambda _: fetch(FASHION_MNIST),
    "kmnist": lambda _: fetch(KMNIST),
}


def load(
    source: Any,
    *,
    target: str | int | Sequence[str | int] = (),
    task: Literal["auto", "classification", "regression", "multilabel"] = "auto",
    features: str | int | Sequence[str | int] = (),
    drop: str | int | Sequence[str | int] = (),
    missing: Literal["error", "mean", "median"] = "error",
    sample_weight: str | None = None,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.0,
    seed: int = 0,
    split: bool = True,
    strict: bool = True,
    **reading: Any,
) -> Splits:
    """The train and test parts of a data set.

    source     a name (see DATASETS), a path, a pandas or polars DataFrame, or a dict of arrays
    target     of a table: the column to predict, by name or position, or several
    task       what is learnt; auto chooses by the target's values, and takes those of IDX and .mat for classes
    features   of a table: the columns to use; all others but `drop` and the target if not given
    missing    of a table: error, or what missing numbers are replaced by
    sample_weight  of a table: the column of sample weights, which is no feature
    reading    how a CSV file is written, where that is not detected: separator, decimal, encoding, header; of
               images in folders of their classes, the size to which they are resized, such as "28x28", and their
               channels, grey or rgb
    strict     whether `validate` looks at arrays: without it inputs may hold NaN, and labels that are not whole
               numbers are classes named after themselves

    A source without a test part is split by `test_fraction`, class by class, drawn by `seed`; split=False keeps
    it whole. Preprocessing of a table is fitted to the training part. A name wins over a file of that name; write
    ./mnist for the latter.
    Raises DataError for anything that cannot be read, UsageError for an option that cannot be.
    """
    options = data_options(
        target=_column_names(target),
        task=task,
        features=_column_names(features),
        drop=_column_names(drop),
        missing=missing,
        sample_weight=sample_weight,
        **reading,
    )
    return load_splits(source, options, test_fraction if split else 0.0, validation_fraction, seed, strict=strict)


def _column_names(columns: str | int | Sequence[str | int]) -> tuple[str, ...]:
    return (str(columns),) if isinstance(columns, (str, int)) else tuple(map(str, columns))


def load_splits(
    source: Any,
    options: DataOptions,
    test_fraction: float,
    validation_fraction: float = 0.0,
    seed: int = 0,
    *,
    strict: bool = True,
) -> Splits:
    """The parts of a data set; a fraction of 0 splits nothing off."""
    data = source if isinstance(source, (RawSplits, TableSplits)) else _open_strictly(source, options)
    if isinstance(data, TableSplits):
        return tables_to_splits(data, test_fraction, validation_fraction, seed)
    _check_options(data, options)
    if strict:
        validate(data)
    splits = to_splits(data)
    train, test, validation = splits.train, splits.test, None
    if test is None and test_fraction:
        train, test = stratified_split(train, test_fraction, seed)
    if validation_fraction:
        train, validation = stratified_split(train, validation_fraction, seed)
    chosen = data.train
    description = {"task": f"{chosen.task} ({chosen.task_reason})"} if chosen.task_reason else {}
    return Splits(train, test, validation, description)


def _open_strictly(source: Any, options: DataOptions) -> RawSplits | TableSplits:
    """`open_source`, and UsageError for an option of CSV files or of images in folders where there are none."""
    in_memory = is_frame(source) or isinstance(source, Table)
    if in_memory or (isinstance(source, str) and source in DATASETS):
        _refuse((*OF_CSV, *OF_IMAGES), options, "a table in memory" if in_memory else source)
        return open_source(source, options)
    data = open_source(source, options)
    if isinstance(data, TableSplits):
        _refuse(OF_IMAGES, options, source)
    else:
        _refuse(OF_CSV, options, source)
        if options.size is not None and (data.train.image_shape or ())[:2] != parse_size(options.size):
            _refuse(("size",), options, source)
    return data


def _refuse(names: Sequence[str], options: DataOptions, source: Any) -> None:
    for name in names:
        if (value := getattr(options, name)) != getattr(DataOptions, name):
            kind = "images in folders" if name in OF_IMAGES else "CSV files"
            raise UsageError(f"{name}={value!r} is for {kind}, and {source} is none: leave it out.")


def _check_options(arrays: RawSplits, options: DataOptions) -> None:
    """UsageError for an option that arrays of samples and targets have no use for."""
    source, defaults = arrays.train.source, DataOptions()
    for name in ("target", "features", "drop", "missing", "sample_weight"):
        if (value := getattr(options, name)) != getattr(defaults, name):
            shown = value if isinstance(value, str) else value[0] if len(value) == 1 else list(value)
            raise UsageError(
                f"{source}: is no table, and {name}={shown!r} is for the columns of one: leave it out."
            )
    if options.task not in ("auto", arrays.train.task):
        raise UsageError(
            f"{source}: has class labels, and task={options.task!r} is for tables and files of arrays: "
            "leave it out."
        )


def data_options(**options: Any) -> DataOptions:
    """Checked options; UsageError for one that does not exist or has a wrong value."""
    defaults = DataOptions()
    if all(name in OPTION_NAMES and getattr(defaults, name) == value for name, value in options.items()):
        return defaults
    import msgspec  # not among what the check of a GPU needs

    try:
        if unknown := sorted(options.keys() - set(OPTION_NAMES)):
            raise TypeError(f"there is no option {unknown[0]!r}")
        return msgspec.convert(options, DataOptions)
    except (msgspec.ValidationError, TypeError) as error:
        raise UsageError(
            f"A table cannot be read so: {error}. The options are {', '.join(OPTION_NAMES)}."
        ) from None


def load_raw(source: Any, options: DataOptions = DataOptions()) -> RawSplits:  # noqa: B008 (frozen)
    """A data set as its source has it, neither validated nor split."""
    data = open_source(source, options)
    return tables_to_raw(data) if isinstance(data, TableSplits) else data


def open_source(source: Any, options: DataOptions = DataOptions()) -> RawSplits | TableSplits:  # noqa: B008
    """What a source holds: arrays of samples and labels, or tables."""
    if is_frame(source) or isinstance(source, Table):
        return TableSplits(table_of(source), options=options)
    if isinstance(source, str) and source in DATASETS:
        return DATASETS[source](options)
    try:
        path = Path(source).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except TypeError:
        raise DataError(
            f"A {type(source).__name__} cannot be loaded: pass the name of a data set, a path, a pandas or polars "
            "DataFrame or a dict of arrays; of arrays make nb.Dataset(inputs, targets)."
        ) from None
    except (OSError, RuntimeError) as error:  # longer than the system allows, or in the home of nobody
        raise DataError(f"{str(source)[:80]!r} cannot be the name of a file: {error}.") from error
    if not exists:
        similar = difflib.get_close_matches(str(source), DATASETS, 1)
        raise DataError(
            f"{str(source)!r} is not the name of a data set ({', '.join(DATASETS)}), and no such file or folder "
            f"exists: {path.absolute()}.{f' Did you mean {similar[0]}?' if similar else ''}"
        )
    return read_folder(path, options) if is_folder else read_file(path, options)


def to_splits(raw: RawSplits) -> Splits:
    """Give both parts one class map, the sorted union of their label values, and one dtype."""
    parts = [part for part in raw if part is not None]
    dtype = np.result_type(*(part.inputs.dtype for part in parts))
    if len({part.task for part in parts}) > 1:
        raise DataError(
            f"{raw.train.source}: the training part is a {raw.train.task} and the test part is not: their targets "
            "must be of one kind."
        )
    if raw.train.task != "classification":
        train, *test = [_to_dataset(part, part.labels, (), dtype) for part in parts]
        return Splits(train, test[0] if test else None)
    labels: list[Any] = [integer_labels(part.labels) for part in parts]
    if any(column is None for column in labels):
        pairs = zip(labels, parts, strict=True)
        labels = [(part.labels if column is None else column).astype(str) for column, part in pairs]
    values = np.unique(np.concatenate(labels))
    names = {value: name for part in parts for value, name in part.label_names.items()}
    classes = tuple(names.get(value, str(value)) for value in values.tolist())
    targets = [np.searchsorted(values, column).astype(np.int32) for column in labels]
    datasets = [_to_dataset(*pair, classes, dtype) for pair in zip(parts, targets, strict=True)]
    return Splits(datasets[0], datasets[1] if len(datasets) > 1 else None)


def _to_dataset(raw: RawDataset, targets: np.ndarray, classes: tuple[str, ...], dtype: np.dtype) -> Dataset:
    notes = [*raw.reader_notes]
    if classes and raw.labels.dtype.kind == "f":
        notes.append("labels are whole numbers written as floating point; read as integers")
    if classes:
        notes += order_notes(targets)
    if raw.inputs.dtype != dtype:
        notes.append(f"inputs are {raw.inputs.dtype}, read as {dtype} like the other part")
        MemoryBudget(raw.source).reserve_array(raw.inputs.shape, dtype)
    inputs = raw.inputs.astype(dtype, copy=False)
    return Dataset(inputs, targets, classes, raw.image_shape, source=raw.source, reader_notes=tuple(notes))
