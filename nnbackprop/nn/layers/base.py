"""What a layer is: three pure functions around hyperparameters; arrays come in as arguments and go out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, TypeGuard

from backends import Array, device_of
from nnbackprop.errors import ShapeError
from nnbackprop.nn.initializers import InitRng
from nnbackprop.nn.rng import RngKey

Shape = tuple[int, ...]
"""The shape of one sample, without the batch."""

LayerParams = dict[str, Array]
"""One layer's parameters by name, such as W and b, or their gradients; empty for a layer without any."""

Backward = tuple[Array | None, LayerParams]
"""What backward gives: dJ/dx, or None where nobody needs it, and dJ/dparams."""

Params = Any
"""A network's parameters, or their gradients: a tuple with a branch for each of its `children`. A branch is a dict
of arrays, or again a tuple where the child is a network itself."""

Cache = Any
"""Whatever forward hands to backward; it belongs to the layer alone."""

Caches = tuple[Cache, ...]
"""A network's: one for each of its `children`, in their order."""


class Layer(Protocol):
    """A frozen dataclass of hyperparameters with these three functions.

    Arrays are of one dtype: float32 or float64, or in mixed precision float16 or bfloat16. None is written to.

    Four class attributes are optional. `regularized` names the parameters that a `WeightPenalty` counts.
    `buffers` names those that are not trained, such as running statistics: they have no gradients, and
    `new_buffers(xp, params, cache) -> dict` gives their values after a training step. `full_precision = True`
    keeps a layer's parameters as they are in mixed precision: the layer casts x to their dtype, and y back.
    `copies_windows = True` says that forward takes many times the memory of x: evaluations have smaller batches.

    `draw(xp, key, shape, dtype) -> array (n, ...)`, optional too, gives the random numbers for an x of this shape
    and dtype, so that those of many steps can be drawn at once. They are those of one `key.dropout_mask`, in
    another shape at most: where they were drawn ahead, it gives them back.
    """

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[Any, Shape]:
        """First parameters, host arrays of `dtype`, and the output's shape; ShapeError if `in_shape` cannot be."""

    def forward(self, xp: Any, params: Any, x: Array, key: RngKey | None) -> tuple[Array, Cache]:
        """Output y (n, *out_shape) for a batch x (n, *in_shape), and a cache; `key` is None in evaluation."""

    def backward(self, xp: Any, params: Any, cache: Cache, dy: Array, need_dx: bool) -> tuple[Array | None, Any]:
        """dJ/dx, or None unless `need_dx`, and dJ/dparams, from dy = dJ/dy; the shapes are x's and the params'."""


class Activation(ABC):
    """A layer without parameters that keeps its input's shape: y = f(x), dx = dy times the Jacobian of f.

    A subclass states `forward` and, right under it, `vjp`, the vector-Jacobian product. Where f acts on each
    number alone, x may have any shape.
    """

    def __post_init__(self) -> None:
        use_python_numbers(self)

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        """No parameters, the same shape."""
        return {}, in_shape

    @abstractmethod
    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Cache]:
        """y = f(x), and what `vjp` needs."""

    @abstractmethod
    def vjp(self, xp: Any, cache: Cache, dy: Array) -> Array:
        """dx = dy times the Jacobian of f."""

    def backward(self, xp: Any, params: LayerParams, cache: Cache, dy: Array, need_dx: bool) -> Backward:
        """dx by `vjp`; no gradients."""
        return (self.vjp(xp, cache, dy) if need_dx else None), {}


def use_python_numbers(hyperparameters: object) -> None:
    """Put Python's numbers in the place of NumPy's, and of 0-d arrays, among the fields of a new dataclass.

    Lists become tuples. Times a float32 array, a Python float gives float32, and one of NumPy float64.
    """
    for name, value in vars(hyperparameters).items():
        object.__setattr__(hyperparameters, name, _in_python(value))


def _in_python(value: Any) -> Any:
    if type(value) in (list, tuple):
        return tuple(map(_in_python, value))
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def is_whole(value: object, least: int) -> TypeGuard[int]:
    """Whether a hyperparameter is a whole number of at least `least`; True is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def vector_length(in_shape: Shape, layer: str) -> int:
    """The length of a sample that must be a vector; ShapeError says what to put before `layer`."""
    if len(in_shape) != 1:
        raise ShapeError(
            f"got samples of shape {in_shape}; {layer} takes vectors, shape (features,): put Flatten() before it."
        )
    return in_shape[0]


def sum_over_batch(xp: Any, x: Array) -> Array:
    """The sum over samples and places, (1, k), of x (n, ..., k).

    A product is faster than sum(axis=0), on CuPy by far. One for each axis, and not one of all terms, keeps the
    digits of float32: some libraries add the terms one by one.
    """
    ones = xp.ones((1, x.shape[0]), dtype=x.dtype, device=device_of(x))
    if x.ndim == 2:
        return xp.matmul(ones, x)
    return sum_over_batch(xp, xp.reshape(xp.matmul(ones, xp.reshape(x, (x.shape[0], -1))), x.shape[1:]))


def map_layers(function: Callable[..., Any], layer: Layer, *trees: Params) -> Params:
    """`function(layer, *branches)` of every layer without children, in the structure of the network."""
    children = getattr(layer, "children", None)
    if children is None:
        return function(layer, *trees)
    return tuple(map_layers(function, *branches) for branches in zip(children, *trees, strict=True))
