"""NumPy's .npz and .npy, read without pickle: an array is data here, never code.

Source of the format: NEP 1, https://numpy.org/neps/nep-0001-npy-format.html
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

import numpy as np

from nnbackprop._files import open_data, size_of
from nnbackprop.data.limits import SAMPLE_BYTES, MemoryBudget, format_names, max_bytes
from nnbackprop.data.mapped import MappedArray, StoredArray
from nnbackprop.data.raw import RawDataset, RawSplits, Task
from nnbackprop.data.table import Table, column_names, table_of
from nnbackprop.errors import DataError

from .csv_dialect import MAX_COLUMNS
from .idx import read_up_to

MAX_HEADER_SIZE = 10_000  # NumPy's own limit: Python's parser may crash beyond it
HEADER_PARSERS = {  # by version: bytes of the header's length, and the parser of both
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}
ARRAY_NAMES = (  # of inputs and labels: Keras's, a single table's, those of a pair of .npy files, MedMNIST's
    (("x_train", "y_train"), ("x_test", "y_test")),
    (("x", "y"),),
    (("images", "labels"),),
    (("train_images", "train_labels"), ("test_images", "test_labels")),
)
MAPPED_SHARE = 8  # of the limit of a file: .npy inputs beyond an eighth of it stay in their file
PEEKED_BYTES = 2**16  # of inputs, whose values tell images from other numbers
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # savez's; zipfile inflates others without bound


def read_npz(path: Path, task: Task | Literal["auto"] = "auto") -> RawSplits:
    """The arrays of a .npz file: x_train, y_train and, where present, x_test, y_test; or one of `ARRAY_NAMES`.

    Names are matched without regard to case. A task of auto is that of the training part's targets. Raises
    DataError naming the file and the arrays it has.
    """
    with open_data(path, "npz") as stream, zipfile.ZipFile(stream) as archive:
        members, budget, parts = _members(archive), MemoryBudget(str(path)), []
        for x, y in _pairs(members, path):
            inputs, labels = (_read_member(archive, members[name], budget) for name in (x, y))
            parts.append(RawDataset.from_arrays(inputs, labels, f"{path}, {x}", task=task))
            task = parts[0].task
        used = {name for pair in _pairs(members, path) for name in pair}
        if unused := [name for name in members if name not in used]:
            notes = (*parts[0].reader_notes, f"{path} holds {format_names(unused)} too, left out")
            parts[0] = replace(parts[0], reader_notes=notes)
        return RawSplits(*parts)


def peek_inputs(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """The shape of a .npy file, or of the inputs in a .npz file, that its header promises; its first numbers."""
    with open_data(path, "npz") as stream:
        if path.suffix.lower() == ".npy":
            return _peek(stream, str(path))
        with zipfile.ZipFile(stream) as archive:
            members = _members(archive)
            with _open_member(archive, members[_pairs(members, path)[0][0]], str(path)) as member:
                return _peek(member, str(path))


def _peek(stream: IO[bytes], source: str) -> tuple[tuple[int, ...], np.ndarray]:
    shape, _, dtype = _read_header(stream, source)
    if dtype.kind not in "buif":
        return shape, np.zeros(0)
    body = stream.read(PEEKED_BYTES)
    return shape, np.frombuffer(body[: len(body) - len(body) % dtype.itemsize], dtype)


def read_pair(
    images: Path, labels: Path, max_in_memory: int | None = None, task: Task | Literal["auto"] = "auto"
) -> RawDataset:
    """Two .npy files: samples, and their class labels, numbers (n,) or (n, k), or 0 and 1 in k columns.

    Images of more than `max_in_memory` bytes, an eighth of the limit of a file if not given, stay in theirs.
    """
    limit = max_bytes() // MAPPED_SHARE if max_in_memory is None else max_in_memory
    with open_data(images, "npy") as stream:
        mapped = _mapped(images, stream) if size_of(stream) > limit else None
    inputs = read_array(images) if mapped is None else mapped
    return RawDataset.from_arrays(inputs, read_array(labels), str(images), task=task)


def _mapped(path: Path, stream: BinaryIO) -> MappedArray | None:
    """The array of a file, left there; None where it must be converted or is damaged."""
    shape, fortran, dtype = _read_header(stream, str(path))
    offset, size = stream.tell(), math.prod(shape) * dtype.itemsize
    whole = len(shape) > 1 and min(shape) > 0 and offset + size == size_of(stream)
    if fortran or not whole or dtype not in (np.uint8, np.float32, np.float64):
        return None
    MemoryBudget(str(path)).reserve(shape[0] * SAMPLE_BYTES)
    return MappedArray(StoredArray(path, offset, shape, dtype))


def read_array(path: Path) -> np.ndarray:
    """The array of a .npy file."""
    with open_data(path, "npy") as stream:
        return _read_npy(stream, size_of(stream), MemoryBudget(str(path)), str(path))


def write_array(stream: BinaryIO, shape: tuple[int, ...], dtype: np.dtype, blocks: Iterable[np.ndarray]) -> None:
    """A .npy file of blocks of rows, C-contiguous and `shape` in all; on the disk when this returns."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    for block in blocks:
        stream.write(block.data)
    stream.flush()
    os.fsync(stream.fileno())


