"""A forward and a backward pass layer by layer, until `Sequential.trace` is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LayerTrace:
    """One layer of a pass."""

    name: str
    layer: Any
    params: Any
    path: tuple[int, ...]
    x: Any
    y: Any
    cache: Any


@dataclass(frozen=True)
class Trace:
    """A forward pass."""

    layers: tuple[LayerTrace, ...]
    y: Any

    def backward(self, xp: Any, dy: Any) -> Iterator[tuple[LayerTrace, Any, Any, Any]]:
        """(layer, dy, dx, grads) from the last layer to the first."""
        for t in reversed(self.layers):
            dx, grads = t.layer.backward(xp, t.params, t.cache, dy, True)
            yield t, dy, dx, grads
            dy = dx


def trace(network: Any, xp: Any, params: Any, x: Any, key: Any = None) -> Trace:
    """Run the network forward."""
    layers, y = [], x
    for i, (name, layer, p) in enumerate(zip(network.names, network.layers, params, strict=True)):
        x = y
        y, cache = layer.forward(xp, p, x, key and key.at(i))
        layers.append(LayerTrace(name, layer, p, (i,), x, y, cache))
    return Trace(tuple(layers), y)
