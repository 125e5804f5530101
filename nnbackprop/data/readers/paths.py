"""A data set by its path: a file by its first bytes, the parts in a folder by the names of their files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nnbackprop._files import open_data
from nnbackprop.data.raw import RawSplits
from nnbackprop.errors import DataError

from . import csv, idx, image, image_folder, mat, npz

FORMATS = "IDX or IDX.gz, .csv, .npz, images.npy beside labels.npy, .mat (version 5)"
IDX_NAME = re.compile(r"(train|t10k|test)[-_.](images|labels)[-_.]idx[13][-_.]ubyte(\.gz)?")
CSV_NAME = re.compile(r"(.*[-_.])?train\.csv")
FOLDERS = (
    "train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or .gz, with t10k-... or test-... beside them; "
    "train.npz; train.csv or ..._train.csv; images.npy and labels.npy; a single .csv, .npz or .mat file; or "
    "images in a folder a class"
)
Files = Mapping[str, Path]


def read_file(path: Path) -> RawSplits:
    """A file, whose format is told from its first bytes; of images and labels, the other file is found by name."""
    with open_data(path, "data") as stream:
        head = stream.read(520)
    if head[:2] == idx.GZIP_MAGIC or (head[:2] == b"\0\0" and head[2:3] and head[2] in idx.TYPES):
        return RawSplits(idx.read_pair(*_images_and_labels(path)))
    if head[:4] == b"PK\x03\x04":
        return npz.read_npz(path)
    if head[:6] == b"\x93NUMPY":
        return RawSplits(npz.read_pair(*_images_and_labels(path)))
    if head[:6] == b"MATLAB" or mat.is_hdf5(head) or path.suffix.lower() == ".mat":
        return RawSplits(mat.read(path))
    if b"\0" in head[:512]:
        raise DataError(f"{path}: its format is not known: it begins with {head[:8]!r}. Known are {FORMATS}.")
    return RawSplits(csv.read(path))


def read_folder(folder: Path, size: tuple[int, int] | None = None, channels: image.Channels = "auto") -> RawSplits:
    """A folder: the first of these that it has, IDX, .npz, .csv, .npy, one single file, images by class.

    `size` and `channels` are those of `image_folder.read_folder`. Raises DataError, saying what was looked for, if
    it has none.
    """
    try:
        files = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error}.") from error
    for find in (_find_idx, _find_npz, _find_csv):
        if (splits := find(files)) is not None:
            return splits
    if {"images.npy", "labels.npy"} <= files.keys():
        return RawSplits(npz.read_pair(files["images.npy"], files["labels.npy"]))
    readable = [path for path in files.values() if path.suffix.lower() in (".csv", ".npz", ".mat")]
    if len(readable) == 1:
        return read_file(readable[0])
    if image_folder.has_images(folder):
        return image_folder.read_folder(folder, size, channels)
    found = ", ".join(path.name for path in readable) or "none of them"
    raise DataError(f"{folder}: no data set is found in this folder. Looked for: {FOLDERS}. Found: {found}.")


def _images_and_labels(path: Path) -> tuple[Path, Path]:
    """The files of images and of labels, of which `path` is one and the other lies beside it."""
    idx_kind = {"images": "idx3", "labels": "idx1"}
    for this, other in (("images", "labels"), ("labels", "images")):
        if this in path.name:
            other_path = path.with_name(path.name.replace(this, other).replace(idx_kind[this], idx_kind[other]))
            if not other_path.is_file():
                raise DataError(f"{path}: holds {this} alone; their {other} are needed in {other_path}.")
            return (path, other_path) if this == "images" else (other_path, path)
    raise DataError(
        f"{path}: is one array of a pair; its name must hold 'images' or 'labels', so that the other is found."
    )


def _find_idx(files: Files) -> RawSplits | None:
    parts: dict[bool, dict[str, Path]] = {True: {}, False: {}}
    for name, path in files.items():
        if match := IDX_NAME.fullmatch(name):
            parts[match[1] == "train"].setdefault(match[2], path)
    train, test = (
        idx.read_pair(part["images"], part["labels"]) if len(part) == 2 else None for part in parts.values()
    )
    return RawSplits(train, test) if train else None


def _find_npz(files: Files) -> RawSplits | None:
    if "train.npz" not in files:
        return None
    train = npz.read_npz(files["train.npz"])
    return RawSplits(train.train, npz.read_npz(files["test.npz"]).train) if "test.npz" in files else train


def _find_csv(files: Files) -> RawSplits | None:
    """train.csv and test.csv; Kaggle's test.csv has no labels, and is left out with a note."""
    for name, path in files.items():
        if match := CSV_NAME.fullmatch(name):
            train, test = csv.read(path), files.get(f"{match[1] or ''}test.csv")
            if test is None or csv.has_labels(test):
                return RawSplits(train, csv.read(test) if test else None)
            note = f"{test.name} has no labels and was left out"
            return RawSplits(replace(train, reader_notes=(*train.reader_notes, note)))
    return None