def read_table(path: Path) -> Table:
    """A .npy file of rows and columns of numbers, as a table without names."""
    array = read_array(path)
    if array.ndim != 2 or array.dtype.kind not in "buif" or 0 in array.shape or array.shape[1] > MAX_COLUMNS:
        raise DataError(
            f"{path}: holds {array.dtype} of shape {array.shape}; a file by itself is a table, numbers of "
            "shape (rows, columns) with the target among the columns. Name a pair X.npy and y.npy, or images.npy "
            "and labels.npy, and keep it in one folder."
        )
    names = column_names([""] * array.shape[1], str(path))
    return replace(table_of(dict(zip(names, array.T, strict=True)), str(path)), has_names=False)


def _members(archive: zipfile.ZipFile) -> dict[str, str]:
    """The names in a .npz file by those of its arrays, in lower case."""
    return {name.removesuffix(".npy").lower(): name for name in archive.namelist()}


def _pairs(members: dict[str, str], path: Path) -> list[tuple[str, str]]:
    for pairs in ARRAY_NAMES:
        if set(pairs[0]) <= members.keys():
            return [pair for pair in pairs if set(pair) <= members.keys()]
    raise DataError(
        f"{path}: holds {format_names(members)}; x_train and y_train (and x_test, y_test), "
        "X and y, or images and labels, are needed. Save them so with numpy.savez."
    )


def _read_member(archive: zipfile.ZipFile, name: str, budget: MemoryBudget) -> np.ndarray:
    source = f"{budget.source}, {name.removesuffix('.npy')}"
    with _open_member(archive, name, source) as stream:
        return _read_npy(stream, archive.getinfo(name).file_size, budget, source)


def _open_member(archive: zipfile.ZipFile, name: str, source: str) -> IO[bytes]:
    if archive.getinfo(name).compress_type not in COMPRESSIONS:
        raise DataError(f"{source}: is not compressed as numpy.savez does; save it anew with that.")
    return archive.open(name)


def _read_npy(stream: Any, available: int, budget: MemoryBudget, source: str) -> np.ndarray:
    """One array, if its header claims as many bytes as are available."""
    shape, fortran, dtype = _read_header(stream, source)
    if dtype.hasobject:
        raise DataError(
            f"{source}: holds Python objects, which only pickle reads and which can run code. "
            "Save it as an array of numbers."
        )
    size = math.prod(shape) * dtype.itemsize
    body = bytearray()
    if min(shape, default=1) >= 0 and size <= available:
        budget.reserve_array(shape, dtype)
        body = read_up_to(stream, size + 1)
    if len(body) != size or min(shape, default=1) < 0:
        raise DataError(
            f"{source}: its header promises {shape} values of {dtype}, {size} bytes, but "
            f"{'fewer' if len(body) < size else 'more'} follow. It is damaged; copy or save it again."
        )
    return np.frombuffer(body, dtype).reshape(shape, order="F" if fortran else "C")


def _read_header(stream: IO[bytes], source: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether by columns, and type. NumPy parses the header; it would check its length after reading it."""
    version = np.lib.format.read_magic(stream)
    if version not in HEADER_PARSERS:
        raise DataError(
            f"{source}: is .npy of version {version}; 1.0 and 2.0, which hold arrays of numbers, are read."
        )
    width, parse = HEADER_PARSERS[version]
    length = stream.read(width)
    size = int.from_bytes(length, "little")
    if size > MAX_HEADER_SIZE:
        raise DataError(
            f"{source}: its header is longer than {MAX_HEADER_SIZE} bytes; that of an array of numbers is shorter."
        )
    return parse(io.BytesIO(length + stream.read(size)))
