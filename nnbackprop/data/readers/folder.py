"""Finding train and test in a folder, by the names such files are known under."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from nnbackprop.data.table import Tables
from nnbackprop.errors import DataError

from . import csv, idx, npz

IDX_NAME = re.compile(r"(train|t10k|test)[-_.](images|labels)[-_.]idx[13][-_.]ubyte(\.gz)?")
CSV_NAME = re.compile(r"(.*[-_.])?(train|test)\.csv")
KNOWN = (
    "train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or .gz, with t10k-... or test-... beside them; "
    "train.npz; train.csv or ..._train.csv; images.npy and labels.npy; or a single .csv, .npz or .mat file"
)
Files = Mapping[str, Path]


def read(folder: Path, read_file: Callable[[Path], Tables]) -> Tables:
    """The tables of a folder: the first of these that is there, IDX, .npz, .csv, .npy, one single file.

    `read_file` reads a file of any format. Raises DataError, saying what was looked for, if nothing fits.
    """
    try:
        files = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error}.") from error
    for find in (_idx, _npz, _csv, _npy):
        if (tables := find(files)) is not None:
            return tables
    return read_file(_only(folder, files))


def _idx(files: Files) -> Tables | None:
    parts: dict[str, dict[str, Path]] = {"train": {}, "test": {}}
    for name, path in files.items():
        if match := IDX_NAME.fullmatch(name):
            parts["train" if match[1] == "train" else "test"].setdefault(match[2], path)
    train, test = (
        idx.read_table(pair["images"], pair["labels"]) if len(pair) == 2 else None for pair in parts.values()
    )
    return Tables(train, test) if train else None


def _npz(files: Files) -> Tables | None:
    if "train.npz" not in files:
        return None
    train = npz.read_npz(files["train.npz"])
    if "test.npz" not in files:
        return train
    return Tables(train.train, npz.read_npz(files["test.npz"]).train)


def _csv(files: Files) -> Tables | None:
    for name, path in files.items():
        match = CSV_NAME.fullmatch(name)
        if match and match[2] == "train":
            return _csv_pair(path, files.get(f"{match[1] or ''}test.csv"))
    return None


def _csv_pair(train: Path, test: Path | None) -> Tables:
    """Kaggle's test.csv has no labels: it is left out, with a note, and the train table is split."""
    table = csv.read(train)
    if test is None:
        return Tables(table)
    if not csv.has_labels(test):
        return Tables(replace(table, notes=(*table.notes, f"{test.name} has no labels and was left out")))
    return Tables(table, csv.read(test))


def _npy(files: Files) -> Tables | None:
    if not {"images.npy", "labels.npy"} <= files.keys():
        return None
    return Tables(npz.read_pair(files["images.npy"], files["labels.npy"]))


def _only(folder: Path, files: Files) -> Path:
    readable = [path for path in files.values() if path.suffix.lower() in (".csv", ".npz", ".mat")]
    if len(readable) == 1:
        return readable[0]
    found = ", ".join(path.name for path in readable) or "none of them"
    raise DataError(f"{folder}: no data set is found in this folder. Looked for: {KNOWN}. Found: {found}.")
