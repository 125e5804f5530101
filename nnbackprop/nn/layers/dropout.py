"""Inverted dropout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import Array
from nnbackprop.nn.initializers import InitRng
from nnbackprop.nn.rng import RngKey, quantize_rate

from .base import Backward, LayerParams, Shape


@dataclass(frozen=True)
class Dropout:
    """Inverted dropout. y = m x in training, m 0 for a share `rate` of the units, else 1 / (1 - rate); else y = x.

    The scale keeps the expected y at x, so that evaluation needs none (Srivastava et al., Dropout: a simple way to
    prevent neural networks from overfitting, JMLR 2014). x is (n, *sample_shape). The mask is a function of the
    run's seed, the step and the layer's path: see `RngKey.dropout_mask`.

    Raises:
        UsageError: a rate below 0, of 1 or above, or so near 1 that it rounds to 1.
    """

    rate: float

    def __post_init__(self) -> None:
        quantize_rate(self.rate)  # checks the rate

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        return {}, in_shape

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array | None]:
        """y = m x, or x without a key (derivation, D30)."""
        if key is None:
            return x, None
        m = self.draw(xp, key, x.shape, x.dtype)
        return m * x, m

    def draw(self, xp: Any, key: RngKey, shape: Shape, dtype: Any) -> Array:
        """The mask m for x of this shape and dtype."""
        return key.dropout_mask(xp, shape, self.rate, dtype)

    def backward(self, xp: Any, params: LayerParams, cache: Array | None, dy: Array, need_dx: bool) -> Backward:
        """dx = m dy (derivation, D31)."""
        m = cache
        if not need_dx:
            return None, {}
        return (dy if m is None else m * dy), {}
