"""MAT-files of version 5, as far as plain arrays of numbers go; a damaged file can do no more than be refused.

SciPy's reader is compiled code that a few changed bytes bring down, the whole process with it.
Source of the format: MathWorks, "MAT-File Format", chapter 1, "Level 5 MAT-Files".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnbackprop._safe_open import open_file, size_of
from nnbackprop.data.limits import DEFLATE_RATIO, Budget
from nnbackprop.errors import DataError, NnbackpropError

HEADER = 128  # bytes: text, version, and "MI" as the writer's byte order leaves it
ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
MATRIX, COMPRESSED = 14, 15
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
OTHER_CLASSES = {1: "a cell array", 2: "a struct", 3: "an object", 4: "text", 5: "a sparse matrix"}
COMPLEX = 0x800
SAVE_ANEW = "load it in MATLAB or Octave and save it as version 5: save('new.mat', 'X', 'y', '-v7')"
MOST_AXES = 32


class Variable(NamedTuple):
    """A variable's array, or None and what it is instead."""

    array: np.ndarray | None
    kind: str


def read(path: Path) -> dict[str, Variable]:
    """All variables of a file by name, arrays in native byte order and of the class MATLAB showed.

    Raises DataError naming the file and what is wrong with it.
    """
    try:
        with open_file(path) as stream:
            Budget(str(path)).take(size := size_of(stream))
            data = memoryview(stream.read(size))
        order = ORDERS.get(bytes(data[HEADER - 4 : HEADER]))
        if order is None:
            raise ValueError(f"it has no header of version 5; {SAVE_ANEW}")
        return dict(_variables(data[HEADER:], order, Budget(str(path))))
    except NnbackpropError:
        raise
    except (OSError, ValueError, struct.error, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as a .mat file: {error}.") from error


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
    if kind is None or not 2 <= len(shape) <= MOST_AXES or min(shape) < 0:
        raise ValueError(f"a variable has shape {shape} and values of type {kind}")
    dtype = np.dtype(order + kind)
    if math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"a variable of shape {shape} cannot be made of {len(values)} bytes of {dtype}")
    return np.frombuffer(values, dtype).reshape(shape, order="F")
