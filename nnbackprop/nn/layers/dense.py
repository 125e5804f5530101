"""The fully connected layer: every output is a weighted sum of all inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from backends import Array
from nnbackprop.errors import ShapeError, UsageError
from nnbackprop.nn.initializers import He, Initializer, InitRng, Zeros
from nnbackprop.nn.rng import RngKey

from .base import Backward, LayerParams, Shape, is_whole, sum_over_batch, use_python_numbers, vector_length


@dataclass(frozen=True)
class Dense:
    """z = x W + b, with x (n, in), W (in, units), b (units,) and z (n, units).

    W is drawn by `weight_init` and b by `bias_init`; with bias=False there is no b. Backward, from dz = dJ/dz
    (n, units): dW = x^T dz, db = the sum of dz over the batch, dx = dz W^T (Rumelhart, Hinton and Williams,
    Learning representations by back-propagating errors, 1986).

    >>> layer, xp = nb.Dense(1), nb.select("numpy").xp
    >>> params = {"W": np.array([[2.0], [3.0]]), "b": np.array([1.0])}
    >>> z, cache = layer.forward(xp, params, np.array([[10.0, 100.0]]), None)
    >>> z
    array([[321.]])
    >>> dx, grads = layer.backward(xp, params, cache, np.array([[1.0]]), True)
    >>> dx, grads["b"]
    (array([[2., 3.]]), array([1.]))
    >>> grads["W"]
    array([[ 10.],
           [100.]])

    Raises:
        ShapeError: fewer than 1 unit, or, when built, samples that are not vectors.
        UsageError: an initializer that is none, a bias that is not True or False.
    """

    units: int
    weight_init: Initializer = He()
    bias: bool = True
    bias_init: Initializer = Zeros()

    regularized: ClassVar[tuple[str, ...]] = ("W",)

    def __post_init__(self) -> None:
        use_python_numbers(self)
        if not is_whole(self.units, 1):
            raise ShapeError(f"A Dense layer needs a whole number of units, at least 1; got {self.units!r}.")
        if not isinstance(self.bias, bool):
            raise UsageError(
                f"The bias of a Dense layer is True or False; got {self.bias!r}. Pass an initializer of it as "
                "bias_init."
            )
        for name, given in (("weight_init", self.weight_init), ("bias_init", self.bias_init)):
            if isinstance(given, type) or not callable(given):
                raise UsageError(f"{name} of a Dense layer is an initializer, such as Normal(0.1); got {given!r}.")

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        """Draw W (in, units) and b (units,)."""
        features = vector_length(in_shape, "Dense")
        params = {"W": self.weight_init(rng, (features, self.units), dtype)}
        if self.bias:
            params["b"] = self.bias_init(rng, (self.units,), dtype)
        return params, (self.units,)

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array]:
        """z = x W + b (derivation, D1, D10, D14)."""
        z = xp.matmul(x, params["W"])  # (n, in) (in, units) -> (n, units)
        if "b" in params:
            z += params["b"]
        return z, x

    def backward(self, xp: Any, params: LayerParams, cache: Array, dy: Array, need_dx: bool) -> Backward:
        """dW = x^T dz, db = 1^T dz, dx = dz W^T (derivation, D5, D6, D8, D11, D12, D16, D17, D18)."""
        x, dz = cache, dy
        grads = {"W": xp.matmul(xp.matrix_transpose(x), dz)}  # (in, n) (n, units) -> (in, units)
        if "b" in params:
            grads["b"] = sum_over_batch(xp, dz)[0, :]  # (n, units) -> (units,)
        if not need_dx:
            return None, grads
        return xp.matmul(dz, xp.matrix_transpose(params["W"])), grads  # (n, units) (units, in) -> (n, in)
