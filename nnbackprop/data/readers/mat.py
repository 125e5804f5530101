"""MATLAB's .mat of version 5 with X and y, as the exercises of Andrew Ng's course hand out (ex4data1.mat).

MATLAB stores and unrolls arrays by columns and counts from 1. So an image unrolled there, `img(:)'`, lies
on its side for a reader of rows, and digit 0 is labelled 10, as there is no index 0. Nothing in the file says
so; it is detected: a square number of features (of 8 x 8 or more) with labels that run from 1 to 10. Such
images are transposed to upright, and class 10 is called "0". Any other set stays as it is: square images
labelled 0..9 were most likely written by SciPy, from rows.

The format is read here, as SciPy's reader is compiled code that crashes the process at a few changed bytes.
Source of the format: MathWorks, "MAT-File Format", chapter 1, "Level 5 MAT-Files".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnbackprop._files import open_data, size_of
from nnbackprop.data.limits import DEFLATE_RATIO, Budget, listed
from nnbackprop.data.table import Table, integer_labels, square
from nnbackprop.errors import DataError

HDF5 = b"\x89HDF\r\n\x1a\n"
UPRIGHT = "images were stored column by column, as MATLAB does, and are transposed to upright"
TEN_IS_ZERO = 'labels run from 1 to 10, as MATLAB counts; they are 0..9 here, and 10 is called "0"'
HEADER = 128  # bytes: text, version, and "MI" in the byte order of the writer
ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
MATRIX, COMPRESSED = 14, 15
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
OTHER_CLASSES = {1: "a cell array", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse matrix"}
COMPLEX = 0x800
SAVE_ANEW = "load it in MATLAB or Octave and save it as version 5: save('new.mat', 'X', 'y', '-v7')"
MAX_AXES = 32


class Variable(NamedTuple):
    """A variable's array, or None and what it is instead."""

    array: np.ndarray | None
    kind: str


def read(path: Path) -> Table:
    """The table of a .mat file with X (m, features) and y (m, 1) or (m,).

    Raises DataError for version 7.3, which is HDF5, with the way to convert it; for a file without X and
    y, or where these are not plain arrays of numbers.
    """
    variables = read_variables(path)
    return table_of(_variable(variables, "X", path), _variable(variables, "y", path), str(path))


def is_hdf5(head: bytes) -> bool:
    """Whether a file that begins with `head` is HDF5, which MATLAB puts after 512 bytes of its own."""
    return HDF5 in (head[: len(HDF5)], head[512 : 512 + len(HDF5)])


def table_of(x: np.ndarray, y: np.ndarray, source: str) -> Table:
    """The table of X and y as MATLAB has them; see the module for what is detected."""
    table = Table.of(x, y, source)
    labels, shape = integer_labels(table.labels), square(table.inputs.shape[1])
    if x.ndim != 2 or shape is None or labels is None or (labels.min(), labels.max()) != (1, 10):
        return table
    upright = table.inputs.reshape(-1, *shape).transpose(0, 2, 1)
    return Table.of(upright, labels, source, {10: "0"}, (*table.notes, UPRIGHT, TEN_IS_ZERO))


def read_variables(path: Path) -> dict[str, Variable]:
    """All variables of a file by name, arrays in native byte order and of the class MATLAB showed.

    Raises DataError naming the file and its fault.
    """
    with open_data(path, "MAT") as stream:
        if is_hdf5(stream.read(512 + len(HDF5))):
            raise DataError(f"{path}: is a .mat file of version 7.3 (HDF5), which is not read here; {SAVE_ANEW}.")
        stream.seek(0)
        Budget(str(path)).take(size := size_of(stream))
        data = memoryview(stream.read(size))
        order = ORDERS.get(bytes(data[HEADER - 4 : HEADER]))
        if order is None:
            raise DataError(f"{path}: has no header of a .mat file of version 5; {SAVE_ANEW}.")
        return dict(_variables(data[HEADER:], order, Budget(str(path))))


def _variable(variables: Mapping[str, Variable], name: str, path: Path) -> np.ndarray:
    if name not in variables:
        raise DataError(f"{path}: holds {listed(variables)}; X (m, features) and y (m, 1) are needed.")
    array, kind = variables[name]
    if array is None:
        raise DataError(f"{path}: {name} is {kind}; a plain array of numbers is needed.")
    return array


def _variables(data: memoryview, order: str, budget: Budget) -> Iterator[tuple[str, Variable]]:
    for kind, body in _elements(data, order):
        if kind == COMPRESSED:
            kind, body = _inflated(body, order, Budget(budget.source))
        if kind == MATRIX:
            yield _matrix(body, order, budget)


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


def _inflated(body: memoryview, order: str, budget: Budget) -> tuple[int, memoryview]:
    """The one element inside a compressed one."""
    unzip = zlib.decompressobj()
    tag = unzip.decompress(body, 8)
    kind, size = struct.unpack(f"{order}II", tag)
    if size > DEFLATE_RATIO * len(body):
        raise ValueError(f"a compressed element claims {size} bytes, more than {len(body)} can hold")
    budget.take(size)
    data = unzip.decompress(unzip.unconsumed_tail, size + 8)
    if len(data) < size or not unzip.eof:
        raise ValueError(f"a compressed element of {size} bytes does not end where it should")
    return kind, memoryview(data)[:size]


def _matrix(body: memoryview, order: str, budget: Budget) -> tuple[str, Variable]:
    parts = _elements(body, order)
    try:
        (_, flags), (_, axes), (_, name) = next(parts), next(parts), next(parts)
    except StopIteration:
        raise ValueError("a variable lacks its flags, shape or name") from None
    flag = struct.unpack_from(f"{order}I", flags)[0]
    label = bytes(name).decode("ascii", "replace")
    if not label.isidentifier():
        raise ValueError(f"a variable is called {label!r}, which is no name")
    if flag & COMPLEX or flag & 0xFF not in CLASSES:
        return label, Variable(None, "complex" if flag & COMPLEX else OTHER_CLASSES.get(flag & 0xFF, "no array"))
    shape = tuple(np.frombuffer(axes, f"{order}i4").tolist())
    kind, values = next(parts, (0, memoryview(b"")))
    stored, dtype = _array(values, TYPES.get(kind), shape, order), np.dtype(CLASSES[flag & 0xFF])
    budget.take_array(shape, dtype)
    with np.errstate(invalid="ignore"):  # NaN among integers, which only a damaged file has
        return label, Variable(stored.astype(dtype), "numbers")


def _array(values: memoryview, kind: str | None, shape: tuple[int, ...], order: str) -> np.ndarray:
    """Values as they are stored, which may be in fewer bytes than their class has, by columns."""
    if kind is None or not 2 <= len(shape) <= MAX_AXES or min(shape) < 0:
        raise ValueError(f"a variable has shape {shape} and values of type {kind}")
    dtype = np.dtype(order + kind)
    if math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"a variable of shape {shape} cannot be made of {len(values)} bytes of {dtype}")
    return np.frombuffer(values, dtype).reshape(shape, order="F")
