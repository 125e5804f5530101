"""Activations. No exponential overflows, however large x is.

Formulae are elementwise kernels for `xp.fuse`, which makes one pass over memory of each where the library can: one
kernel on a GPU, a compiled loop on NumPy. Their constants are arguments, so that every fuser keeps x's dtype.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from backends import Array
from nnbackprop.errors import UsageError
from nnbackprop.nn.initializers import InitRng
from nnbackprop.nn.rng import RngKey

from .base import Activation, LayerParams, Shape, vector_length


@dataclass(frozen=True)
class Identity(Activation):
    """y = x; dx = dy."""

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, None]:
        return x, None

    def vjp(self, xp: Any, cache: None, dy: Array) -> Array:
        return dy


@dataclass(frozen=True)
class ReLU(Activation):
    """y = max(x, 0); dx = dy where x > 0, else 0, at the corner too.

    Nair and Hinton, Rectified linear units improve restricted Boltzmann machines, ICML 2010.
    """

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array]:
        y = xp.maximum(x, xp.zeros_like(x))
        return y, y

    def vjp(self, xp: Any, y: Array, dy: Array) -> Array:
        """dx = [y > 0] dy (derivation, D19)."""
        return xp.fuse(relu_vjp)(y, dy)


def relu_vjp(xp: Any, y: Array, dy: Array) -> Array:
    """[y > 0] dy: an elementwise kernel."""
    return positive(xp, y) * dy


def positive(xp: Any, x: Array) -> Array:
    """[x > 0] as numbers of x's dtype: multiplying by bools takes NumPy three times as long."""
    return xp.astype(x > 0, x.dtype)


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """y = x where x > 0, else slope x, which is max(x, slope x) as 0 <= slope < 1; dx alike.

    Maas, Hannun and Ng, Rectifier nonlinearities improve neural network acoustic models, ICML 2013.

    Raises:
        UsageError: a slope that is not in 0 <= slope < 1.
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.slope < 1:
            raise UsageError(f"LeakyReLU needs a slope of at least 0 and below 1; got {self.slope}.")

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array]:
        """y = max(x, slope x) (derivation, D55)."""
        return xp.maximum(x, self.slope * x), x

    def vjp(self, xp: Any, cache: Array, dy: Array) -> Array:
        """dx = dy where x > 0, else slope dy (derivation, D55)."""
        above = positive(xp, cache)
        return (above + (1 - above) * self.slope) * dy


@dataclass(frozen=True)
class ELU(Activation):
    """y = x where x > 0, else alpha (e^x - 1); dx = dy where x > 0, else (y + alpha) dy, which is alpha e^x dy.

    Clevert, Unterthiner and Hochreiter, Fast and accurate deep network learning by exponential linear units,
    ICLR 2016, section 3.

    Raises:
        UsageError: an alpha that is negative or not finite.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha < math.inf:
            raise UsageError(f"ELU needs a finite alpha of at least 0; got {self.alpha}.")

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array]:
        """y = x where x > 0, else alpha (e^x - 1) (derivation, D60)."""
        y = xp.fuse(elu)(x, 0.0, self.alpha)
        return y, y

    def vjp(self, xp: Any, y: Array, dy: Array) -> Array:
        """dx = dy where x > 0, else (y + alpha) dy (derivation, D60)."""
        above = positive(xp, y)
        return (above + (1 - above) * (y + self.alpha)) * dy


def elu(xp: Any, x: Array, zero: float, alpha: float) -> Array:
    """max(x, 0) + alpha (e^min(x, 0) - 1), of whose terms one is 0: an elementwise kernel."""
    below = xp.minimum(x, zero)  # no e^x of an x above 0, which would overflow
    return (x - below) + alpha * xp.expm1(below)


def sigmoid(xp: Any, x: Array) -> Array:
    """s(x) = 1 / (1 + e^-x) (derivation, D2), as (1 + tanh(x/2)) / 2, which has no exponential to overflow.

    It is right to a rounding of 1, not of s: where e^x is less than that, x < -20 in float32, s is 0. In return it
    takes NumPy under half the time of exponentials kept from overflowing.
    """
    return xp.fuse(logistic)(x, 0.5)


def logistic(xp: Any, x: Array, half: float) -> Array:
    """1 / (1 + e^-x): an elementwise kernel."""
    return half * xp.tanh(half * x) + half


@dataclass(frozen=True)
class Sigmoid(Activation):
    """y = 1 / (1 + e^-x); dx = y (1 - y) dy."""

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array]:
        y = sigmoid(xp, x)
        return y, y

    def vjp(self, xp: Any, y: Array, dy: Array) -> Array:
        """dx = y (1 - y) dy (derivation, D4, D7, D13, D19)."""
        return xp.fuse(sigmoid_vjp)(y, dy, 1.0)


def sigmoid_vjp(xp: Any, y: Array, dy: Array, one: float) -> Array:
    """y (1 - y) dy: an elementwise kernel."""
    return y * (one - y) * dy


