"""Weights for libraries whose images are (channels, rows, columns): the rows of W in their order.

Ours go through a kernel, or an image made flat, row by row with the channels last; theirs channel by channel.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.workloads import Problem
from nnbackprop.nn.layers import Conv2D, Dense, Flatten
from nnbackprop.nn.layers.base import LayerParams, Params
from nnbackprop.nn.layers.windows import pair


def from_ours(problem: Problem, params: Params) -> list[LayerParams]:
    """Parameters of each layer that has some, with the rows of each W in their order."""
    return [
        {**layer, "W": layer["W"][order]} if order is not None else layer
        for layer, order in zip(params, _orders(problem), strict=True)
    ]


def to_ours(problem: Problem, params: Params) -> list[LayerParams]:
    """The opposite."""
    return [
        {**layer, "W": layer["W"][np.argsort(order)]} if order is not None else layer
        for layer, order in zip(params, _orders(problem), strict=True)
    ]


def _orders(problem: Problem) -> Iterator[np.ndarray | None]:
    """For each layer with parameters, which of our rows of W each of theirs is; None where it is the same."""
    image: tuple[int, ...] | None = None
    for summary in problem.summary:
        layer = summary.layer
        if isinstance(layer, Flatten):
            image = summary.in_shape
        elif isinstance(layer, Conv2D):
            yield _channels_first((*pair(layer.kernel_size, "kernel_size"), summary.in_shape[-1]))
        elif summary.params:
            yield _channels_first(image) if image and isinstance(layer, Dense) else None
            image = None


def _channels_first(shape: tuple[int, ...]) -> np.ndarray:
    return np.moveaxis(np.arange(np.prod(shape)).reshape(shape), -1, 0).reshape(-1)
