"""A network is its layers in order: forward hands `y` down the row, backward hands `dy` back up."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from backends import Array
from nnbackprop.errors import ShapeError
from nnbackprop.nn.layers.base import Layer, Params

from .initializers import Initializer, Unset, generator
from .rng import RngKey


@dataclass(frozen=True)
class Built:
    """A layer in its place: its name in this network, its first parameters, the shape it gives a sample."""

    name: str
    params: dict[str, Any]
    out_shape: tuple[int, ...]


@dataclass(frozen=True, init=False)
class Sequential:
    """Layers applied one after the other: y = f_L(... f_2(f_1(x))).

    Holds hyperparameters only. Parameters come from `build` as host arrays and travel as arguments:

    >>> network = Sequential(Dense(100), Sigmoid(), Dense(10), Sigmoid())
    >>> params = network.build((784,), seed=0, dtype="float32")
    >>> y, caches = network.forward(xp, params, x)  # x (n, 784), y (n, 10)
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ShapeError(
                "A network needs at least one layer and got none: Sequential(Dense(10)) is the least."
            )
        object.__setattr__(self, "layers", tuple(layers))

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each layer: its kind and its number among its kind, such as dense1, relu1, dense2."""
        kinds = [type(layer).__name__.lower() for layer in self.layers]
        return tuple(f"{kind}{kinds[: i + 1].count(kind)}" for i, kind in enumerate(kinds))

    def plan(self, in_shape: tuple[int, ...], seed: int = 0, dtype: str = "float32") -> tuple[Built, ...]:
        """Build every layer for samples of `in_shape`; ShapeError names the layer that does not fit."""
        plan: list[Built] = []
        for i, (name, layer) in enumerate(zip(self.names, self.layers, strict=True)):
            before = f"after {self.names[i - 1]}" if i else "at the input"
            try:
                params, out_shape = layer.build(generator(seed, i, "weights"), in_shape, dtype)
            except ShapeError as error:
                raise ShapeError(f"Layer {i + 1}, {name}, {before}: {error}") from None
            plan.append(Built(name, params, out_shape))
            in_shape = out_shape
        return tuple(plan)

    def build(self, in_shape: tuple[int, ...], seed: int = 0, dtype: str = "float32") -> Params:
        """First parameters as host arrays of `dtype`, the same on every library; see `plan`."""
        return tuple(built.params for built in self.plan(in_shape, seed, dtype))

    def outline(self, in_shape: tuple[int, ...], dtype: str = "float32") -> Params:
        """What `build` gives but for the values, without its memory: to see first whether given arrays fit."""
        return Sequential(*map(_unset, self.layers)).build(in_shape, dtype=dtype)

    def forward(self, xp: Any, params: Params, x: Array, key: RngKey | None = None) -> tuple[Array, tuple]:
        """Outputs y (n, ...) for a batch x (n, ...), and what each layer needs to go back.

        `key` gives the dropout masks of a training step; without one the network evaluates (derivation, D20).
        """
        caches = []
        for i, (layer, p) in enumerate(zip(self.layers, params, strict=True)):
            x, cache = layer.forward(xp, p, x, key and key.at(i))
            caches.append(cache)
        return x, tuple(caches)

    def backward(
        self, xp: Any, params: Params, caches: tuple, dy: Array, need_dx: bool = False
    ) -> tuple[Array | None, Params]:
        """Gradients of J with respect to the parameters, and to x where `need_dx`, from dy = dJ/dy.

        The chain kernel from the last layer to the first: each turns its dJ/dy into the dJ/dx that is dJ/dy of
        the layer before it (derivation, D21). Nothing is computed below the first layer with parameters unless
        asked for.
        """
        stop = 0 if need_dx else next((i for i, p in enumerate(params) if p), len(params))
        grads: list[dict[str, Any]] = [{} for _ in params]
        for i in range(len(params) - 1, stop - 1, -1):
            dy, grads[i] = self.layers[i].backward(xp, params[i], caches[i], dy, need_dx or i > stop)
        return (dy if need_dx else None), tuple(grads)


def _unset(layer: Layer) -> Layer:
    """The same layer, whose parameters have no values."""
    drawn = [f.name for f in fields(layer) if isinstance(getattr(layer, f.name), Initializer)]  # type: ignore[arg-type]
    return replace(layer, **dict.fromkeys(drawn, Unset()))  # type: ignore[type-var]
