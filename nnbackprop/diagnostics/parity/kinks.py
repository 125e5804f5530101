"""Where two libraries part in float32: a rectifier whose input is above 0 on one of them and not on the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends import select
from nnbackprop.nn.layers import Activation, Layer
from nnbackprop.nn.sequential import Sequential

from .results import Kink


def find_kinks(
    network: Sequential, step: int, first: Sequence[np.ndarray], other: Sequence[np.ndarray]
) -> list[Kink]:
    """One kink a layer, where outputs (n, ...) of the layer before it, its pre-activations, differ in sign."""
    found = []
    for i in range(1, len(network.layers)):
        if not has_kink(network.layers[i]):
            continue
        z, w = (outputs[i - 1].reshape(len(outputs[i - 1]), -1) for outputs in (first, other))
        places = np.argwhere((z > 0) != (w > 0))
        if len(places):
            sample, unit = places[0].tolist()
            values = float(z[sample, unit]), float(w[sample, unit])
            found.append(Kink(step, network.names[i], unit, sample, *values, len(places)))
    return found


def has_kink(layer: Layer) -> bool:
    """Whether a layer is an activation whose slope jumps at 0, as those of ReLU and its like do."""
    if not isinstance(layer, Activation):
        return False
    xp = select("numpy").xp
    x = np.array([[-1e-9], [1e-9]])
    below, above = layer.vjp(xp, layer.forward(xp, {}, x, None)[1], np.ones_like(x))[:, 0]
    return bool(abs(above - below) > 1e-6)
