"""Smooth activations: the sigmoid and what is built of it. Written so that no x, however large, overflows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .base import Activation, Array


def sigmoid(xp: Any, x: Array) -> Array:
    """1 / (1 + e^-x) as (1 + tanh(x / 2)) / 2, which has no exponential to overflow; a rule for `xp.fuse`."""
    return 0.5 * xp.tanh(0.5 * x) + 0.5


@dataclass(frozen=True)
class Sigmoid(Activation):
    """y = 1 / (1 + e^-x); dx = y (1 - y) dy."""

    def apply(self, xp: Any, x: Array) -> tuple[Array, Array]:
        """y = 1 / (1 + e^-x)."""
        y = sigmoid(xp, x)
        return y, y

    def chain(self, xp: Any, cache: Array, dy: Array) -> Array:
        """dx = y (1 - y) dy."""
        y = cache
        return y * (1 - y) * dy


@dataclass(frozen=True)
class Tanh(Activation):
    """y = tanh(x); dx = (1 - y^2) dy."""

    def apply(self, xp: Any, x: Array) -> tuple[Array, Array]:
        """y = tanh(x)."""
        y = xp.tanh(x)
        return y, y

    def chain(self, xp: Any, cache: Array, dy: Array) -> Array:
        """dx = (1 - y^2) dy."""
        y = cache
        return (1 - y * y) * dy


@dataclass(frozen=True)
class Softplus(Activation):
    """y = log(1 + e^x); dx = sigmoid(x) dy (Dugas et al., NIPS 2000)."""

    def apply(self, xp: Any, x: Array) -> tuple[Array, Array]:
        """y = max(x, 0) + log(1 + e^-|x|)."""
        return xp.maximum(x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x))), x

    def chain(self, xp: Any, cache: Array, dy: Array) -> Array:
        """dx = sigmoid(x) dy."""
        x = cache
        return sigmoid(xp, x) * dy


@dataclass(frozen=True)
class SiLU(Activation):
    """y = x s, with s = sigmoid(x); dx = (s + y (1 - s)) dy (Hendrycks and Gimpel, 2016; Elfwing et al., 2018)."""

    def apply(self, xp: Any, x: Array) -> tuple[Array, tuple[Array, Array]]:
        """y = x s."""
        s = sigmoid(xp, x)
        y = x * s
        return y, (s, y)

    def chain(self, xp: Any, cache: tuple[Array, Array], dy: Array) -> Array:
        """dx = (s + y (1 - s)) dy."""
        s, y = cache
        return (s + y * (1 - s)) * dy


@dataclass(frozen=True)
class GELU(Activation):
    """y = x (1 + t) / 2, t = tanh(c (x + a x^3)), c = sqrt(2 / pi), a = 0.044715: the tanh form.

    Hendrycks and Gimpel, Gaussian error linear units, 2016, section 2. The Array API has no erf.
    """

    C = math.sqrt(2 / math.pi)
    A = 0.044715

    def apply(self, xp: Any, x: Array) -> tuple[Array, tuple[Array, Array]]:
        """y = x (1 + t) / 2."""
        t = xp.tanh(self.C * (x + self.A * x * x * x))
        return 0.5 * x * (1 + t), (x, t)

    def chain(self, xp: Any, cache: tuple[Array, Array], dy: Array) -> Array:
        """dx = ((1 + t) + x (1 - t^2) c (1 + 3 a x^2)) / 2 dy."""
        x, t = cache
        return 0.5 * ((1 + t) + x * (1 - t * t) * (self.C * (1 + 3 * self.A * x * x))) * dy
