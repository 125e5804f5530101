"""A data set by its path: a file by its first bytes, the parts in a folder by the names of their files."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from nnbackprop._files import open_data
from nnbackprop.data.limits import format_names
from nnbackprop.data.raw import RawSplits, Task, square_image_shape
from nnbackprop.data.table import DataOptions, Table
from nnbackprop.data.tabular import TableSplits
from nnbackprop.errors import DataError

from . import csv, idx, image_folder, mat, npz, parquet

FORMATS = "CSV, TSV (or .gz), Parquet, Arrow, IDX or IDX.gz, .npz, images.npy beside labels.npy, .mat (version 5)"
IDX_NAME = re.compile(r"(train|t10k|test)[-_.](images|labels)[-_.]idx[13][-_.]ubyte(\.gz)?")
TABLE_NAME = re.compile(r"(.*[-_.])?train\.((csv|tsv)(\.gz)?|parquet|arrow|feather)")
TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".arrow", ".feather", ".txt", ".data")
KNOWN_SUFFIXES = (*TABLE_SUFFIXES, ".npz", ".mat", ".gz", "-ubyte", ".npy")
NPY_NAMES = (("images.npy", "labels.npy"), ("x.npy", "y.npy"))
FOLDERS = (
    "train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or .gz, with t10k-... or test-... beside them; "
    "train.npz; train.csv or ..._train.csv (.tsv, .parquet ...); images.npy and labels.npy, or X.npy and y.npy; "
    "a single file of a table, .npz or .mat; or images in folders of their classes"
)
VALIDATION_NAME = re.compile(r"(.*[-_.])?val(id(ation)?)?\.((csv|tsv)(\.gz)?|parquet|arrow|feather|npz)")
Files = Mapping[str, Path]
Parts = TypeVar("Parts", RawSplits, TableSplits)


def read_file(path: Path, options: DataOptions = DataOptions()) -> RawSplits | TableSplits:  # noqa: B008
    """A file, whose format is told from its first bytes; of images and labels, the other file is found by name."""
    with open_data(path, "data") as stream:
        head = stream.read(520)
        stream.seek(0)
        inner = _inflated(stream.read(2**12)) if head[:2] == idx.GZIP_MAGIC else head
    if inner[:2] == b"\0\0" and inner[2:3] and inner[2] in idx.TYPES:
        return RawSplits(idx.read_pair(*_images_and_labels(path), task=_task(options)))
    if head[:4] == b"PK\x03\x04":
        return npz.read_npz(path, options.task)
    if head[:6] == b"\x93NUMPY":
        if (pair := _x_and_y(path)) is not None:
            return RawSplits(npz.read_pair(*pair, task=options.task))
        if "images" in path.name or "labels" in path.name:
            return RawSplits(npz.read_pair(*_images_and_labels(path), task=options.task))
        return TableSplits(npz.read_table(path), options=options)
    if head[:6] == b"MATLAB" or mat.is_hdf5(head) or path.suffix.lower() == ".mat":
        return RawSplits(mat.read(path, _task(options)))
    if parquet.is_columnar(head):
        return TableSplits(parquet.read(path), options=options)
    if b"\0" in inner[:512] and inner[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path}: its format is not known: it begins with {head[:8]!r}. Known are {FORMATS}.")
    return TableSplits(csv.read(path, options), options=options)


def _task(options: DataOptions) -> Task:
    """The task of formats that hold class labels unless another is said."""
    return "classification" if options.task == "auto" else options.task


def read_table(path: Path, options: DataOptions = DataOptions(), expected: Sequence[str] = ()) -> Table:  # noqa: B008
    """A file of one table; `expected` column names tell whether its first line is a header."""
    with open_data(path, "a table") as stream:
        head = stream.read(6)
    if parquet.is_columnar(head):
        return parquet.read(path)
    if head == b"\x93NUMPY":
        return npz.read_table(path)
    return csv.read(path, options, expected)


def _inflated(content: bytes) -> bytes:
    """The first bytes within a gzipped file."""
    try:
        return zlib.decompressobj(31).decompress(content, 520)
    except zlib.error:
        return b""


def is_table(path: Path) -> bool:
    """Whether a file, or what a folder holds, is a table by its name, or arrays whose samples are no images."""
    names = [path.name.lower()]
    if path.is_dir():
        names = [name for name in _files_of(path) if name.endswith(KNOWN_SUFFIXES)]
        names = [name for name in names if TABLE_NAME.fullmatch(name)] or names
    if len(names) == 1 and names[0].endswith(TABLE_SUFFIXES):
        return not (path.is_dir() and _are_images(path, names[0]))
    try:
        shape, values = npz.peek_inputs(arrays) if (arrays := _array_file(path)) is not None else ((), np.zeros(0))
    except (DataError, OSError):  # the reader says so
        return False
    are_pixels = bool(((values >= 0) & (values <= 255)).all())
    return len(shape) == 2 and (square_image_shape(shape[1]) is None or not are_pixels)


def _are_images(folder: Path, only: str) -> bool:
    """Whether a folder with `only` one file of data, a table, holds images of classes, which it may be about."""
    is_single_table = only.endswith(TABLE_SUFFIXES) and not TABLE_NAME.fullmatch(only)
    return is_single_table and image_folder.has_classes(folder)


def _array_file(path: Path) -> Path | None:
    """The .npz or .npy file that holds the inputs, where a file or folder is arrays."""
    if path.is_file():
        pair = _x_and_y(path)
        return pair[0] if pair else path if path.suffix.lower() in (".npz", ".npy") else None
    files = _files_of(path)
    names = ("train.npz", *(images for images, labels in NPY_NAMES if labels in files))
    single = [name for name in files if name.endswith(".npz")]
    return next((files[name] for name in (*names, *single[: len(single) == 1]) if name in files), None)


def read_folder(folder: Path, options: DataOptions = DataOptions()) -> RawSplits | TableSplits:  # noqa: B008
    """A folder: the first of these that it has, IDX, .npz, tables, .npy, one single file, images by class.

    A single table beside images of two classes or more is left out, with a note, as is a validation part.
    Raises DataError, saying what was looked for, if it has none.
    """
    files = {name: path for name, path in _files_of(folder).items() if path.is_file()}
    if (splits := _find_idx(files, options)) is not None:
        return splits
    validation = [path for name, path in files.items() if VALIDATION_NAME.fullmatch(name)]
    if (parts := _find_npz(files, options)) is not None:
        return _with_left_out(parts, validation)
    if (tables := _find_tables(files, options)) is not None:
        return _with_left_out(tables, validation)
    for images, labels in NPY_NAMES:
        if {images, labels} <= files.keys():
            return RawSplits(npz.read_pair(files[images], files[labels], task=options.task))
    readable = [path for name, path in files.items() if name.endswith((*TABLE_SUFFIXES, ".npz", ".mat"))]
    if len(readable) == 1 and not _are_images(folder, readable[0].name.lower()):
        return read_file(readable[0], options)
    if image_folder.is_image_folder(folder):
        return _with_left_out(image_folder.read_folder(folder, options.size, options.channels), readable)
    found = ", ".join(path.name for path in readable) or "none of them"
    raise DataError(f"{folder}: no data set is found in this folder. Looked for: {FOLDERS}. Found: {found}.")


def _with_left_out(parts: Parts, files: Sequence[Path]) -> Parts:
    """The parts with a note of files beside them that are not read."""
    if not files:
        return parts
    note = f"{format_names(path.name for path in files)} was left out"
    train = replace(parts.train, reader_notes=(*parts.train.reader_notes, note))
    return replace(parts, train=train) if isinstance(parts, TableSplits) else parts._replace(train=train)


def _x_and_y(path: Path) -> tuple[Path, Path] | None:
    """X.npy and y.npy, of which `path` is one, where both are there."""
    x, y = NPY_NAMES[1]
    if path.name.lower() not in (x, y):
        return None
    beside = _files_of(path.parent)
    return (beside[x], beside[y]) if {x, y} <= beside.keys() else None


def _files_of(folder: Path) -> dict[str, Path]:
    """What a folder holds by its name in lower case; DataError where it may not be listed."""
    try:
        return {path.name.lower(): path for path in sorted(folder.iterdir())}
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error}.") from error


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


def _find_idx(files: Files, options: DataOptions) -> RawSplits | None:
    parts: dict[bool, dict[str, Path]] = {True: {}, False: {}}
    for name, path in files.items():
        if match := IDX_NAME.fullmatch(name):
            parts[match[1] == "train"].setdefault(match[2], path)
    train, test = (
        idx.read_pair(part["images"], part["labels"], task=_task(options)) if len(part) == 2 else None
        for part in parts.values()
    )
    return RawSplits(train, test) if train else None


def _find_npz(files: Files, options: DataOptions) -> RawSplits | None:
    if "train.npz" not in files:
        return None
    train = npz.read_npz(files["train.npz"], options.task)
    if "test.npz" not in files:
        return train
    return RawSplits(train.train, npz.read_npz(files["test.npz"], train.train.task).train)


def _find_tables(files: Files, options: DataOptions) -> TableSplits | None:
    """train.csv and test.csv, or the like."""
    for name, path in files.items():
        if match := TABLE_NAME.fullmatch(name):
            train, test = read_table(path, options), files.get(f"{match[1] or ''}test.{match[2]}")
            names = train.columns if train.has_names else ()
            like_train = replace(options, text_columns=train.text_columns)
            return TableSplits(train, read_table(test, like_train, names) if test else None, options)
    return None
