"""MATLAB's .mat with X and y, as the exercises of Andrew Ng's course hand out (ex4data1.mat).

MATLAB stores and unrolls arrays by columns and counts from 1. So an image unrolled there, `img(:)'`, lies
on its side for anyone who reads rows, and digit 0 is labelled 10, there being no index 0. Nothing in the
file says so; it is detected: a square number of features (of 8 x 8 or more) together with labels that run
from 1 to 10 is taken for such a set. Its images are then transposed to upright, and class 10 is called "0".
Any other set is left as it is: square images labelled 0..9 were most likely written by SciPy, from rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnbackprop._safe_open import open_file
from nnbackprop.data.labels import whole
from nnbackprop.data.limits import listed
from nnbackprop.data.table import Table, square
from nnbackprop.errors import DataError

from . import mat5

HDF5 = b"\x89HDF\r\n\x1a\n"
UPRIGHT = "images were stored column by column, as MATLAB does, and are transposed to upright"
TEN_IS_ZERO = 'labels run from 1 to 10, as MATLAB counts; they are 0..9 here, and 10 is called "0"'


def read(path: Path) -> Table:
    """The table of a .mat file of version 5 with X (m, features) and y (m, 1) or (m,).

    Raises DataError for version 7.3, which is HDF5, with the way to convert it; for a file without X and
    y, or where these are no plain arrays of numbers.
    """
    if is_hdf5(path):
        raise DataError(f"{path}: is a .mat file of version 7.3 (HDF5), which is not read here; {mat5.SAVE_ANEW}.")
    variables = mat5.read(path)
    return table_of(_array(variables, "X", path), _array(variables, "y", path), str(path))


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5, at its start or behind the 512 bytes that MATLAB puts before it."""
    try:
        with open_file(path) as stream:
            head = stream.read(512 + len(HDF5))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}.") from error
    return HDF5 in (head[: len(HDF5)], head[512:])


def table_of(x: np.ndarray, y: np.ndarray, source: str) -> Table:
    """The table of X and y as MATLAB has them; see the module for what is detected."""
    table = Table.of(x, y, source)
    labels, shape = whole(table.labels), square(table.inputs.shape[1])
    if x.ndim != 2 or shape is None or labels is None or (labels.min(), labels.max()) != (1, 10):
        return table
    upright = table.inputs.reshape(-1, *shape).transpose(0, 2, 1)
    return Table.of(upright, labels, source, {10: "0"}, (*table.notes, UPRIGHT, TEN_IS_ZERO))


def _array(variables: Mapping[str, mat5.Variable], name: str, path: Path) -> np.ndarray:
    if name not in variables:
        raise DataError(f"{path}: holds {listed(variables)}; X (m, features) and y (m, 1) are needed.")
    array, kind = variables[name]
    if array is None:
        raise DataError(f"{path}: {name} is {kind}; a plain array of numbers is needed.")
    return array
