"""The columns of a table as inputs of an ONNX graph: `Preprocessing`, traced."""

from __future__ import annotations

import numpy as np

from backends import Array
from nnbackprop.data.column_types import as_text
from nnbackprop.data.preprocessing import Preprocessing
from nnbackprop.data.table import Table

from .onnx_graph import OnnxGraph

MISSING = ""
"""What stands for missing text, as ONNX has no null; a table never holds it. A missing number is NaN."""


def takes_columns(preprocessing: Preprocessing | None) -> bool:
    """Whether a network's file has an input for each column: that of a table whose columns are no pixels."""
    return preprocessing is not None and preprocessing.image_shape is None


def features(graph: OnnxGraph, preprocessing: Preprocessing) -> Array:
    """Features (n, features) float32 of an input (n,) for each column, as `Preprocessing.transform` makes them."""
    parts: list[Array] = []
    for name in preprocessing.columns:
        if name in preprocessing.categories:
            known = [MISSING if c is None else c for c in preprocessing.categories[name]]
            parts.append(graph.one_hot(graph.input(name, "utf8", ()), known, "float32"))
        else:
            parts += _numbers(graph, preprocessing, name)
    return graph.xp.concat(parts, axis=1)


def _numbers(graph: OnnxGraph, preprocessing: Preprocessing, name: str) -> list[Array]:
    """The feature of a column of numbers, and its indicator where it has one, each (n, 1) float32.

    In float64 until the offset is taken off, since float32 would lose the digits that tell values apart.
    """
    xp = graph.xp
    x = xp.reshape(graph.input(name, "float64", ()), (-1, 1))
    missing = xp.isnan(x)
    if name in preprocessing.fill:
        x = xp.where(missing, xp.asarray(preprocessing.fill[name], dtype=xp.float64), x)
    if offset := preprocessing.offsets.get(name):
        x = x - offset
    indicator = [xp.astype(missing, xp.float32)] if name in preprocessing.indicators else []
    return [xp.astype(x, xp.float32), *indicator]


def column_arrays(preprocessing: Preprocessing, table: Table) -> dict[str, np.ndarray]:
    """The columns of a table as such a file takes them, (n,) each, by name."""
    import polars

    frame = preprocessing.select(table)
    arrays: dict[str, np.ndarray] = {}
    for name, column in zip(preprocessing.columns, frame.get_columns(), strict=True):
        if name in preprocessing.categories:
            text = as_text(column, preprocessing.categories[name])
            arrays[name] = text.fill_null(MISSING).to_numpy().astype(object)
        else:
            arrays[name] = column.cast(polars.Float64).fill_null(np.nan).to_numpy()
    return arrays
