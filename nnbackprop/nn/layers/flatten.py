"""Flatten: samples of any shape as vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from backends import Array
from nnbackprop.nn.initializers import InitRng
from nnbackprop.nn.rng import RngKey

from .base import Backward, LayerParams, Shape


@dataclass(frozen=True)
class Flatten:
    """y (n, k) is x (n, *sample_shape) with each sample's k numbers in one row, the last axis fastest: a view."""

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        return {}, (math.prod(in_shape),)

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Shape]:
        return xp.reshape(x, (x.shape[0], math.prod(x.shape[1:]))), tuple(x.shape)

    def backward(self, xp: Any, params: LayerParams, cache: Shape, dy: Array, need_dx: bool) -> Backward:
        return (xp.reshape(dy, cache) if need_dx else None), {}
