"""The tables of a path: a file is known by its first bytes, the parts in a folder by the names of their files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nnbackprop._files import open_data
from nnbackprop.data.table import Tables
from nnbackprop.errors import DataError

from . import csv, idx, mat, npz

FORMATS = "IDX or IDX.gz, .csv, .npz, images.npy beside labels.npy, .mat (version 5)"
IDX_NAME = re.compile(r"(train|t10k|test)[-_.](images|labels)[-_.]idx[13][-_.]ubyte(\.gz)?")
CSV_NAME = re.compile(r"(.*[-_.])?train\.csv")
FOLDERS = (
    "train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or .gz, with t10k-... or test-... beside them; "
    "train.npz; train.csv or ..._train.csv; images.npy and labels.npy; or a single .csv, .npz or .mat file"
)
Files = Mapping[str, Path]


def read_file(path: Path) -> Tables:
    """The tables of a file, whose format is told from its first bytes; partners are found by their names."""
    with open_data(path, "data") as stream:
        head = stream.read(520)
    if head[:2] == idx.GZIP or (head[:2] == b"\0\0" and head[2:3] and head[2] in idx.TYPES):
        return Tables(idx.read_table(*_partners(path)))
    if head[:4] == b"PK\x03\x04":
        return npz.read_npz(path)
    if head[:6] == b"\x93NUMPY":
        return Tables(npz.read_pair(*_partners(path)))
    if head[:6] == b"MATLAB" or mat.is_hdf5(head) or path.suffix.lower() == ".mat":
        return Tables(mat.read(path))
    if b"\0" in head[:512]:
        raise DataError(f"{path}: its format is not known: it begins with {head[:8]!r}. Known are {FORMATS}.")
    return Tables(csv.read(path))


def read_folder(folder: Path) -> Tables:
    """The tables of a folder: the first of these that is there, IDX, .npz, .csv, .npy, one single file.

    Raises DataError, saying what was looked for, if nothing fits.
    """
    try:
        files = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error}.") from error
    for find in (_idx, _npz, _csv):
        if (tables := find(files)) is not None:
            return tables
    if {"images.npy", "labels.npy"} <= files.keys():
        return Tables(npz.read_pair(files["images.npy"], files["labels.npy"]))
    readable = [path for path in files.values() if path.suffix.lower() in (".csv", ".npz", ".mat")]
    if len(readable) == 1:
        return read_file(readable[0])
    found = ", ".join(path.name for path in readable) or "none of them"
    raise DataError(f"{folder}: no data set is found in this folder. Looked for: {FOLDERS}. Found: {found}.")


def _partners(path: Path) -> tuple[Path, Path]:
    """The files of images and of labels, of which `path` is one and the other lies beside it."""
    kinds = {"images": "idx3", "labels": "idx1"}
    for mine, other in (("images", "labels"), ("labels", "images")):
        if mine in path.name:
            partner = path.with_name(path.name.replace(mine, other).replace(kinds[mine], kinds[other]))
            if not partner.is_file():
                raise DataError(f"{path}: holds {mine} alone; their {other} are needed in {partner}.")
            return (path, partner) if mine == "images" else (partner, path)
    raise DataError(
        f"{path}: is one array of a pair; its name must hold 'images' or 'labels', so that the other is found."
    )


def _idx(files: Files) -> Tables | None:
    parts: dict[bool, dict[str, Path]] = {True: {}, False: {}}
    for name, path in files.items():
        if match := IDX_NAME.fullmatch(name):
            parts[match[1] == "train"].setdefault(match[2], path)
    train, test = (
        idx.read_table(part["images"], part["labels"]) if len(part) == 2 else None for part in parts.values()
    )
    return Tables(train, test) if train else None


def _npz(files: Files) -> Tables | None:
    if "train.npz" not in files:
        return None
    train = npz.read_npz(files["train.npz"])
    return Tables(train.train, npz.read_npz(files["test.npz"]).train) if "test.npz" in files else train


def _csv(files: Files) -> Tables | None:
    """train.csv and test.csv; Kaggle's test.csv has no labels, and is left out with a note."""
    for name, path in files.items():
        if match := CSV_NAME.fullmatch(name):
            table, test = csv.read(path), files.get(f"{match[1] or ''}test.csv")
            if test is None:
                return Tables(table)
            if csv.has_labels(test):
                return Tables(table, csv.read(test))
            return Tables(replace(table, notes=(*table.notes, f"{test.name} has no labels and was left out")))
    return None
