"""A network's pass over one batch, layer by layer: for whoever wants to see inside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backends import Array
from nnbackprop.nn.layers.base import Cache, Layer, LayerParams

if TYPE_CHECKING:
    from .sequential import Sequential


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One layer's pass: its dotted name, its path in the tree of the parameters, and its arrays.

    A `Residual` has a trace of its own after those of its layers: the sum, without parameters.
    """

    name: str
    path: tuple[int, ...]
    layer: Layer
    params: LayerParams
    x: Array
    y: Array
    cache: Cache


@dataclass(frozen=True, eq=False)
class Trace:
    """A network's layers in the order they were computed in, and its output y."""

    network: Sequential
    layers: tuple[LayerTrace, ...]
    y: Array

    def backward(self, xp: Any, dy: Array) -> Iterator[tuple[LayerTrace, Array, Array, LayerParams]]:
        """(trace, dy, dx, gradients) of each layer as they are computed, from the last to the first."""
        return self.network.backward_trace(xp, iter(self.layers[::-1]), dy)
