"""A network's pass over one batch, layer by layer: for whoever wants to see inside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backends import Array
from nnbackprop._html import html_table
from nnbackprop.nn.initializers import InitRng
from nnbackprop.nn.layers.base import Cache, Caches, Layer, LayerParams, Params, Shape
from nnbackprop.nn.rng import RngKey

if TYPE_CHECKING:
    from .sequential import Sequential


@dataclass(frozen=True)
class LayerSummary:
    """A layer in its place: its dotted name and path, a sample's shapes, and arrays of its parameters' shapes."""

    name: str
    path: tuple[int, ...]
    layer: Any
    params: LayerParams
    in_shape: Shape
    out_shape: Shape

    @property
    def draws(self) -> bool:
        """Whether the layer draws random numbers in training."""
        return hasattr(self.layer, "draw")


class NetworkSummary(tuple[LayerSummary, ...]):
    """A network's layers for samples of one shape; a table where it is printed, and in a notebook."""

    __slots__ = ()

    def _rows(self) -> list[tuple[str, str, str]]:
        """Layer, output shape and number of parameters of each, then the total, under their heads."""
        counts = [sum(math.prod(a.shape) for a in layer.params.values()) for layer in self]
        rows = [
            (layer.name, " x ".join(map(str, layer.out_shape)), f"{n:,}" if n else "")
            for layer, n in zip(self, counts, strict=True)
        ]
        return [("layer", "output shape", "parameters"), *rows, ("total", "", f"{sum(counts):,}")]

    def __str__(self) -> str:
        rows = self._rows()
        name, shape, count = (max(map(len, column)) for column in zip(*rows, strict=True))
        return "\n".join(f"{a:{name}}  {b:{shape}}  {c:>{count}}".rstrip() for a, b, c in rows)

    def _repr_html_(self) -> str:
        heads, *rows = self._rows()
        return html_table(heads, rows)


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One layer's pass: its dotted name, its path in the tree of the parameters, and its arrays.

    A `Residual` has a trace of its own after those of its layers, without parameters: the sum.
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

    layers: tuple[LayerTrace, ...]
    y: Array
    network: Sequential  # of recorders
    params: Params
    caches: Caches
    records: list[Any]  # which the recorders fill

    def backward(self, xp: Any, dy: Array) -> list[tuple[LayerTrace, Array, Array, LayerParams]]:
        """(trace, dy, dx, gradients) of each layer as they are computed, from the last to the first."""
        self.records.clear()
        self.network.backward(xp, self.params, self.caches, dy, need_dx=True)
        return [(trace, *arrays) for trace, arrays in self.records]


@dataclass(frozen=True, eq=False)
class LayerRecorder:
    """Stands in the place of a layer, `wrapped`, and records what goes through it."""

    name: str
    path: tuple[int, ...]
    wrapped: Layer
    records: list[Any]

    @property
    def children(self) -> tuple[Layer, ...] | None:
        """Those of a wrapped network."""
        return getattr(self.wrapped, "children", None)

    @property
    def full_precision(self) -> bool:
        """Whether mixed precision keeps the wrapped layer's parameters."""
        return getattr(self.wrapped, "full_precision", False)

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[Params, Shape]:
        """Records a `LayerSummary`."""
        params, out_shape = self.wrapped.build(rng, in_shape, dtype)
        self.records.append(LayerSummary(self.name, self.path, self.wrapped, _own(params), in_shape, out_shape))
        return params, out_shape

    def forward(self, xp: Any, params: Params, x: Array, key: RngKey | None) -> tuple[Array, LayerTrace]:
        """Records a `LayerTrace`, which is the cache."""
        y, cache = self.wrapped.forward(xp, params, x, key)
        trace = LayerTrace(self.name, self.path, self.wrapped, _own(params), x, y, cache)
        self.records.append(trace)
        return y, trace

    def backward(
        self, xp: Any, params: Params, cache: LayerTrace, dy: Array, need_dx: bool
    ) -> tuple[Array | None, Params]:
        """Records the trace and (dy, dx, gradients)."""
        dx, grads = self.wrapped.backward(xp, params, cache.cache, dy, True)
        self.records.append((cache, (dy, dx, _own(grads))))
        return dx, grads


def _own(params: Params) -> LayerParams:
    """A layer's own parameters: a container has none."""
    return params if isinstance(params, dict) else {}
