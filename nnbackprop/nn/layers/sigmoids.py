"""Smooth activations: the sigmoid and what is built of it. No exponential overflows, however large x is.

Formulae are kernels for `xp.fuse`, which makes one pass over memory of each where the library can: one kernel
on a GPU, a compiled loop on NumPy. Their constants are arguments, so that every fuser keeps x's dtype.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from backends import Array
from nnbackprop.nn.rng import RngKey

from .base import Activation, LayerParams


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
        """y = s(x)."""
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
        """y = tanh(x)."""
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
        """y = log(1 + e^x)."""
        return softplus(xp, x), x

    def vjp(self, xp: Any, x: Array, dy: Array) -> Array:
        """dx = s(x) dy."""
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
        """y = x s(x)."""
        s = sigmoid(xp, x)
        return x * s, (x, s)

    def vjp(self, xp: Any, cache: tuple[Array, Array], dy: Array) -> Array:
        """dx = (s + x s (1 - s)) dy."""
        x, s = cache
        return xp.fuse(silu_vjp)(x, s, dy, 1.0)


def silu_vjp(xp: Any, x: Array, s: Array, dy: Array, one: float) -> Array:
    """(s + x s (1 - s)) dy: an elementwise kernel."""
    return (s + x * s * (one - s)) * dy


@dataclass(frozen=True)
class GELU(Activation):
    """y = x (1 + tanh(c (x + a x^3))) / 2, with c = sqrt(2 / pi), a = 0.044715: the tanh form.

    That is y = x s, with s the sigmoid of 2c (x + a x^3); dx = (s + x s (1 - s) 2c (1 + 3a x^2)) dy.
    Hendrycks and Gimpel, Gaussian error linear units, 2016, section 2. (The Array API has no erf.)
    """

    def forward(
        self, xp: Any, params: LayerParams, x: Array, key: RngKey | None
    ) -> tuple[Array, tuple[Array, Array]]:
        """y = x s."""
        y, s = xp.fuse(gelu)(x, C, A, 0.5)
        return y, (x, s)

    def vjp(self, xp: Any, cache: tuple[Array, Array], dy: Array) -> Array:
        """dx = (s + x s (1 - s) (2c + 6ac x^2)) dy."""
        x, s = cache
        return xp.fuse(gelu_vjp)(x, s, dy, 1.0, 2 * C, 6 * A * C)


C, A = math.sqrt(2 / math.pi), 0.044715


def gelu(xp: Any, x: Array, c: float, a: float, half: float) -> tuple[Array, Array]:
    """x s and s = (1 + tanh(c (x + a x^3))) / 2: an elementwise kernel."""
    s = half * xp.tanh(c * (x + a * x * x * x)) + half
    return x * s, s


def gelu_vjp(xp: Any, x: Array, s: Array, dy: Array, one: float, b: float, d: float) -> Array:
    """(s + x s (1 - s) (b + d x^2)) dy: an elementwise kernel."""
    return (s + x * s * (one - s) * (b + d * x * x)) * dy
