"""MATLAB's .mat of version 5 with X and y, as the exercises of Andrew Ng's course hand out (ex4data1.mat).

MATLAB stores and unrolls arrays by columns and counts from 1. So an image unrolled there, `img(:)'`, lies
on its side for a reader of rows, and digit 0 is labelled 10, as there is no index 0. Nothing in the file says
so; it is detected: a square number of features (of 8 x 8 or more) with labels that run from 1 to 10. Such
images are transposed to upright, and class 10 is called "0". Any other set stays as it is: square images
labelled 0..9 were most likely written by SciPy, from rows. Images (rows, columns, channels, n), as those of the
Street View House Numbers, are known by their last axis, of as many as there are labels.

The format is read here, as SciPy's reader is compiled code that crashes the process at a few changed bytes.
Source of the format: MathWorks, "MAT-File Format", chapter 1, "Level 5 MAT-Files".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from nnbackprop._files import open_data, size_of
from nnbackprop.data.limits import DEFLATE_RATIO, MemoryBudget, format_names
from nnbackprop.data.raw import RawDataset, Task, integer_labels, square_image_shape
from nnbackprop.errors import DataError

HDF5 = b"\x89HDF\r\n\x1a\n"
TRANSPOSED = "images were stored column by column, as MATLAB does, and are transposed to upright"
TEN_IS_ZERO = 'labels run from 1 to 10, as MATLAB counts; they are 0..9 here, and 10 is called "0"'
SAMPLES_LAST = "samples lay along the last axis"
HEADER_SIZE = 128  # bytes: text, version, and "MI" in the byte order of the writer
BYTE_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
MATRIX, COMPRESSED = 14, 15  # types of elements
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
UNSUPPORTED_CLASSES = {1: "a cell array", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse matrix"}
COMPLEX_FLAG = 0x800
HOW_TO_CONVERT = "load it in MATLAB or Octave and save it as version 5: save('new.mat', 'X', 'y', '-v7')"
MAX_AXES = 32


def read(path: Path, task: Task = "classification") -> RawDataset:
    """A .mat file with X (m, features) and y (m, 1) or (m,), for other tasks than classification (m, k) too.

    Raises DataError for version 7.3, which is HDF5, with the way to convert it; for a file without X and
    y, or where these are not plain arrays of numbers.
    """
    variables = read_variables(path)
    return from_matlab_arrays(_variable(variables, "X", path), _variable(variables, "y", path), str(path), task)


def is_hdf5(head: bytes) -> bool:
    """Whether a file that begins with `head` is HDF5, which MATLAB puts after 512 bytes of its own."""
    return HDF5 in (head[: len(HDF5)], head[512 : 512 + len(HDF5)])


def from_matlab_arrays(x: np.ndarray, y: np.ndarray, source: str, task: Task = "classification") -> RawDataset:
    """X and y as MATLAB has them; see the module for what is detected."""
    if x.ndim > 2 and x.shape[-1] == y.size != x.shape[0]:
        return _from_last_axis(x, y, source, task)
    raw = RawDataset.from_arrays(x, y, source, task=task)
    labels, shape = _class_numbers(raw), square_image_shape(raw.inputs.shape[1])
    if x.ndim != 2 or shape is None or labels is None or (labels.min(), labels.max()) != (1, 10):
        return raw
    upright = np.asarray(raw.inputs).reshape(-1, *shape).transpose(0, 2, 1)
    notes = (*raw.reader_notes, TRANSPOSED, TEN_IS_ZERO)
    return RawDataset.from_arrays(upright, labels, source, {10: "0"}, notes)


def _class_numbers(raw: RawDataset) -> np.ndarray | None:
    return integer_labels(raw.labels) if raw.task == "classification" else None


def _from_last_axis(x: np.ndarray, y: np.ndarray, source: str, task: Task) -> RawDataset:
    """Images (rows, columns, n) or (rows, columns, channels, n), which MATLAB indexes by its last axis."""
    raw = RawDataset.from_arrays(np.moveaxis(x, -1, 0), y, source, task=task)
    labels, notes = _class_numbers(raw), (*raw.reader_notes, f"{SAMPLES_LAST} of {x.shape}")
    ten_is_zero = labels is not None and (labels.min(), labels.max()) == (1, 10)
    if ten_is_zero:
        return replace(raw, label_names={10: "0"}, reader_notes=(*notes, TEN_IS_ZERO))
    return replace(raw, reader_notes=notes)


def read_variables(path: Path) -> dict[str, np.ndarray | str]:
    """All variables of a file by name: arrays in native byte order and of the class MATLAB showed, or what else.

    Raises DataError naming the file and its fault.
    """
    with open_data(path, "MAT") as stream:
        if is_hdf5(stream.read(512 + len(HDF5))):
            raise DataError(
                f"{path}: is a .mat file of version 7.3 (HDF5), which is not read here; {HOW_TO_CONVERT}."
            )
        stream.seek(0)
        MemoryBudget(str(path)).reserve(size := size_of(stream))
        data = memoryview(stream.read(size))
        order = BYTE_ORDERS.get(bytes(data[HEADER_SIZE - 4 : HEADER_SIZE]))
        if order is None:
            raise DataError(f"{path}: has no header of a .mat file of version 5; {HOW_TO_CONVERT}.")
        return dict(_variables(data[HEADER_SIZE:], order, MemoryBudget(str(path))))


def _variable(variables: Mapping[str, np.ndarray | str], name: str, path: Path) -> np.ndarray:
    if name not in variables:
        raise DataError(f"{path}: holds {format_names(variables)}; X (m, features) and y (m, 1) are needed.")
    if isinstance(variable := variables[name], str):
        raise DataError(f"{path}: {name} is {variable}; a plain array of numbers is needed.")
    return variable


def _variables(data: memoryview, order: str, budget: MemoryBudget) -> Iterator[tuple[str, np.ndarray | str]]:
    for kind, body in _elements(data, order):
        if kind == COMPRESSED:
            kind, body = _decompress(body, order, MemoryBudget(budget.source))
        if kind == MATRIX:
            yield _read_matrix(body, order, budget)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and bytes of each element; one of up to 4 bytes may share the 8 bytes of its tag."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start = at + 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        if size > (4 if start == at + 4 else len(data) - start):
            raise ValueError(f"an element claims {size} bytes, more than there are; it is truncated or damaged")
        yield kind, data[start : start + size]
        at = start + size if kind == COMPRESSED else at + 8 + (-(-size // 8) * 8 if start == at + 8 else 0)


def _decompress(body: memoryview, order: str, budget: MemoryBudget) -> tuple[int, memoryview]:
    """The one element inside a compressed one."""
    unzip = zlib.decompressobj()
    tag = unzip.decompress(body, 8)
    kind, size = struct.unpack(f"{order}II", tag)
    if size > DEFLATE_RATIO * len(body):
        raise ValueError(f"a compressed element claims {size} bytes, more than {len(body)} can hold")
    budget.reserve(size)
    data = unzip.decompress(unzip.unconsumed_tail, size + 8)
    if len(data) < size or not unzip.eof:
        raise ValueError(f"a compressed element of {size} bytes does not end where it should")
    return kind, memoryview(data)[:size]


def _read_matrix(body: memoryview, order: str, budget: MemoryBudget) -> tuple[str, np.ndarray | str]:
    parts = _elements(body, order)
    try:
        (_, flags), (_, axes), (_, name) = next(parts), next(parts), next(parts)
    except StopIteration:
        raise ValueError("a variable lacks its flags, shape or name") from None
    flag = struct.unpack_from(f"{order}I", flags)[0]
    label = bytes(name).decode("ascii", "replace")
    if not label.isidentifier():
        raise ValueError(f"a variable is called {label!r}, which is no name")
    if flag & COMPLEX_FLAG or flag & 0xFF not in CLASSES:
        return label, "complex" if flag & COMPLEX_FLAG else UNSUPPORTED_CLASSES.get(flag & 0xFF, "no array")
    shape = tuple(np.frombuffer(axes, f"{order}i4").tolist())
    kind, values = next(parts, (0, memoryview(b"")))
    stored, dtype = _read_values(values, TYPES.get(kind), shape, order), np.dtype(CLASSES[flag & 0xFF])
    budget.reserve_array(shape, dtype)
    with np.errstate(invalid="ignore"):  # NaN among integers, which only a damaged file has
        return label, stored.astype(dtype)


def _read_values(values: memoryview, kind: str | None, shape: tuple[int, ...], order: str) -> np.ndarray:
    """Values as they are stored, which may be in fewer bytes than their class has, by columns."""
    if kind is None or not 2 <= len(shape) <= MAX_AXES or min(shape) < 0:
        raise ValueError(f"a variable has shape {shape} and values of type {kind}")
    dtype = np.dtype(order + kind)
    if math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"a variable of shape {shape} cannot be made of {len(values)} bytes of {dtype}")
    return np.frombuffer(values, dtype).reshape(shape, order="F")
