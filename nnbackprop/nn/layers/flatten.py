"""Samples in another shape: vectors of images, images of vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from backends import Array
from nnbackprop.errors import ShapeError
from nnbackprop.nn.initializers import InitRng
from nnbackprop.nn.rng import RngKey

from .base import Backward, LayerParams, Shape, is_whole, use_python_numbers


@dataclass(frozen=True)
class Flatten:
    """y (n, k) is x (n, *sample_shape) with each sample's k numbers in one row, the last axis fastest: a view."""

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        return {}, (math.prod(in_shape),)

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Shape]:
        """Each sample's numbers in a row (derivation, D66)."""
        return xp.reshape(x, (x.shape[0], math.prod(x.shape[1:]))), tuple(x.shape)

    def backward(self, xp: Any, params: LayerParams, cache: Shape, dy: Array, need_dx: bool) -> Backward:
        """Each error where its number was (derivation, D67)."""
        return (xp.reshape(dy, cache) if need_dx else None), {}


@dataclass(frozen=True)
class Reshape:
    """y (n, *shape) is x (n, *sample_shape) with each sample's numbers in `shape`, the last axis fastest: a view.

    It makes images (rows, columns, channels) of vectors, as the layers of images need.

    Raises:
        ShapeError: a shape that is not whole numbers of at least 1; when built, samples of another size.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        use_python_numbers(self)
        sizes = self.shape
        if not (isinstance(sizes, tuple) and sizes and all(is_whole(k, 1) for k in sizes)):
            raise ShapeError(
                f"The shape of a Reshape layer is a tuple of whole numbers of at least 1, such as (28, 28, 1); "
                f"got {sizes!r}."
            )

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        if math.prod(in_shape) != math.prod(self.shape):
            raise ShapeError(
                f"got samples of shape {in_shape}, of {math.prod(in_shape)} numbers; Reshape makes {self.shape} "
                f"of them, of {math.prod(self.shape)}: give a shape of as many numbers."
            )
        return {}, self.shape

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Shape]:
        return xp.reshape(x, (x.shape[0], *self.shape)), tuple(x.shape)

    def backward(self, xp: Any, params: LayerParams, cache: Shape, dy: Array, need_dx: bool) -> Backward:
        return (xp.reshape(dy, cache) if need_dx else None), {}
