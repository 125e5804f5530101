"""Dropout: a layer that forgets a random part of what it hears, so that no unit comes to rely on another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import Array
from nnbackprop.nn.initializers import Generator
from nnbackprop.nn.rng import RngKey, quantise

from .base import LayerParams, Shape, width


@dataclass(frozen=True)
class Dropout:
    """y = m x in training, with m 0 for a share `rate` of the units and 1 / (1 - rate) for the rest; y = x else.

    Inverted dropout: the survivors' scale keeps the expected y at x, so evaluation has nothing to undo
    (Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, 2014). x is (n, k).
    The mask is a function of the run's seed, the step and the layer's place: see `RngKey.dropout_mask`.

    Raises:
        UsageError: a rate below 0, of 1 or above, or so near 1 that no unit would survive.
        ShapeError: when built, samples that are no vectors.
    """

    rate: float

    def __post_init__(self) -> None:
        quantise(self.rate)  # refuses a rate that is none

    def build(self, rng: Generator, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        """No parameters, the same shape."""
        width(in_shape, "Dropout masks vectors")
        return {}, in_shape

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array | None]:
        """y = m x, or x without a key (derivation, D30)."""
        if key is None:
            return x, None
        m = key.dropout_mask(xp, x.shape, self.rate, x.dtype)
        return m * x, m

    def backward(
        self, xp: Any, params: LayerParams, cache: Array | None, dy: Array, need_dx: bool
    ) -> tuple[Array | None, LayerParams]:
        """dx = m dy (derivation, D31)."""
        m = cache
        if not need_dx:
            return None, {}
        return (dy if m is None else m * dy), {}
