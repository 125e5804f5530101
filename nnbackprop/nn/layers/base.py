"""What a layer is: three pure functions around hyperparameters; arrays come in as arguments and go out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

from backends import Array
from nnbackprop.errors import ShapeError
from nnbackprop.nn.initializers import Generator
from nnbackprop.nn.rng import RngKey

Shape = tuple[int, ...]
"""The shape of one sample, without the batch."""

LayerParams = dict[str, Array]
"""One layer's parameters by name, such as W and b, or their gradients."""

Params = tuple[LayerParams, ...]
"""A network's parameters, or their gradients: a dict a layer, empty for a layer without any."""

Cache = Any
"""Whatever forward hands to backward; it belongs to the layer alone."""


class Layer(Protocol):
    """A frozen dataclass of hyperparameters with these three functions.

    Arrays are of one dtype, float32 or float64, throughout. None given is written to.
    """

    def build(self, rng: Generator, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        """First parameters, host arrays of `dtype`, and the output's shape; ShapeError if `in_shape` cannot be."""

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Cache]:
        """Output y (n, *out_shape) for a batch x (n, *in_shape), and a cache; `key` is None in evaluation."""

    def backward(
        self, xp: Any, params: LayerParams, cache: Cache, dy: Array, need_dx: bool
    ) -> tuple[Array | None, LayerParams]:
        """dJ/dx, or None unless `need_dx`, and dJ/dparams, from dy = dJ/dy; the shapes are x's and the params'."""


class Activation(ABC):
    """A layer without parameters that keeps its input's shape: a function y = f(x) and its way back.

    A subclass states `apply` and, right under it, `chain`, the product of dy with the Jacobian of f. Where f
    acts on each number alone, x may have any shape.
    """

    def build(self, rng: Generator, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        """No parameters, the same shape."""
        return {}, in_shape

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Cache]:
        """y = f(x)."""
        return self.apply(xp, x)

    def backward(
        self, xp: Any, params: LayerParams, cache: Cache, dy: Array, need_dx: bool
    ) -> tuple[Array | None, LayerParams]:
        """dx = dy times the Jacobian of f."""
        return (self.chain(xp, cache, dy) if need_dx else None), {}

    @abstractmethod
    def apply(self, xp: Any, x: Array) -> tuple[Array, Cache]:
        """y = f(x), and what `chain` needs."""

    @abstractmethod
    def chain(self, xp: Any, cache: Cache, dy: Array) -> Array:
        """dx = dy times the Jacobian of f."""


def width(in_shape: Shape, why: str) -> int:
    """The length of a sample that must be a vector; ShapeError says `why` it must."""
    if len(in_shape) != 1:
        raise ShapeError(f"got samples of shape {in_shape}; {why}, shape (features,): flatten them first.")
    return in_shape[0]
