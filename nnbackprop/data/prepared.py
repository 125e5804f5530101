"""Data sets and arrays given to a network that was trained on a table: whether they were prepared as that was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nnbackprop.errors import DataError

from .dataset import Dataset
from .limits import format_names
from .mapped import MappedArray
from .preprocessing import Preprocessing

PROBED_ROWS = 10_000  # of an array, which tell whether it is raw


def as_trained(dataset: Dataset, trained: Preprocessing | None) -> Dataset:
    """`dataset` as `trained` prepares its rows: offsets of its own are replaced, inputs then float64.

    A data set of arrays is one of prepared inputs, and one of a table that a network of arrays takes gets its raw
    numbers back.

    Raises:
        DataError: the columns are others; categories, indicators or replacements of missing values were fitted to
            other data, which cannot be undone; a column was rounded to float32 that lies far from 0; or arrays are
            raw.
    """
    own = dataset.preprocessing
    if own is not None and own == trained:
        return dataset
    if own is None:
        check_prepared(dataset.inputs, trained, dataset.source)
        return dataset
    offsets = own.feature_offsets
    if trained is not None:
        _check_features(dataset.source, own, trained)
        if dataset.sample_shape != (len(trained.feature_offsets),):
            return dataset  # refused by its shape
        _check_digits(dataset, own, trained)
        offsets = offsets - trained.feature_offsets
    if not offsets.any():
        return dataset
    prepared = replace(own, offsets={} if trained is None else trained.offsets)
    return replace(dataset, inputs=dataset.inputs.astype(np.float64) + offsets, preprocessing=prepared)


def check_prepared(inputs: Any, trained: Preprocessing | None, source: str = "the input") -> None:
    """DataError for arrays (n, features) of which a column lies nearer to its offset than to 0: they are raw."""
    if trained is None or not trained.offsets or not isinstance(inputs, np.ndarray | MappedArray | list | tuple):
        return
    try:
        x = np.asarray(inputs[:PROBED_ROWS])
    except (TypeError, ValueError):
        return  # refused where it is read
    offsets = trained.feature_offsets
    if x.dtype.kind not in "iuf" or x.ndim != 2 or x.shape[1] != len(offsets) or not len(x):
        return
    for j in np.flatnonzero(offsets):
        middle = float(np.median(x[:, j]))
        if middle / offsets[j] > 0.5:
            raise DataError(
                f"{source}: column {trained.feature_names[j]!r} has values about {middle:.10g}, and arrays must "
                f"be prepared as data.train.inputs are, which had {offsets[j]:.10g} taken off: pass the data "
                "frame, whose columns are found by name."
            )


def _check_features(source: str, own: Preprocessing, trained: Preprocessing) -> None:
    """DataError unless the features are those that were trained on, in order, and fitted to the same data."""
    same_columns = own.columns == trained.columns or not (own.has_names and trained.has_names)
    if not same_columns or len(own.columns) != len(trained.columns):
        raise DataError(
            f"{source} has the features {format_names(own.feature_names)} and the network was trained on "
            f"{format_names(trained.feature_names)}: have the same columns in the same order, as in "
            "frame[list(names)]."
        )
    for mine, name in zip(own.columns, trained.columns, strict=True):
        if own.categories.get(mine) != trained.categories.get(name):
            what = "categories"
        elif (mine in own.indicators) != (name in trained.indicators):
            what = "indicators of missing values"
        elif mine in own.fill and own.fill[mine] != trained.fill.get(name):
            what = "replacements of missing values"
        else:
            continue
        raise DataError(
            f"{source}: column {mine!r} was prepared by itself, and its {what} differ from those of training. "
            "Pass the data frame, with its targets, to evaluate; for fit, load both parts as one frame by nb.load."
        )


def _check_digits(dataset: Dataset, own: Preprocessing, trained: Preprocessing) -> None:
    """DataError for a column whose large values were rounded to float32, as it has no offset of its own."""
    rounded = (trained.feature_offsets != 0) & (own.feature_offsets == 0)
    if rounded.any() and dataset.inputs.dtype == np.float32:
        name = trained.feature_names[int(np.argmax(rounded))]
        raise DataError(
            f"{dataset.source}: column {name!r} was rounded to float32, as its values are all the same or far "
            f"apart, and the network was trained on small differences from {trained.offsets[name]:.10g}. Pass the "
            "data frame, with its targets, to evaluate, or compare predict(frame) with them."
        )
