"""Softmax as a layer, for losses on probabilities; with cross-entropy use the loss that takes logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import Array
from nnbackprop.nn.initializers import InitRng
from nnbackprop.nn.rng import RngKey

from .base import Activation, LayerParams, Shape, vector_length


def softmax(xp: Any, x: Array) -> Array:
    """y_i = e^(x_i - max x) / sum_j e^(x_j - max x) over rows of x (n, k); the shift cancels
    (derivation, D23)."""
    e = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    return e / xp.sum(e, axis=1, keepdims=True)


@dataclass(frozen=True)
class Softmax(Activation):
    """y_i = e^x_i / sum_j e^x_j over each row of x (n, k).

    Every output depends on every input: dy_i/dx_j = y_i ([i = j] - y_j). The product with dy needs all of that
    Jacobian, not its diagonal y_i (1 - y_i) alone: dx_j = y_j (dy_j - sum_i y_i dy_i). (Bridle, Probabilistic
    interpretation of feedforward classification network outputs, 1990.)

    Raises:
        ShapeError: when built, samples that are not vectors.
    """

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        """No parameters, the same shape."""
        vector_length(in_shape, "Softmax")
        return {}, in_shape

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array]:
        """y = e^x / sum e^x."""
        y = softmax(xp, x)
        return y, y

    def vjp(self, xp: Any, y: Array, dy: Array) -> Array:
        """dx = y (dy - sum(y dy)) (derivation, D24)."""
        return y * (dy - xp.sum(y * dy, axis=1, keepdims=True))
