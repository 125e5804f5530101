"""Layers in order: forward hands y from each to the next, backward hands dy from each to the one before."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property, reduce
from typing import Any

from backends import Array, leaves
from nnbackprop._html import html_table
from nnbackprop.errors import ShapeError, UsageError
from nnbackprop.nn.layers.base import Caches, Layer, Params, Shape, map_layers
from nnbackprop.nn.layers.dropout import Dropout

from .initializers import Empty, Initializer, InitRng
from .rng import RngKey
from .trace import LayerRecorder, LayerSummary, NetworkSummary, Trace


@dataclass(frozen=True, init=False)
class Sequential:
    """Layers applied one after the other: y = f_L(... f_2(f_1(x))). It is a layer itself, and may be nested.

    Holds hyperparameters only. Parameters come from `init` as host arrays and travel as arguments:

    >>> network = nb.Sequential(nb.Dense(100), nb.Sigmoid(), nb.Dense(10), nb.Sigmoid())
    >>> params = network.init((784,), seed=0, dtype="float32")
    >>> xp, x = nb.select("numpy").xp, np.zeros((5, 784), "float32")
    >>> y, caches = network.forward(xp, params, x)
    >>> y.shape
    (5, 10)

    Raises:
        UsageError: no layer, or something that is not a layer.
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        name = type(self).__name__
        if not layers:
            raise UsageError(f"{name} needs at least one layer and got none: {name}(Dense(10)) is the least.")
        for i, layer in enumerate(layers):
            _check_layer(name, i, layer)
        object.__setattr__(self, "layers", tuple(layers))

    @property
    def children(self) -> tuple[Layer, ...]:
        """The layers; each has its branch, in this order, in the tree of the parameters."""
        return self.layers

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A name for each layer: its kind and its number among its kind, such as dense1, relu1, dense2.

        The kind of a layer that wraps another, such as `LayerRecorder`, is that of the other.
        """
        kinds = [type(getattr(layer, "wrapped", layer)).__name__.lower() for layer in self.layers]
        return tuple(f"{kind}{kinds[: i + 1].count(kind)}" for i, kind in enumerate(kinds))

    def named_layers(self, *trees: Params) -> Iterator[tuple[Any, ...]]:
        """(name, layer, *its branches of `trees`) of every layer without children; nested names are dotted."""
        for name, layer, *branches in zip(self.names, self.layers, *trees, strict=True):
            if isinstance(layer, Sequential):
                yield from ((f"{name}.{inner}", *rest) for inner, *rest in layer.named_layers(*branches))
            else:
                yield name, layer, *branches

    @cached_property
    def has_buffers(self) -> bool:
        """Whether a layer has parameters that are not trained, such as running statistics."""
        return any(getattr(layer, "buffers", ()) for _, layer in self.named_layers())

    def init(self, in_shape: Shape, seed: int = 0, dtype: str = "float32") -> Params:
        """First parameters for samples of `in_shape`, host arrays of `dtype`, the same on every library.

        ShapeError names the layer that does not fit.
        """
        return self.build(InitRng(seed), in_shape, dtype)[0]

    def empty_params(self, in_shape: Shape, dtype: str = "float32") -> Params:
        """Arrays of the shapes that `init` gives, without values and in no memory: what saved ones must fit."""
        empty = self._replaced(lambda name, path, layer: _without_values(layer))
        return empty.build(InitRng(shapes_only=True), in_shape, dtype)[0]

    def summary(self, in_shape: Shape, dtype: str = "float32") -> NetworkSummary:
        """Every layer's name, parameters and output shape, without drawing weights; ShapeError as `init`."""
        records: list[LayerSummary] = []
        recorded = self._replaced(
            lambda name, path, layer: LayerRecorder(name, path, _without_values(layer), records)
        )
        recorded.build(InitRng(shapes_only=True), in_shape, dtype)
        return NetworkSummary(records)

    def _repr_html_(self) -> str:
        """Names and hyperparameters of the layers; shapes need those of a sample: `summary(sample_shape)`."""
        rows = [(name, repr(layer)) for name, layer in self.named_layers()]
        return html_table(("layer", "definition"), rows, type(self).__name__)

    def precompute(self, xp: Any, x: Array, key: RngKey) -> tuple[Array, dict[str, Array]]:
        """x for a forward pass, and what the layers draw for it, by path: its key's `precomputed_masks`."""
        return x, self._draw(xp, x.shape, x.dtype, key)

    def _draw(self, xp: Any, shape: Shape, dtype: Any, key: RngKey) -> dict[str, Array]:
        masks = {}
        for summary in self.summary(shape[1:]):
            if summary.draws:
                k = reduce(RngKey.child, summary.path, key)
                masks[k.path] = summary.layer.draw(xp, k, (shape[0], *summary.in_shape), dtype)
        return masks

    def trace(self, xp: Any, params: Params, x: Array, key: RngKey | None = None) -> Trace:
        """Forward as `forward`, keeping every layer's input, output and cache."""
        records: list[Any] = []
        network = self._replaced(lambda name, path, layer: LayerRecorder(name, path, layer, records))
        y, caches = network.forward(xp, params, x, key)
        return Trace(tuple(records), y, network, params, caches, records)

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[Params, Shape]:
        """First parameters of each layer, and the shape of the last one's output."""
        params, names = [], self.names
        for i, (name, layer) in enumerate(zip(names, self.layers, strict=True)):
            try:
                p, in_shape = layer.build(rng.child(i), in_shape, dtype)
            except ShapeError as error:
                before = f"after {names[i - 1]}" if i else "at the input"
                raise type(error)(f"Layer {i + 1}, {name}, {before}: {error}") from None
            params.append(p)
        return tuple(params), in_shape

    def forward(self, xp: Any, params: Params, x: Array, key: RngKey | None = None) -> tuple[Array, Caches]:
        """Outputs y (n, ...) for a batch x (n, ...), and the layers' caches.

        `key` gives the dropout masks of a training step; without one the network evaluates (derivation, D20).
        """
        caches = []
        for i, (layer, p) in enumerate(zip(self.layers, params, strict=True)):
            x, cache = layer.forward(xp, p, x, key and key.child(i))
            caches.append(cache)
        return x, tuple(caches)

    def backward(
        self, xp: Any, params: Params, caches: Caches, dy: Array, need_dx: bool = False
    ) -> tuple[Array | None, Params]:
        """Gradients of J with respect to the parameters, and to x where `need_dx`, from dy = dJ/dy.

        The chain rule from the last layer to the first: each turns its dJ/dy into the dJ/dx that is dJ/dy of
        the layer before it (derivation, D21). Nothing is computed below the first layer with parameters unless
        asked for.
        """
        stop = 0 if need_dx else first_trained(params)
        grads = list(params)  # of layers below `stop`: no arrays
        for i in range(len(params) - 1, stop - 1, -1):
            dy, grads[i] = self.layers[i].backward(xp, params[i], caches[i], dy, need_dx or i > stop)
        return (dy if need_dx else None), tuple(grads)

    def new_buffers(self, xp: Any, params: Params, caches: Caches) -> Params:
        """The buffers' values after a training step, from its caches: a tree for `replace_buffers`."""

        def of_layer(layer: Any, p: Params, cache: Any) -> Params:
            return layer.new_buffers(xp, p, cache) if getattr(layer, "buffers", ()) else {}

        return map_layers(of_layer, self, params, caches)

    @property
    def dropout_rates(self) -> tuple[float, ...]:
        """The rate of each Dropout layer, in their order."""
        return tuple(layer.rate for _, layer in self.named_layers() if isinstance(layer, Dropout))

    def with_dropout(self, rates: Sequence[float]) -> Sequential:
        """The same network with other rates of its Dropout layers; UsageError unless there is one for each."""
        now = self.dropout_rates
        if len(rates) != len(now):
            raise UsageError(
                f"{len(rates)} dropout rates were given, and the network has {len(now)} Dropout layers: give one "
                "for each, 0 for none."
            )
        left = iter(rates)
        return self._replaced(
            lambda name, path, layer: replace(layer, rate=next(left)) if isinstance(layer, Dropout) else layer
        )

    def _replaced(
        self,
        function: Callable[[str, tuple[int, ...], Layer], Layer],
        prefix: str = "",
        path: tuple[int, ...] = (),
    ) -> Sequential:
        """The same network with `function(name, path, layer)` in the place of every layer.

        A nested network has its layers replaced first, then itself if it is a subclass, such as `Residual`.
        """
        layers: list[Layer] = []
        for i, (name, layer) in enumerate(zip(self.names, self.layers, strict=True)):
            if isinstance(layer, Sequential):
                layer = layer._replaced(function, f"{prefix}{name}.", (*path, i))
            layers.append(layer if type(layer) is Sequential else function(prefix + name, (*path, i), layer))
        network = copy.copy(self)
        object.__setattr__(network, "layers", tuple(layers))
        return network


