"""The fully connected layer: every output is a weighted sum of all inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import Array, device_of
from nnbackprop.errors import ShapeError
from nnbackprop.nn.initializers import Generator, He, Initializer, Zeros
from nnbackprop.nn.rng import RngKey

from .base import LayerParams, Shape, width


@dataclass(frozen=True)
class Dense:
    """z = x W + b, with x (n, in), W (in, units), b (units,) and z (n, units).

    `bias=None` leaves b out. Backward, from dz = dJ/dz (n, units): dW = x^T dz, db = the sum of dz over the
    batch, dx = dz W^T (Rumelhart, Hinton and Williams, Learning representations by back-propagating errors, 1986).

    Raises:
        ShapeError: fewer than 1 unit, or, when built, samples that are no vectors.
    """

    units: int
    weights: Initializer = He()
    bias: Initializer | None = Zeros()

    def __post_init__(self) -> None:
        if self.units < 1:
            raise ShapeError(f"A Dense layer needs at least 1 unit and got {self.units}.")

    def build(self, rng: Generator, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        """RngKey W (in, units) and b (units,)."""
        features = width(in_shape, "Dense takes vectors")
        params = {"W": self.weights(rng, (features, self.units), dtype)}
        if self.bias is not None:
            params["b"] = self.bias(rng, (self.units,), dtype)
        return params, (self.units,)

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array]:
        """z = x W + b (derivation, D1, D10, D14)."""
        z = xp.matmul(x, params["W"])  # (n, in) (in, units) -> (n, units)
        if "b" in params:
            z += params["b"]
        return z, x

    def backward(
        self, xp: Any, params: LayerParams, cache: Array, dy: Array, need_dx: bool
    ) -> tuple[Array | None, LayerParams]:
        """dW = x^T dz, db = 1^T dz, dx = dz W^T (derivation, D5, D6, D8, D11, D12, D16, D17, D18)."""
        x, dz = cache, dy
        grads = {"W": xp.matmul(xp.matrix_transpose(x), dz)}  # (in, n) (n, units) -> (in, units)
        if "b" in params:
            ones = xp.ones((1, dz.shape[0]), dtype=dz.dtype, device=device_of(dz))
            grads["b"] = xp.matmul(ones, dz)[0, :]  # a product: faster than sum(axis=0), on CuPy by far
        if not need_dx:
            return None, grads
        return xp.matmul(dz, xp.matrix_transpose(params["W"])), grads  # (n, units) (units, in) -> (n, in)
