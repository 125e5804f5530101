"""What a layer is: three pure functions around hyperparameters; arrays come in as arguments and go out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

from nnbackprop.errors import ShapeError
from nnbackprop.random import Draw

if TYPE_CHECKING:
    from numpy.random import Generator

Array = Any
Cache = Any
"""Whatever forward hands to backward; it belongs to the layer alone."""


class Layer(Protocol):
    """A frozen dataclass of hyperparameters with these three functions. Shapes are those of one sample."""

    def build(
        self, rng: Generator, in_shape: tuple[int, ...], dtype: str
    ) -> tuple[dict[str, Any], tuple[int, ...]]:
        """First parameters, host arrays of `dtype`, and the output's shape; ShapeError if `in_shape` cannot be."""

    def forward(self, xp: Any, params: dict[str, Array], x: Array, draw: Draw | None) -> tuple[Array, Cache]:
        """Output y (n, *out_shape) for a batch x (n, *in_shape), and a cache; `draw` is None in evaluation."""

    def backward(
        self, xp: Any, params: dict[str, Array], cache: Cache, dy: Array, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dJ/dx, or None unless `need_dx`, and dJ/dparams, from dy = dJ/dy; the shapes are x's and the params'."""


class Activation(ABC):
    """A layer without parameters that keeps its input's shape: a function y = f(x) and its way back.

    A subclass states `apply` and, right under it, `chain`, the product of dy with the Jacobian of f.
    """

    def build(
        self, rng: Generator, in_shape: tuple[int, ...], dtype: str
    ) -> tuple[dict[str, Any], tuple[int, ...]]:
        """No parameters, the same shape."""
        return {}, in_shape

    def forward(self, xp: Any, params: dict[str, Array], x: Array, draw: Draw | None) -> tuple[Array, Cache]:
        """y = f(x)."""
        return self.apply(xp, x)

    def backward(
        self, xp: Any, params: dict[str, Array], cache: Cache, dy: Array, need_dx: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dx = f'(x) dy."""
        return (self.chain(xp, cache, dy) if need_dx else None), {}

    @abstractmethod
    def apply(self, xp: Any, x: Array) -> tuple[Array, Cache]:
        """y = f(x), and what `chain` needs."""

    @abstractmethod
    def chain(self, xp: Any, cache: Cache, dy: Array) -> Array:
        """dx = f'(x) dy."""


def width(in_shape: tuple[int, ...], why: str) -> int:
    """The length of a sample that must be a vector; ShapeError says `why` it must."""
    if len(in_shape) != 1:
        raise ShapeError(f"got samples of shape {in_shape}; {why}, shape (features,): flatten them first.")
    return in_shape[0]
