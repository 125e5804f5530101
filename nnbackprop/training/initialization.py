"""Before the first step: a network's layer table and its initial parameters for a data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from backends import leaves
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import ShapeError
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.trace import LayerSummary

from .checks import check_initial, check_outputs
from .events import LayerRow

if TYPE_CHECKING:
    from .trainer import Trainer


def initial_params(trainer: Trainer, train: Dataset) -> tuple[tuple[LayerRow, ...], Params]:
    """The layer table, and host parameters for data such as `train`; an error where they do not go together."""
    network, dtype = trainer.network, trainer.params_dtype
    layers = layer_rows(network.summary(train.sample_shape, dtype), np.dtype(dtype).itemsize)
    check_outputs(layers, train, trainer.loss)
    params = network.init(train.sample_shape, trainer.seed, dtype)
    check_initial(network, params, dtype)
    trainer.scaling.check(train, dtype)
    return layers, params


def layer_rows(layers: Sequence[LayerSummary], itemsize: int) -> tuple[LayerRow, ...]:
    """The layer table, numbers of `itemsize` bytes; ShapeError if there is nothing to train."""
    if not any(leaves(layer.params) for layer in layers):
        raise ShapeError("The network has no parameters to train: add a Dense layer.")
    rows = []
    for i, layer in enumerate(layers):
        arrays = leaves(layer.params)
        size = sum(a.size for a in arrays)
        places = math.prod(layer.out_shape[:-1])  # of an image; 1 of a vector
        flops = 2 * places * sum(a.size for a in arrays if a.ndim > 1)  # a product of each place with each matrix
        flops += math.prod(layer.out_shape)  # the bias, or one operation an element
        rows.append(LayerRow(i + 1, layer.name, layer.out_shape, size, size * itemsize, flops))
    return tuple(rows)