@dataclass(frozen=True, init=False)
class Residual(Sequential):
    """y = x + f(x), f being the layers in order; f keeps the shape of x.

    Backward: dx = dy + dy df/dx (He, Zhang, Ren and Sun, Deep residual learning for image recognition, CVPR 2016,
    eq. 1). Its layers' names are dotted in the network's: residual1.dense1.

    Raises:
        ShapeError: when built, layers whose output has another shape than their input.
    """

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[Params, Shape]:
        """First parameters of each layer; the same shape."""
        params, out_shape = super().build(rng, in_shape, dtype)
        if out_shape != in_shape:
            last = (
                f'Conv2D({in_shape[2]}, padding="same")' if len(in_shape) == 3 else f"Dense({(*in_shape, 1)[0]})"
            )
            raise ShapeError(
                f"Residual adds its input, of shape {in_shape}, to its layers' output, of shape {out_shape}: "
                f"the shapes must be equal. End it with a layer that gives the input's, such as {last}."
            )
        return params, out_shape

    def forward(self, xp: Any, params: Params, x: Array, key: RngKey | None = None) -> tuple[Array, Caches]:
        """y = x + f(x) (derivation, D58)."""
        y, caches = super().forward(xp, params, x, key)
        return x + y, caches

    def backward(
        self, xp: Any, params: Params, caches: Caches, dy: Array, need_dx: bool = False
    ) -> tuple[Array | None, Params]:
        """dx = dy + the dx of f (derivation, D59)."""
        dx, grads = super().backward(xp, params, caches, dy, need_dx)
        return (None if dx is None else dy + dx), grads


