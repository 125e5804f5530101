"""Activations with a corner or a bend at zero: the identity for x > 0, something small below."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from backends import Array
from nnbackprop.errors import UsageError
from nnbackprop.nn.rng import RngKey

from .base import Activation, LayerParams


@dataclass(frozen=True)
class Identity(Activation):
    """y = x; dx = dy."""

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, None]:
        """y = x."""
        return x, None

    def vjp(self, xp: Any, cache: None, dy: Array) -> Array:
        """dx = dy."""
        return dy


@dataclass(frozen=True)
class ReLU(Activation):
    """y = max(x, 0); dx = dy where x > 0, else 0, at the corner too.

    Nair and Hinton, Rectified linear units improve restricted Boltzmann machines, ICML 2010.
    """

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array]:
        """y = max(x, 0)."""
        y = xp.maximum(x, xp.zeros_like(x))
        return y, y

    def vjp(self, xp: Any, y: Array, dy: Array) -> Array:
        """dx = [y > 0] dy (derivation, D19)."""
        return xp.fuse(relu_vjp)(y, dy)


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """y = x where x > 0, else slope x, which is max(x, slope x) as 0 <= slope < 1; dx alike.

    Maas, Hannun and Ng, Rectifier nonlinearities improve neural network acoustic models, ICML 2013.

    Raises:
        UsageError: a slope that is not in 0 <= slope < 1.
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.slope < 1:
            raise UsageError(f"LeakyReLU needs a slope of at least 0 and below 1; got {self.slope}.")

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array]:
        """y = max(x, slope x)."""
        return xp.maximum(x, self.slope * x), x

    def vjp(self, xp: Any, cache: Array, dy: Array) -> Array:
        """dx = [x > 0] dy + [x <= 0] slope dy."""
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
        if not 0 <= self.alpha < math.inf:
            raise UsageError(f"ELU needs a finite alpha of at least 0; got {self.alpha}.")

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array]:
        """y = max(x, 0) + alpha (e^min(x, 0) - 1)."""
        y = xp.fuse(elu)(x, 0.0, self.alpha)
        return y, y

    def vjp(self, xp: Any, y: Array, dy: Array) -> Array:
        """dx = [y > 0] dy + [y <= 0] (y + alpha) dy."""
        above = positive(xp, y)
        return (above + (1 - above) * (y + self.alpha)) * dy


def positive(xp: Any, x: Array) -> Array:
    """[x > 0] as numbers of x's dtype: multiplying by bools takes NumPy three times as long."""
    return xp.astype(x > 0, x.dtype)


def relu_vjp(xp: Any, y: Array, dy: Array) -> Array:
    """[y > 0] dy: an elementwise kernel."""
    return positive(xp, y) * dy


def elu(xp: Any, x: Array, zero: float, alpha: float) -> Array:
    """max(x, 0) + alpha (e^min(x, 0) - 1), of whose terms one is 0: an elementwise kernel for `xp.fuse`."""
    below = xp.minimum(x, zero)  # no e^x of an x above 0, which would overflow
    return (x - below) + alpha * xp.expm1(below)
