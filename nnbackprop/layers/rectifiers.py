"""Activations with a corner or a bend at zero: the identity for x > 0, something small below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .base import Activation, Array


@dataclass(frozen=True)
class Identity(Activation):
    """y = x; dx = dy."""

    def apply(self, xp: Any, x: Array) -> tuple[Array, None]:
        """y = x."""
        return x, None

    def chain(self, xp: Any, cache: None, dy: Array) -> Array:
        """dx = dy."""
        return dy


@dataclass(frozen=True)
class ReLU(Activation):
    """y = max(x, 0); dx = dy where x > 0, else 0, at the corner too (Nair and Hinton, ICML 2010)."""

    def apply(self, xp: Any, x: Array) -> tuple[Array, Array]:
        """y = max(x, 0)."""
        y = xp.maximum(x, xp.zeros_like(x))
        return y, y

    def chain(self, xp: Any, cache: Array, dy: Array) -> Array:
        """dx = dy [y > 0]."""
        y = cache
        return dy * xp.astype(y > 0, dy.dtype)


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """y = x where x > 0, else slope x; dx alike (Maas, Hannun and Ng, ICML 2013)."""

    slope: float = 0.01

    def apply(self, xp: Any, x: Array) -> tuple[Array, Array]:
        """y = f x, with f = 1 where x > 0, else the slope."""
        f = xp.astype(x > 0, x.dtype) * (1 - self.slope) + self.slope
        return f * x, f

    def chain(self, xp: Any, cache: Array, dy: Array) -> Array:
        """dx = f dy."""
        f = cache
        return f * dy


@dataclass(frozen=True)
class ELU(Activation):
    """y = x where x > 0, else alpha (e^x - 1) (Clevert, Unterthiner and Hochreiter, ICLR 2016, eq. 15)."""

    alpha: float = 1.0

    def apply(self, xp: Any, x: Array) -> tuple[Array, tuple[Array, Array]]:
        """y = max(x, 0) + alpha (e^min(x, 0) - 1): one of the two terms is 0."""
        below = xp.minimum(x, xp.zeros_like(x))
        return (x - below) + self.alpha * xp.expm1(below), (x, below)

    def chain(self, xp: Any, cache: tuple[Array, Array], dy: Array) -> Array:
        """dx = dy where x > 0, else alpha e^x dy."""
        x, below = cache
        above = xp.astype(x > 0, dy.dtype)
        return dy * (above + (1 - above) * self.alpha * xp.exp(below))