def first_trained(params: Params) -> int:
    """The index of the first layer with parameters; their number if none has any."""
    return next((i for i, p in enumerate(params) if leaves(p)), len(params))


def replace_buffers(params: Params, buffers: Params) -> Params:
    """`params` with the arrays of `buffers`, as `Sequential.new_buffers` gives them, in the place of their own."""
    if isinstance(params, dict):
        return {**params, **buffers}
    return tuple(replace_buffers(*branches) for branches in zip(params, buffers, strict=True))


def _check_layer(name: str, i: int, layer: Any) -> None:
    if not isinstance(layer, type) and all(hasattr(layer, part) for part in ("build", "forward", "backward")):
        return
    if isinstance(layer, type):
        hint = f"write {layer.__name__}(), with parentheses"
    elif isinstance(layer, Sequence):
        hint = f"write {name}(*layers) for layers in a list"
    else:
        hint = f"write {name}(Dense(100), ReLU(), Dense(10))"
    raise UsageError(f"Layer {i + 1} of {name} is {layer!r}, which is not a layer: {hint}.")


def _without_values(layer: Layer) -> Layer:
    """The same layer, whose initializers give shapes only."""
    if not is_dataclass(layer):
        return layer
    drawn = [f.name for f in fields(layer) if isinstance(getattr(layer, f.name), Initializer)]
    return replace(layer, **dict.fromkeys(drawn, Empty())) if drawn else layer
