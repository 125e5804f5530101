"""Inverted dropout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import Array
from nnbackprop.nn.initializers import InitRng
from nnbackprop.nn.rng import RngKey, quantize_rate

from .base import Backward, LayerParams, Shape, use_python_numbers
from .windows import image_shape


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
        use_python_numbers(self)
        quantize_rate(self.rate)  # checks the rate

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        return {}, in_shape

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array | None]:
        """y = m x, or x without a key (derivation, D30, D64)."""
        if key is None:
            return x, None
        m = self.draw(xp, key, x.shape, x.dtype)
        return m * x, m

    def draw(self, xp: Any, key: RngKey, shape: Shape, dtype: Any) -> Array:
        """The mask m for x of this shape and dtype."""
        return key.dropout_mask(xp, shape, self.rate, dtype)

    def backward(self, xp: Any, params: LayerParams, cache: Array | None, dy: Array, need_dx: bool) -> Backward:
        """dx = m dy (derivation, D31, D65)."""
        m = cache
        if not need_dx:
            return None, {}
        return (dy if m is None else m * dy), {}


@dataclass(frozen=True)
class SpatialDropout2D(Dropout):
    """Inverted dropout of whole channels: y = m x with x (n, rows, columns, c) and m (n, 1, 1, c).

    One decision for each channel of each sample, 0 for a share `rate` of them, else 1 / (1 - rate): pixels beside
    each other are alike, so that a dropped one would be known from its neighbours (Tompson, Goroshin, Jain, LeCun
    and Bregler, Efficient object localization using convolutional networks, CVPR 2015, section 3.2). It is Keras's
    SpatialDropout2D and PyTorch's Dropout2d. The mask is that of a `Dropout` on the vector of channels (n, c).

    Raises:
        UsageError: a rate below 0, of 1 or above, or so near 1 that it rounds to 1.
        ShapeError: when built, samples that are not (rows, columns, channels).
    """

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        return {}, image_shape(in_shape, "SpatialDropout2D")

    def draw(self, xp: Any, key: RngKey, shape: Shape, dtype: Any) -> Array:
        """The mask m (n, 1, 1, c) for x of this shape and dtype (derivation, D64)."""
        n, _, _, channels = shape
        return xp.reshape(key.dropout_mask(xp, (n, channels), self.rate, dtype), (n, 1, 1, channels))