@dataclass(frozen=True)
class Tanh(Activation):
    """y = tanh(x); dx = (1 - y^2) dy."""

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array]:
        y = xp.tanh(x)
        return y, y

    def vjp(self, xp: Any, y: Array, dy: Array) -> Array:
        """dx = (1 - y^2) dy (derivation, D19)."""
        return xp.fuse(tanh_vjp)(y, dy, 1.0)


def tanh_vjp(xp: Any, y: Array, dy: Array, one: float) -> Array:
    """(1 - y^2) dy: an elementwise kernel."""
    return (one - y * y) * dy


def softplus(xp: Any, x: Array) -> Array:
    """log(1 + e^x), as max(x, 0) + log(1 + e^-|x|), whose exponential is at most 1."""
    return xp.fuse(log_one_plus_exp)(x, 0.0)


def log_one_plus_exp(xp: Any, x: Array, zero: float) -> Array:
    """log(1 + e^x): an elementwise kernel."""
    return xp.maximum(x, zero) + xp.log1p(xp.exp(-xp.abs(x)))


@dataclass(frozen=True)
class Softplus(Activation):
    """y = log(1 + e^x); dx = s(x) dy, with s the sigmoid.

    Dugas, Bengio, Belisle, Nadeau and Garcia, Incorporating second-order functional knowledge for better option
    pricing, NIPS 2000.
    """

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array]:
        """y = log(1 + e^x) (derivation, D61)."""
        return softplus(xp, x), x

    def vjp(self, xp: Any, x: Array, dy: Array) -> Array:
        """dx = s(x) dy (derivation, D61)."""
        return sigmoid(xp, x) * dy


@dataclass(frozen=True)
class SiLU(Activation):
    """y = x s, with s = s(x) the sigmoid; dx = (s + x s (1 - s)) dy.

    Elfwing, Uchibe and Doya, Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning, Neural Networks, 2018.
    """

    def forward(
        self, xp: Any, params: LayerParams, x: Array, key: RngKey | None
    ) -> tuple[Array, tuple[Array, Array]]:
        """y = x s, and the cache (x, s) (derivation, D62)."""
        s = sigmoid(xp, x)
        return x * s, (x, s)

    def vjp(self, xp: Any, cache: tuple[Array, Array], dy: Array) -> Array:
        """dx = (s + x s (1 - s)) dy (derivation, D62)."""
        x, s = cache
        return xp.fuse(silu_vjp)(x, s, dy, 1.0)


def silu_vjp(xp: Any, x: Array, s: Array, dy: Array, one: float) -> Array:
    """(s + x s (1 - s)) dy: an elementwise kernel."""
    return (s + x * s * (one - s)) * dy


SQRT_2_OVER_PI, GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715
GELU_END = 16.0
"""From here on, on either side of 0, s is 1 or 0 in every dtype."""


@dataclass(frozen=True)
class GELU(Activation):
    """y = x (1 + tanh(c (x + a x^3))) / 2, with c = sqrt(2 / pi), a = 0.044715: the tanh form.

    That is y = x s, with s the sigmoid of 2c (x + a x^3); dx = (s + x s (1 - s) 2c (1 + 3a x^2)) dy.
    Hendrycks and Gimpel, Gaussian error linear units, 2016, section 2. (The Array API has no erf.)
    """

    def forward(
        self, xp: Any, params: LayerParams, x: Array, key: RngKey | None
    ) -> tuple[Array, tuple[Array, Array]]:
        """y = x s, and the cache (x, s) (derivation, D63)."""
        y, s = xp.fuse(gelu)(x, SQRT_2_OVER_PI, GELU_CUBIC, 0.5)
        return y, (x, s)

    def vjp(self, xp: Any, cache: tuple[Array, Array], dy: Array) -> Array:
        """dx = (s + x s (1 - s) 2c (1 + 3a x^2)) dy (derivation, D63)."""
        x, s = cache
        return xp.fuse(gelu_vjp)(x, s, dy, 1.0, 2 * SQRT_2_OVER_PI, 6 * GELU_CUBIC * SQRT_2_OVER_PI, GELU_END)


def gelu(xp: Any, x: Array, c: float, a: float, half: float) -> tuple[Array, Array]:
    """x s and s = (1 + tanh(c (x + a x^3))) / 2: an elementwise kernel."""
    s = half * xp.tanh(c * (x + a * x * x * x)) + half
    return x * s, s


def gelu_vjp(xp: Any, x: Array, s: Array, dy: Array, one: float, b: float, d: float, end: float) -> Array:
    """(s + x s (1 - s) (b + d x^2)) dy: an elementwise kernel."""
    size = xp.minimum(xp.abs(x), end)  # beyond it s (1 - s) is 0, and times an infinite x^2 would be NaN
    return (s + x * s * (one - s) * (b + d * size * size)) * dy


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
        vector_length(in_shape, "Softmax")
        return {}, in_shape

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array]:
        y = softmax(xp, x)
        return y, y

    def vjp(self, xp: Any, y: Array, dy: Array) -> Array:
        """dx = y (dy - sum(y dy)) (derivation, D24)."""
        return y * (dy - xp.sum(y * dy, axis=1, keepdims=True))
