"""NumPy's .npz and .npy, read without pickle: an array is data here, never code.

Source of the format: NEP 1, https://numpy.org/neps/nep-0001-npy-format.html
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nnbackprop._files import open_data, size_of
from nnbackprop.data.limits import Budget, listed
from nnbackprop.data.table import Table, Tables
from nnbackprop.errors import DataError

from .idx import read_up_to

LONGEST_HEADER = 10_000  # NumPy's own limit, beyond which Python's parser may be brought down
HEADERS = {  # by version: bytes of the header's length, and what parses both
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
}
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # savez's; zipfile inflates others without bound


def read_npz(path: Path) -> Tables:
    """The tables of a .npz file: x_train, y_train and, where present, x_test, y_test; or else X, y.

    Names are matched without regard to case. Raises DataError naming the file and the arrays it has.
    """
    with open_data(path, "npz") as stream, zipfile.ZipFile(stream) as archive:
        members = {name.removesuffix(".npy").lower(): name for name in archive.namelist()}
        budget = Budget(str(path))
        return Tables(*(_table(archive, budget, members, *pair) for pair in _pairs(members, path)))


def read_pair(images: Path, labels: Path) -> Table:
    """The table of two .npy files."""
    arrays = []
    for path in (images, labels):
        with open_data(path, "npy") as stream:
            arrays.append(_read_npy(stream, size_of(stream), Budget(str(path)), str(path)))
    return Table.of(arrays[0], arrays[1], str(images))


def _pairs(members: dict[str, str], path: Path) -> list[tuple[str, str]]:
    for pairs in ([("x_train", "y_train"), ("x_test", "y_test")], [("x", "y")]):
        if set(pairs[0]) <= members.keys():
            return [pair for pair in pairs if set(pair) <= members.keys()]
    raise DataError(
        f"{path}: holds {listed(members)}; x_train and y_train (and x_test, y_test), "
        "or X and y, are needed. Save them so with numpy.savez."
    )


def _table(archive: zipfile.ZipFile, budget: Budget, members: dict[str, str], x: str, y: str) -> Table:
    path, arrays = budget.source, []
    for name in (members[x], members[y]):
        member = archive.getinfo(name)
        if member.compress_type not in PACKINGS:
            raise DataError(f"{path}, {name}: is not compressed as numpy.savez does; save it anew with that.")
        with archive.open(member) as stream:
            arrays.append(_read_npy(stream, member.file_size, budget, f"{path}, {name.removesuffix('.npy')}"))
    return Table.of(arrays[0], arrays[1], f"{path}, {x}")


def _read_npy(stream: Any, there: int, budget: Budget, source: str) -> np.ndarray:
    """One array; its header's claims are held against the bytes that are `there` before it is believed."""
    shape, fortran, dtype = _header(stream, source)
    if dtype.hasobject:
        raise DataError(
            f"{source}: holds Python objects, which only pickle reads and which can run code. "
            "Save it as an array of numbers."
        )
    size = math.prod(shape) * dtype.itemsize
    body = bytearray()
    if min(shape, default=1) >= 0 and size <= there:
        budget.take_array(shape, dtype)
        body = read_up_to(stream, size + 1)
    if len(body) != size or min(shape, default=1) < 0:
        raise DataError(
            f"{source}: its header promises {shape} values of {dtype}, {size} bytes, but "
            f"{'fewer' if len(body) < size else 'more'} follow. It is damaged; copy or save it again."
        )
    return np.frombuffer(body, dtype).reshape(shape, order="F" if fortran else "C")


def _header(stream: BinaryIO, source: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type; NumPy parses the header, but would read all of it before it looks at its length."""
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise DataError(
            f"{source}: is .npy of version {version}; 1.0 and 2.0, which hold arrays of numbers, are read."
        )
    width, parse = HEADERS[version]
    claim = stream.read(width)
    length = int.from_bytes(claim, "little")
    if length > LONGEST_HEADER:
        raise DataError(
            f"{source}: its header is longer than {LONGEST_HEADER} bytes; that of an array of numbers is shorter."
        )
    return parse(io.BytesIO(claim + stream.read(length)))
