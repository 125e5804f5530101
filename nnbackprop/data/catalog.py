"""Data sets by name or path; label values of any kind become class indices 0 .. K-1 and K class names."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nnbackprop.errors import DataError

from . import bundled, download
from .dataset import Dataset, Splits
from .limits import MemoryBudget
from .raw import RawDataset, RawSplits, integer_labels, validate
from .readers.image import Channels
from .readers.paths import read_file, read_folder
from .split import split as stratified_split

DATASETS: dict[str, Callable[[], RawSplits]] = {
    "mnist": bundled.mnist,
    "mnist-20x20": lambda: RawSplits(bundled.mnist_20x20()),
    "weight-height": lambda: RawSplits(bundled.weight_height()),
    "fashion-mnist": lambda: download.read(download.FASHION_MNIST),
    "kmnist": lambda: download.read(download.KMNIST),
}


def load(
    spec: str | Path,
    *,
    test_fraction: float = 0.2,
    seed: int = 0,
    split: bool = True,
    strict: bool = True,
    size: tuple[int, int] | None = None,
    channels: Channels = "auto",
) -> Splits:
    """The train and test parts of a data set given by name (see DATASETS) or by the path of a file or folder.

    A source without a test part is split by `test_fraction`, class by class, drawn by `seed`; split=False keeps
    it whole. strict=False leaves out `validate`, to open data that training refuses: inputs may then hold NaN,
    and labels that are not whole numbers are classes named after themselves. Images in folders are resized
    to `size`, (rows, columns), and are grey if all of them are, or as `channels` says.
    A name wins over a file of that name; write ./mnist for the latter.
    Raises DataError for anything that cannot be read, UsageError for a fraction outside 0..1.
    """
    raw = load_raw(spec, size, channels)
    if strict:
        validate(raw)
    splits = to_splits(raw)
    if splits.test is not None or not split:
        return splits
    return Splits(*stratified_split(splits.train, test_fraction, seed))


def load_raw(spec: str | Path, size: tuple[int, int] | None = None, channels: Channels = "auto") -> RawSplits:
    """A data set as its source has it, neither validated nor split."""
    if isinstance(spec, str) and spec in DATASETS:
        return DATASETS[spec]()
    try:
        path = Path(spec).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, RuntimeError) as error:  # longer than the system allows, or in the home of nobody
        raise DataError(f"{str(spec)[:80]!r} cannot be the name of a file: {error}.") from error
    if not exists:
        similar = difflib.get_close_matches(str(spec), DATASETS, 1)
        raise DataError(
            f"{str(spec)!r} is not the name of a data set ({', '.join(DATASETS)}), and no such file or folder "
            f"exists: {path.absolute()}.{f' Did you mean {similar[0]}?' if similar else ''}"
        )
    return read_folder(path, size, channels) if is_folder else read_file(path)


def to_splits(raw: RawSplits) -> Splits:
    """Give both parts one class map, the sorted union of their label values, and one dtype."""
    parts = [part for part in raw if part is not None]
    labels: list[Any] = [integer_labels(part.labels) for part in parts]
    if any(column is None for column in labels):
        labels = [part.labels.astype(str) for part in parts]
    values = np.unique(np.concatenate(labels))
    names = {value: name for part in parts for value, name in part.label_names.items()}
    classes = tuple(names.get(value, str(value)) for value in values.tolist())
    dtype = np.result_type(*(part.inputs for part in parts))
    targets = [np.searchsorted(values, column).astype(np.int32) for column in labels]
    return Splits(*(_to_dataset(*pair, classes, dtype) for pair in zip(parts, targets, strict=True)))


def _to_dataset(raw: RawDataset, targets: np.ndarray, classes: tuple[str, ...], dtype: np.dtype) -> Dataset:
    notes = [*raw.reader_notes]
    if raw.labels.dtype.kind == "f":
        notes.append("labels are whole numbers written as floating point; read as integers")
    runs = 1 + int(np.count_nonzero(np.diff(targets)))
    if 1 < len(np.unique(targets)) == runs < len(targets):
        notes.append("samples come sorted by class; training shuffles them")
    if raw.inputs.dtype != dtype:
        notes.append(f"inputs are {raw.inputs.dtype}, read as {dtype} like the other part")
        MemoryBudget(raw.source).reserve_array(raw.inputs.shape, dtype)
    inputs = raw.inputs.astype(dtype, copy=False)
    return Dataset(inputs, targets, classes, raw.image_shape, source=raw.source, reader_notes=tuple(notes))
