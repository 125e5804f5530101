"""What is known of a run before its first step: its layers' sizes, its chunk length, that it can begin."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnbackprop.errors import DataError, ShapeError, UsageError
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.sequential import PlannedLayer, Sequential
from nnbackprop.training.callbacks.base import LayerRow

LOOK_SECONDS = 0.1  # a look about ten times a second
LONGEST_CHUNK = 1024


def layer_rows(plan: Sequence[PlannedLayer], itemsize: int) -> tuple[LayerRow, ...]:
    """The layer table, numbers of `itemsize` bytes; ShapeError if there is nothing to train."""
    if not any(built.params for built in plan):
        raise ShapeError("The network has no parameters to train: add a Dense layer.")
    rows = []
    for i, built in enumerate(plan):
        size = sum(p.size for p in built.params.values())
        flops = sum(2 * p.size for p in built.params.values() if p.ndim == 2)  # of a product with a matrix
        flops += math.prod(built.out_shape)  # the bias, or one operation an element
        rows.append(LayerRow(i + 1, built.name, built.out_shape, size, size * itemsize, flops))
    return tuple(rows)


def chunk_length(rows: Sequence[LayerRow], batch: int, device: str) -> int:
    """Steps between two looks: the power of two that fits in a tenth of a second by estimate.

    From the arithmetic (forward, and twice that backward), a nominal speed and a cost a layer, not from the
    clock: so what is recorded at chunk ends is the same in every run.
    """
    on_gpu = device.startswith("cuda")
    speed, overhead = (2e13, 2e-5) if on_gpu else (1e11, 1e-5)
    seconds = 3 * batch * sum(row.flops for row in rows) / speed + overhead * len(rows)
    return 1 << max(0, min(LONGEST_CHUNK, int(LOOK_SECONDS / seconds)).bit_length() - 1)


def check_outputs(layers: Sequence[LayerRow], classes: Sequence[str]) -> None:
    """ShapeError unless the network gives one output a class, or a single one for two classes."""
    last, known = layers[-1], len(classes)
    if known < 2:
        raise DataError(
            f"All samples are of one class ({classes[0]}): there is nothing to tell apart. Add another."
        )
    if last.out_shape != (known,) and not (last.out_shape == (1,) and known == 2):
        raise ShapeError(
            f"The last layer, {last.name}, gives outputs of shape {last.out_shape} and the data has {known} "
            f"classes ({', '.join(classes[:12])}): it must give ({known},), one output a class"
            + (", or (1,) for two classes." if known == 2 else ".")
        )


def check_finite(network: Sequential, params: Params, dtype: str) -> None:
    """UsageError, naming the layer, if one begins with a number that is not finite."""
    for name, layer, arrays in network.named_layers(params):
        for tensor, values in arrays.items():
            if wrong := int(np.count_nonzero(~np.isfinite(values))):
                raise UsageError(
                    f"{tensor} of layer {name} begins with {wrong} of {values.size} numbers that are not "
                    f"finite in {dtype}, as {layer} drew them: begin with smaller ones, such as --init he-normal.",
                    finding="initial-loss",
                )
